"""32-bit ARM's caches on QEMU's "virt" machine: both modes and processors, each register compared.

A few instructions in the old kernel's place leave wild values in what has no effect with the MMU
off, and lead to the purgatory. There, and where the new kernel is entered, the machine is stopped
and all its registers are read. HYP mode is only here: the other emulator has none.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.arm import ArmRegisters
from pykexec.purgatory_objects.parameters import PurgatoryParameters, build_purgatory
from pykexec.values.consoles import MemoryConsole, UartKind
from tests.needs import unavailable
from tests.purgatory.bench import noise, table_for
from tests.purgatory.debugger_port import DebuggerPort
from tests.vm.qemu import turn

QEMU = "qemu-system-arm"
TIMEOUT = 240
"""Seconds, on a machine that has other things to do; QEMU needs two."""
UART_BASE = 0x900_0000
OLD_KERNEL = 0x4010_0000
KERNEL = 0x4020_0000
PURGATORY = 0x4100_0000
INITRD = 0x4200_0000
OBJECT = load("arm")

COUNTING = re.compile(r"CNT|TVAL|PMC|^r[0-9]|^sp$|^lr$|^pc$|^cpsr$", re.IGNORECASE)
"""Registers that go on by themselves, and those that are not the system's."""
SVC, HYP = 0x13, 0x1A

pytestmark = pytest.mark.vm


@pytest.fixture(autouse=True)
def emulator() -> None:
    """Insist on QEMU."""
    if shutil.which(QEMU) is None:
        unavailable(f"there is no {QEMU} here (Debian package qemu-system-arm)")


@dataclass(frozen=True)
class Place:
    """Where the purgatory is entered."""

    cpu: str
    mode: int
    lpae: bool = False
    """The old kernel used long descriptors."""

    def __str__(self) -> str:
        words = [self.cpu, "hyp" if self.mode == HYP else "svc", *(["lpae"] if self.lpae else [])]
        return "-".join(words)


PLACES = (Place("cortex-a7", SVC), Place("cortex-a15", SVC, lpae=True), Place("cortex-a15", HYP))
MORE_PLACES = (
    Place("cortex-a15", SVC),
    Place("cortex-a7", HYP),
    Place("max", SVC),
    Place("max", SVC, lpae=True),
    Place("max", HYP),
)


def set_register(op1: int, crn: int, crm: int, op2: int, value: int) -> list[int]:
    """Return instructions that write ``value`` to a system register, by way of r4."""
    return [
        0xE300_4000 | (value & 0xF000) << 4 | value & 0xFFF,  # movw
        0xE340_4000 | (value >> 28) << 16 | (value >> 16 & 0xFFF),  # movt
        0xEE00_4F10 | op1 << 21 | crn << 16 | op2 << 5 | crm,
    ]


def old_kernel(place: Place) -> bytes:
    """Return what leaves wild registers behind and goes to the purgatory."""
    words: list[int] = []
    if place.mode == HYP:
        words += set_register(4, 2, 0, 2, 0x8080_3519)
        words += set_register(4, 10, 2, 0, 0xDEAD_BEEF)
        words += [0xE59F_5004, 0xE3A0_6012, 0xEA00_0000, 0x3456_7000]  # r5, r6: an address
        words.append(0xEC46_5F42)  # HTTBR
    else:
        words += set_register(0, 2, 0, 2, 0x8000_3500 if place.lpae else 0)
        words += set_register(0, 2, 0, 0, 0x3456_7000)
        words += set_register(0, 3, 0, 0, 0x5555_5550)
    distance = (PURGATORY - OLD_KERNEL) // 4 - len(words) - 2
    words.append(0xEA00_0000 | distance)  # b
    return b"".join(word.to_bytes(4, "little") for word in words)


