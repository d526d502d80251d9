"""Reusing the running command line, word by word."""

from __future__ import annotations

import pytest

from pykexec.command_line import reuse, split_words


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
