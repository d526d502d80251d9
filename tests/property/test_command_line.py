"""Chains of jumps with ``--reuse-cmdline``: nothing grows, nothing asked for is lost."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pykexec.values.command_line import (
    TAKES_MEMORY,
    add_words,
    kernel_words,
    key_of,
    reuse,
    split_words,
)

WORDS = st.sampled_from(
    [
        *(b"ro", b"quiet", b"console=tty0", b"console=ttyS0", b"earlycon", b"BOOT_IMAGE=/vmlinuz"),
        *(b"initrd=x", b"crashkernel=64M", b"elfcorehdr=1K", b"memmap=exactmap", b"memmap=1M@0"),
        *(b"acpi_rsdp=0x1", b"--", b'"a b"', b'dyndbg="file x +p"', b'"', b'open="q', b"kexec_x"),
        *(b"hugepages=400", b"hugepagesz=1G", b"swiotlb=65536", b"slub_debug", b'cma="1G'),
    ]
)
LINES = st.lists(WORDS, max_size=8).map(b" ".join) | st.binary(max_size=20)


def words_of(line: bytes) -> list[bytes]:
    """Return all words but the one that ends those of the kernel."""
    words = list(split_words(line))
    if b"--" in words:
        words.remove(b"--")
    return words


def jump(line: bytes, appended: bytes, crash: bool) -> bytes:
    """Return the next kernel's command line, with what a crash load adds to it."""
    cmdline = reuse(line, appended, for_crash=crash).cmdline
    return add_words(cmdline, (b"elfcorehdr=1K",)) if crash else cmdline


@given(LINES, LINES, st.booleans())
@example(b'open="q', b"ro", False)
@example(b"ro -- single", b"crashkernel=1G -- single", True)
@settings(max_examples=300)
def test_a_chain_of_jumps_settles(line: bytes, appended: bytes, crash: bool) -> None:
    first = jump(line, appended, crash)
    second = jump(first, appended, crash)
    assert len(second) <= len(first)
    assert jump(second, appended, crash) == second


@given(LINES, LINES, st.booleans())
@settings(max_examples=300)
def test_what_is_appended_is_there_and_every_word_is_accounted_for(
    line: bytes, appended: bytes, crash: bool
) -> None:
    reused = reuse(line, appended, for_crash=crash)
    assert set(kernel_words(appended)) <= set(kernel_words(reused.cmdline))
    # The first -- is no word, and closing a quote is the one thing that changes a word.
    assert sorted(words_of(reused.cmdline)) == sorted((*reused.kept, *reused.added))
    assert len(words_of(line)) == len(reused.kept) + len(reused.dropped)
    assert set(reused.too_large) <= set(reused.dropped) - set(kernel_words(appended))
    assert crash or not reused.too_large


@given(LINES, LINES)
@settings(max_examples=300)
def test_a_capture_kernel_takes_no_more_than_was_appended(line: bytes, appended: bytes) -> None:
    """What takes memory is on the line once it was asked for by hand, and only then."""
    told = kernel_words(reuse(line, appended, for_crash=True).cmdline)
    takers = [word for word in told if key_of(word) in TAKES_MEMORY]
    assert takers == [word for word in kernel_words(appended) if key_of(word) in TAKES_MEMORY]


@given(st.lists(st.sampled_from([b"console=a", b"console=b", b"earlycon=x", b"ro"])))
def test_what_is_repeated_stays_repeated(words: list[bytes]) -> None:
    assert reuse(b" ".join(words), b"quiet").kept == tuple(words)
