"""The riscv64 purgatory on QEMU's "virt" machine, under OpenSBI, with its UART and without.

No kernel is involved. OpenSBI starts a few instructions that stand for the old kernel's last, as
they are for a load and after a crash; in the new kernel's place is a program that says what it
found.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pykexec.purgatory_objects.parameters import PurgatoryParameters, build_purgatory
from pykexec.purgatory_objects.riscv64 import Riscv64Registers
from pykexec.values.consoles import MemoryConsole, UartKind
from tests.needs import unavailable
from tests.purgatory.bare_machine import listen
from tests.purgatory.bench import RISCV64, noise, unread, wrong

QEMU = "qemu-system-riscv64"

FIRMWARE = 0x8000_0000
"""OpenSBI lies here, and lets nobody else read it."""
OLD_KERNEL = 0x8020_0000
"""Where QEMU loads what it is told to be a kernel, and OpenSBI enters it."""
PURGATORY = 0x8100_0000
KERNEL = 0x8140_0000
INITRD = 0x8200_0000
NOWHERE = 0x10_0000_0000
MARK = ord("x")
"""Handed over in a1, in the place of a device tree's address."""

SERIAL = MemoryConsole(0x1000_0000, UartKind.UART_8250, 1)
SBI = MemoryConsole(console_kind=UartKind.SBI)

START = (
    0x40800293,  # li t0, 0x408
    0x01529293,  # slli t0, t0, 21: the purgatory
    0xFFF00313,  # li t1, -1
    0x01F31313,  # slli t1, t1, 31: a virtual address, where no memory is
    0x00030113,  # mv sp, t1
    0x00030193,  # mv gp, t1
    0x00030213,  # mv tp, t1
    0x00030593,  # mv a1, t1
)
JUMP = (*START, 0x00028067)  # jr t0
CRASH = (
    *START,
    0x10529073,  # csrw stvec, t0
    0x00030067,  # jr t1: as after csrw satp, zero, the next instruction is not there
)
PROGRAM = (
    0x100002B7,  # lui t0, 0x10000
    0x03050513,  # addi a0, a0, '0'
    0x00A28023,  # sb a0, 0(t0)
    0x00B28023,  # sb a1, 0(t0)
    0x00A00513,  # li a0, 10
    0x00A28023,  # sb a0, 0(t0)
    0x001002B7,  # lui t0, 0x100: the board's test device
    0x00005337,  # lui t1, 5
    0x55530313,  # addi t1, t1, 0x555: power off
    0x0062A023,  # sw t1, 0(t0)
    0x0000006F,  # j .
)
SEGMENTS = {
    KERNEL: b"".join(word.to_bytes(4, "little") for word in PROGRAM),
    INITRD: noise(1 << 20),
}

pytestmark = pytest.mark.vm


@pytest.fixture(autouse=True)
def emulator() -> None:
    """Insist on QEMU."""
    if shutil.which(QEMU) is None:
        unavailable(f"there is no {QEMU} here (Debian package qemu-system-riscv)")


def boot(params: PurgatoryParameters, start: tuple[int, ...], work: Path) -> str:
    """Return what was said behind OpenSBI's own words."""
    kernel = work / "start"
    kernel.write_bytes(b"".join(word.to_bytes(4, "little") for word in start))
    patched = build_purgatory(RISCV64.obj, PURGATORY, params)
    said = listen(
        QEMU,
        ["-M", "virt", "-bios", "default", "-kernel", str(kernel)],
        {PURGATORY: patched, **SEGMENTS},
        work,
    )
    assert "OpenSBI" in said
    return said[said.index("pykexec purgatory") :]


def covering(console: MemoryConsole) -> PurgatoryParameters:
    return RISCV64.covering(
        SEGMENTS, registers=Riscv64Registers(a1=MARK, pc=KERNEL), console=console
    )


@pytest.mark.parametrize(
    ("start", "console"), [(JUMP, SERIAL), (CRASH, SBI)], ids=["jump, 8250", "crash, sbi"]
)
def test_right_digest_enters_what_is_in_the_kernels_place(
    start: tuple[int, ...], console: MemoryConsole, tmp_path: Path
) -> None:
    """With the ID of the only hart there is."""
    assert boot(covering(console), start, tmp_path) == (
        "pykexec purgatory: verifying 2 segments, 1.0 MiB, in 257 pieces of 4 KiB\n"
        "pykexec purgatory: SHA-256 is right\n"
        f"pykexec purgatory: entering the new kernel at {KERNEL:#x}\n"
        "0x\n"
    )


def test_wrong_digest_does_not(tmp_path: Path) -> None:
    said = boot(wrong(covering(SBI)), JUMP, tmp_path)
    assert "SHA-256 mismatch" in said
    assert said.endswith("halted, reset the machine\n")


@pytest.mark.parametrize("start", [JUMP, CRASH], ids=["jump", "crash"])
@pytest.mark.parametrize("address", [FIRMWARE, NOWHERE], ids=["firmware's", "nowhere"])
def test_memory_that_it_may_not_read_is_told(
    address: int, start: tuple[int, ...], tmp_path: Path
) -> None:
    params = replace(covering(SERIAL), table=unread(address, 4096))
    said = boot(params, start, tmp_path)
    assert "pykexec purgatory: exception 0x5 at 0x81" in said
    assert re.search(rf", value {address >> 8:#x}[0-3][048c]\n", said)
    assert said.endswith("not starting the new kernel; halted, reset the machine\n")


def test_a_kernel_that_fails_at_once_is_told(tmp_path: Path) -> None:
    """Linux has one that checks its own base and finds it wrong: an ebreak, without a console."""
    params = replace(covering(SBI), registers=Riscv64Registers(a1=MARK, pc=INITRD + (1 << 20)))
    said = boot(params, JUMP, tmp_path)
    assert f"exception 0x2 at {INITRD + (1 << 20):#x}, value 0x0\n" in said
    assert said.endswith("failed before it had a console; halted, reset the machine\n")