def command(place: Place, contents: dict[int, bytes], work: Path) -> list[str]:
    """Return how QEMU is started, standing still."""
    virtualization = "on" if place.mode == HYP else "off"
    words = [QEMU, "-M", f"virt,virtualization={virtualization}"]
    words += ["-m", "64M", "-cpu", place.cpu, "-nodefaults", "-display", "none"]
    words += ["-serial", f"file:{work / 'serial'}", "-no-reboot"]
    words += ["-chardev", f"socket,path={work / 'port'},server=on,wait=off,id=port"]
    words += ["-S", "-gdb", "chardev:port"]
    for start, data in contents.items():
        file = work / f"{start:x}"
        file.write_bytes(data)
        words += ["-device", f"loader,file={file},addr={start:#x},force-raw=on"]
    return [*words, "-device", f"loader,addr={OLD_KERNEL:#x},cpu-num=0"]


@contextmanager
def machine(place: Place, contents: dict[int, bytes], work: Path) -> Iterator[DebuggerPort]:
    """Start QEMU, in the old kernel's place."""
    with (
        turn(),
        subprocess.Popen(command(place, contents, work), stdin=subprocess.DEVNULL) as qemu,
    ):
        try:
            port = DebuggerPort(work / "port", TIMEOUT)
            yield port
            port.close()
        finally:
            qemu.kill()


def contents_of(place: Place, segments: dict[int, bytes]) -> dict[int, bytes]:
    params = PurgatoryParameters(
        registers=ArmRegisters(r2=INITRD, pc=KERNEL),
        table=table_for(segments),
        console=MemoryConsole(UART_BASE, UartKind.PL011, 4),
    )
    patched = build_purgatory(OBJECT, PURGATORY, params)
    return {OLD_KERNEL: old_kernel(place), PURGATORY: patched, **segments}


def said(work: Path) -> list[str]:
    text = (work / "serial").read_text("ascii").replace("\r\n", "\n")
    return [line.removeprefix("pykexec purgatory: ") for line in text.splitlines()]


def system(registers: dict[str, int]) -> dict[str, int]:
    return {name: value for name, value in registers.items() if not COUNTING.search(name)}


def way(place: Place) -> str:
    return f"caches on: {'HYP' if place.mode == HYP else 'SVC'} mode"


def check(place: Place, work: Path) -> None:
    segments = {KERNEL: noise(1 << 20), INITRD: noise((2 << 20) + 4000)}
    with machine(place, contents_of(place, segments), work) as port:
        port.set_breakpoint(PURGATORY)
        port.run()
        entry = port.registers()
        assert entry["pc"] == PURGATORY
        assert entry["cpsr"] & 0x1F == place.mode
        port.clear_breakpoint(PURGATORY)
        port.set_breakpoint(KERNEL)
        port.run()
        leaving = port.registers()
    first, *others = said(work)
    assert first.startswith("verifying 2 segments, 3.0 MiB")
    assert others == [way(place), "SHA-256 is right", f"entering the new kernel at {KERNEL:#x}"]
    assert leaving["pc"] == KERNEL
    assert (leaving["r0"], leaving["r2"]) == (0, INITRD)
    assert leaving["cpsr"] & 0x1F == place.mode
    assert len(system(entry)) > 80
    assert system(leaving) == system(entry)


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_all_system_registers_are_what_they_were(place: Place, tmp_path: Path) -> None:
    check(place, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("place", MORE_PLACES, ids=str)
def test_on_more_processors(place: Place, tmp_path: Path) -> None:
    check(place, tmp_path)


@pytest.mark.parametrize("place", [PLACES[1], PLACES[2]], ids=str)
def test_a_flipped_bit_stops_it(place: Place, tmp_path: Path) -> None:
    """The piece is named; the kernel is never entered."""
    segments = {KERNEL: noise(1 << 20), INITRD: noise((2 << 20) + 4000)}
    contents = contents_of(place, segments)
    damaged = bytearray(segments[INITRD])
    damaged[(1 << 20) + 5] ^= 1
    with machine(place, {**contents, INITRD: bytes(damaged)}, tmp_path) as port:
        port.set_breakpoint(KERNEL)
        port.start()
        end = time.monotonic() + TIMEOUT
        while "not starting the new kernel; halted, reset the machine" not in said(tmp_path):
            assert time.monotonic() < end
            time.sleep(0.05)
    lines = said(tmp_path)
    assert lines[1:3] == [way(place), "SHA-256 mismatch, memory was overwritten since the load"]
    assert lines[3].startswith(f"  {INITRD + (1 << 20):#x}, ")
