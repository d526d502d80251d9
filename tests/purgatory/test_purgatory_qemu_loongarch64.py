"""The loongarch64 purgatory on QEMU's "virt" machine: real windows, and the board's UART.

No kernel is involved, and no firmware. A few instructions set windows and paging up as the old
kernel has them and jump; in the new kernel's place is a program that says what it found.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pykexec.purgatory_objects.loongarch64 import Loongarch64Registers
from pykexec.purgatory_objects.parameters import PurgatoryParameters, build_purgatory
from pykexec.values.consoles import MemoryConsole, UartKind
from tests.needs import unavailable
from tests.purgatory.bare_machine import listen
from tests.purgatory.bench import LOONGARCH64, noise, wrong

QEMU = "qemu-system-loongarch64"

OLD_KERNEL = 0x80_0000
PURGATORY = 0x100_0000
KERNEL = 0x140_0000
INITRD = 0x200_0000
DEAF = 0x300_0000
"""Memory where a UART might be: its status is always 0."""
MARK = ord("x")
"""Handed over in a1, in the place of a command line's address."""
MEMORY = "1024"
"""MiB: fewer the machine does not take."""

SERIAL = MemoryConsole(0x1FE0_01E0, UartKind.UART_8250, 1)

START = (
    0x0320000C,  # lu52i.d $t0, $zero, 0x800
    0x0380058D,  # ori $t1, $t0, 1
    0x0406002D,  # csrwr $t1, DMW0: uncached
    0x0324000C,  # lu52i.d $t0, $zero, 0x900
    0x0380458D,  # ori $t1, $t0, 0x11
    0x0406042D,  # csrwr $t1, DMW1: cached
    0x1800008D,  # pcaddi $t1, 4
    0x001531AD,  # or $t1, $t1, $t0
    0x4C0001A0,  # jr $t1: into the second window
    0x03400000,  # nop
    0x0382C00D,  # ori $t1, $zero, 0xb0
    0x0400002D,  # csrwr $t1, CRMD: paging on, interrupts off
    0x02FFFC03,  # addi.d $sp, $zero, -1
    0x02FFFC02,  # addi.d $tp, $zero, -1
    0x02FFFC05,  # addi.d $a1, $zero, -1
    0x03800404,  # ori $a0, $zero, 1
    0x0381E406,  # ori $a2, $zero, 'y'
    0x1402000D,  # lu12i.w $t1, 0x1000: the purgatory
    0x001531AD,  # or $t1, $t1, $t0
    0x4C0001A0,  # jr $t1
)
PROGRAM = (
    0x143FC00C,  # lu12i.w $t0, 0x1fe00
    0x0387818C,  # ori $t0, $t0, 0x1e0
    0x0320018C,  # lu52i.d $t0, $t0, 0x800
    0x02C0C084,  # addi.d $a0, $a0, '0'
    0x29000184,  # st.b $a0, $t0, 0
    0x29000185,  # st.b $a1, $t0, 0
    0x29000186,  # st.b $a2, $t0, 0
    0x04060C07,  # csrrd $a3, DMW3
    0x02C0C0E7,  # addi.d $a3, $a3, '0'
    0x29000187,  # st.b $a3, $t0, 0
    0x03802807,  # ori $a3, $zero, 10
    0x29000187,  # st.b $a3, $t0, 0
    0x14201C0C,  # lu12i.w $t0, 0x100e0
    0x0380798C,  # ori $t0, $t0, 0x1e: the board's register for a reset
    0x0320018C,  # lu52i.d $t0, $t0, 0x800
    0x03810807,  # ori $a3, $zero, 0x42
    0x29000187,  # st.b $a3, $t0, 0
    0x50000000,  # b .
)
FOUND = "1xy0\n"
"""EFI, the command line, EFI's table, and no window of the purgatory's."""
SEGMENTS = {
    KERNEL: b"".join(word.to_bytes(4, "little") for word in PROGRAM),
    INITRD: noise(1 << 20),
}

pytestmark = [pytest.mark.vm, pytest.mark.full]


@pytest.fixture(autouse=True)
def emulator() -> None:
    """Insist on QEMU."""
    if shutil.which(QEMU) is None:
        unavailable(f"there is no {QEMU} here (Debian package qemu-system-misc)")


def boot(params: PurgatoryParameters, work: Path) -> str:
    """Return what was said."""
    contents = {
        OLD_KERNEL: b"".join(word.to_bytes(4, "little") for word in START),
        PURGATORY: build_purgatory(LOONGARCH64.obj, PURGATORY, params),
        DEAF: bytes(16),
        **SEGMENTS,
    }
    start = f"loader,addr={OLD_KERNEL:#x},cpu-num=0"
    return listen(QEMU, ["-M", "virt", "-device", start], contents, work, MEMORY)


def covering(console: MemoryConsole) -> PurgatoryParameters:
    registers = Loongarch64Registers(a1=MARK, pc=KERNEL)
    return LOONGARCH64.covering(SEGMENTS, registers=registers, console=console)


def test_right_digest_enters_what_is_in_the_kernels_place(tmp_path: Path) -> None:
    """With what came in but for a1, and with the windows as they were."""
    assert boot(covering(SERIAL), tmp_path) == (
        "pykexec purgatory: verifying 2 segments, 1.0 MiB, in 257 pieces of 4 KiB\n"
        "pykexec purgatory: SHA-256 is right\n"
        f"pykexec purgatory: entering the new kernel at {KERNEL:#x}\n" + FOUND
    )


def test_wrong_digest_does_not(tmp_path: Path) -> None:
    said = boot(wrong(covering(SERIAL)), tmp_path)
    assert "SHA-256 mismatch" in said
    assert said.endswith("halted, reset the machine\n")
    assert FOUND not in said


def test_a_uart_that_never_answers_is_left_alone(tmp_path: Path) -> None:
    """After a million looks; and what was right is entered."""
    assert boot(covering(replace(SERIAL, console_sink=DEAF)), tmp_path) == FOUND
