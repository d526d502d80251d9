"""The arm64 purgatory on QEMU's bare "virt" machine, with its PL011, at EL1 and at EL2.

No kernel is involved: QEMU puts the segments into memory and starts the processor, with the
MMU off, at the purgatory. In the new kernel's place is a program that says what it found.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pykexec.purgatory_objects.arm64 import Aarch64Registers
from pykexec.purgatory_objects.parameters import PurgatoryParameters, build_purgatory
from pykexec.values.consoles import MemoryConsole, UartKind
from tests.needs import unavailable
from tests.purgatory.bare_machine import listen
from tests.purgatory.bench import AARCH64, noise, wrong

QEMU = "qemu-system-aarch64"
UART_BASE = 0x900_0000
KERNEL = 0x4020_0000
"""Above the start of RAM, where QEMU puts its device tree."""
PURGATORY = 0x4100_0000
INITRD = 0x4200_0000
MARK = ord("x")
"""Handed over in x0, in the place of a device tree's address."""

HVC, SMC = 0xD400_0002, 0xD400_0003

pytestmark = pytest.mark.vm


@pytest.fixture(autouse=True)
def emulator() -> None:
    """Insist on QEMU."""
    if shutil.which(QEMU) is None:
        unavailable(f"there is no {QEMU} here (Debian package qemu-system-arm)")


def program(call: int) -> bytes:
    """Print the exception level and what x0 and x1 hold, then power off by PSCI (DEN 0022)."""
    words = (
        0xD2A1_2009,  # movz x9, #0x900, lsl #16
        0xD538_424A,  # mrs x10, CurrentEL
        0xD342_FD4A,  # lsr x10, x10, #2
        0x1100_C14A,  # add w10, w10, #'0'
        0xB900_012A,  # str w10, [x9]
        0xB900_0120,  # str w0, [x9]
        0x1100_C021,  # add w1, w1, #'0'
        0xB900_0121,  # str w1, [x9]
        0x5280_0140,  # movz w0, #10
        0xB900_0120,  # str w0, [x9]
        0x5280_0100,  # movz w0, #8
        0x72B0_8000,  # movk w0, #0x8400, lsl #16: SYSTEM_OFF
        call,
    )
    return b"".join(word.to_bytes(4, "little") for word in words)


def boot(params: PurgatoryParameters, segments: dict[int, bytes], level: int, work: Path) -> str:
    patched = build_purgatory(AARCH64.obj, PURGATORY, params)
    words = [*("-M", f"virt,virtualization={'on' if level == 2 else 'off'}"), "-cpu", "cortex-a72"]
    words += ["-device", f"loader,addr={PURGATORY:#x},cpu-num=0"]
    return listen(QEMU, words, {PURGATORY: patched, **segments}, work)


@pytest.mark.parametrize("level", [1, 2])
def test_right_digest_enters_what_is_in_the_kernels_place(level: int, tmp_path: Path) -> None:
    segments = {KERNEL: program(SMC if level == 2 else HVC), INITRD: noise(2 << 20)}
    said = boot(covering(segments), segments, level, tmp_path)
    assert said == (
        "pykexec purgatory: verifying 2 segments, 2.0 MiB, in 257 pieces of 8 KiB\n"
        f"pykexec purgatory: caches on: EL{level}, pages of 4 KiB, SHA instructions\n"
        "pykexec purgatory: SHA-256 is right\n"
        "pykexec purgatory: entering the new kernel at 0x40200000\n"
        f"{level}x0\n"
    )


@pytest.mark.parametrize("level", [1, pytest.param(2, marks=pytest.mark.full)])
def test_wrong_digest_does_not(level: int, tmp_path: Path) -> None:
    segments = {KERNEL: program(HVC), INITRD: noise(4096)}
    said = boot(wrong(covering(segments)), segments, level, tmp_path)
    assert "SHA-256 mismatch" in said
    assert said.endswith("halted, reset the machine\n")


def covering(segments: dict[int, bytes]) -> PurgatoryParameters:
    return AARCH64.covering(
        segments,
        registers=Aarch64Registers(x0=MARK, pc=KERNEL),
        console=MemoryConsole(UART_BASE, UartKind.PL011, 4),
    )
