"""Reusing the running command line, word by word."""

from __future__ import annotations

import pytest

from pykexec.values.command_line import add_words, kernel_words, reuse, split_words, switched


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", ()),
        (b"  a   b\t\n", (b"a", b"b")),
        (b'root=UUID=1 dyndbg="file a.c +p; file b.c +p" quiet',
         (b"root=UUID=1", b'dyndbg="file a.c +p; file b.c +p"', b"quiet")),
        (b'"a b', (b'"a b',)),
    ],
)  # fmt: skip
def test_quotes_hold_words_together(line: bytes, words: tuple[bytes, ...]) -> None:
    assert split_words(line) == words


def test_words_about_the_running_kernels_files_are_dropped() -> None:
    reused = reuse(b"BOOT_IMAGE=/vmlinuz root=/dev/vda1 initrd=\\initrd.img ro elfcorehdr=0x1", b"")
    assert reused.cmdline == b"root=/dev/vda1 ro"
    assert reused.dropped == (b"BOOT_IMAGE=/vmlinuz", b"initrd=\\initrd.img", b"elfcorehdr=0x1")


def test_a_word_that_merely_starts_alike_is_kept() -> None:
    line = b"BOOT_IMAGES=1 rd.initrd=x xBOOT_IMAGE=2 quiet"
    assert reuse(line, b"").cmdline == line


def test_a_chain_of_jumps_does_not_grow_the_line() -> None:
    line = b"root=/dev/vda1 console=tty0 console=ttyS0"
    for _ in range(3):
        line = reuse(line, b"console=ttyS0 quiet").cmdline
    assert line == b"root=/dev/vda1 console=tty0 console=ttyS0 quiet"


def test_repeated_words_stay_repeated() -> None:
    line = b"earlycon=a console=tty0 console=ttyS0 earlycon=b"
    assert reuse(line, b"").cmdline == line


def test_a_capture_kernel_reserves_nothing() -> None:
    line = b"root=/dev/vda1 crashkernel=256M,high xcrashkernel=1 crashkernel=64M,low quiet"
    reused = reuse(line, b"irqpoll", for_crash=True)
    assert reused.cmdline == b"root=/dev/vda1 xcrashkernel=1 quiet irqpoll"
    assert reused.dropped == (b"crashkernel=256M,high", b"crashkernel=64M,low")
    assert reuse(line, b"irqpoll").cmdline == line + b" irqpoll"


@pytest.mark.parametrize(
    "word",
    [
        *("hugepages=400", "hugepages=0:512,1:512", "hugepagesz=1G", "default_hugepagesz=1G"),
        *("hugetlb_cma=4G", "hugetlb-cma=4G", "cma=512M", "cma_pernuma=64M", "numa_cma=0:1G"),
        *("swiotlb=65536", "reserve_mem=4M:4096:oops", "log_buf_len=256M", "log-buf-len=16M"),
        *("slub_debug", "slub_debug=FZPU", "slab_debug=P", "page_owner=on", "kmemleak=on"),
        *("trace_buf_size=64M", '"hugepages=400"'),
    ],
)
def test_a_capture_kernel_has_no_memory_for_what_a_machine_has(word: str) -> None:
    line = f"ro {word} quiet hugepages_x=1 xcma=2 -- {word}".encode()
    reused = reuse(line, b"irqpoll", for_crash=True)
    assert reused.cmdline == f"ro quiet hugepages_x=1 xcma=2 irqpoll -- {word}".encode()
    assert reused.too_large == reused.dropped == (word.encode(),)
    assert reuse(line, b"").cmdline == line
    assert reuse(line, b"").too_large == ()


def test_what_is_appended_for_a_capture_kernel_stays() -> None:
    line = b"hugepagesz=2M hugepages=400 cma=1G"
    reused = reuse(line, b"hugepages=4 cma=1G", for_crash=True)
    assert reused.cmdline == b"hugepages=4 cma=1G"
    assert reused.too_large == (b"hugepagesz=2M", b"hugepages=400")


def test_a_guest_with_encrypted_memory_needs_its_swiotlb() -> None:
    line = b"swiotlb=524288,force cma=1G"
    reused = reuse(line, b"", for_crash=True, needed=frozenset({"swiotlb"}))
    assert reused.cmdline == b"swiotlb=524288,force"
    assert reused.too_large == (b"cma=1G",)


def test_what_was_added_for_a_capture_kernel_goes_with_its_core_header() -> None:
    line = b"ro memmap=64M!4G acpi_rsdp=0x1 memmap=exactmap memmap=640K@0K"
    assert reuse(line, b"").cmdline == line
    reused = reuse(line + b" elfcorehdr=966004K", b"")
    assert reused.cmdline == b"ro"
    line = b"ro memmap=64M!4G acpi_rsdp=0x1 elfcorehdr=966004K"
    assert reuse(line, b"").cmdline == b"ro memmap=64M!4G"


def test_it_is_told_what_became_of_which_word() -> None:
    reused = reuse(b"BOOT_IMAGE=/v root=/dev/vda1 quiet -- single x", b"quiet irqpoll -- x")
    assert reused.cmdline == b"root=/dev/vda1 quiet irqpoll -- single x"
    assert reused.kept == (b"root=/dev/vda1", b"single")
    assert reused.dropped == (b"BOOT_IMAGE=/v", b"quiet", b"x")
    assert reused.added == (b"quiet", b"irqpoll", b"x")


def test_words_of_init_are_left_alone() -> None:
    line = b"ro -- initrd=x crashkernel=y"
    assert reuse(line, b"quiet", for_crash=True).cmdline == (b"ro quiet -- initrd=x crashkernel=y")


def test_a_quote_that_is_never_closed_swallows_nothing() -> None:
    assert reuse(b'a="b c', b"quiet").cmdline == b'a="b c" quiet'
    assert add_words(b'a="b c', (b"elfcorehdr=1K",)) == b'a="b c" elfcorehdr=1K'


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"", b"x y=1"),
        (b"ro  quiet ", b"ro  quiet  x y=1"),
        (b"ro -- single", b"ro x y=1 -- single"),
        (b"-- single", b"x y=1 -- single"),
    ],
)
def test_words_are_added_for_the_kernel(line: bytes, expected: bytes) -> None:
    assert add_words(line, (b"x", b"y=1")) == expected
    assert kernel_words(expected)[-2:] == (b"x", b"y=1")


@pytest.mark.parametrize(
    ("line", "on"),
    [
        (b"quiet", None),
        (b"kho=on", True),
        (b"kho=Yes", True),
        (b'"kho=1"', True),
        (b"kho=t", True),
        (b"kho=off", False),
        (b"kho=no kho=oN", True),
        (b"kho=on kho=0", False),
        (b"kho=on kho=maybe", True),
        (b"kho", None),
        (b"kho=o", None),
        (b"ro -- kho=on", None),
    ],
)
def test_what_switches_something_on(line: bytes, on: bool | None) -> None:
    """Linux lib/kstrtox.c, "kstrtobool"."""
    assert switched(line, "kho") is on
