"""arm64's caches on QEMU's "virt" machine: exception levels and processors, each register compared.

A few instructions in the old kernel's place leave wild values in what has no effect with the MMU
off, and lead to the purgatory. There, and where the new kernel is entered, the machine is stopped
and all its registers are read.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pykexec.purgatory_objects.arm64 import Aarch64Registers
from pykexec.purgatory_objects.parameters import PurgatoryParameters, build_purgatory
from pykexec.values.consoles import MemoryConsole, UartKind
from tests.needs import unavailable
from tests.purgatory.bench import AARCH64, noise, unread
from tests.purgatory.debugger_port import DebuggerPort
from tests.vm.qemu import turn

QEMU = "qemu-system-aarch64"
TIMEOUT = 240
"""Seconds, on a machine that has other things to do; QEMU needs three."""
UART_BASE = 0x900_0000
OLD_KERNEL = 0x4010_0000
KERNEL = 0x4020_0000
PURGATORY = 0x4100_0000
INITRD = 0x4200_0000
FAR_MEMORY = 0x100_0000_0000
"""Beyond 40 bits, where QEMU's board has memory if it is given more than 1 TiB."""

E2H, RW = 1 << 34, 1 << 31
TCR, TTBR0, MAIR, VBAR = (2, 0, 2), (2, 0, 0), (10, 2, 0), (12, 0, 0)
CPACR, CPTR, HCR = (1, 0, 2), (1, 1, 2), (1, 1, 0)
"""CRn, CRm and op2; op1 is 0 at EL1 and 4 at EL2."""

COUNTING = re.compile(r"CNT|TVAL|PMC|^x[0-9]|^x[12][0-9]|^x30|^sp$|^pc$|^cpsr$", re.IGNORECASE)
"""Registers that go on by themselves, and those that are not the system's."""

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
    level: int
    vhe: bool = False

    def __str__(self) -> str:
        return f"{self.cpu}-el{self.level}{'-vhe' if self.vhe else ''}"


PLACES = (
    Place("cortex-a53", 1),
    Place("cortex-a72", 2),
    Place("neoverse-n1", 2, vhe=True),
)
MORE_PLACES = (
    Place("max", 1),
    Place("max", 2, vhe=True),
    Place("cortex-a72", 1),
    Place("cortex-a53", 2),
    Place("neoverse-n1", 1),
    Place("neoverse-n1", 2),
    Place("a64fx", 1),
    Place("a64fx", 2),
    Place("a64fx", 2, vhe=True),
    Place("max", 2),
)


def set_register(op1: int, register: tuple[int, int, int], value: int) -> list[int]:
    """Return instructions that write ``value`` to a system register, by way of x9."""
    crn, crm, op2 = register
    words = [0xD280_0009 | (value & 0xFFFF) << 5]  # movz
    words += [
        0xF280_0009 | part << 21 | (value >> 16 * part & 0xFFFF) << 5  # movk
        for part in (1, 2, 3)
    ]
    return [*words, 0xD518_0009 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5, 0xD503_3FDF]


def old_kernel(place: Place) -> bytes:
    """Return what leaves wild registers behind and goes to the purgatory."""
    op1 = 0 if place.level == 1 else 4
    words: list[int] = []
    if place.level == 2:
        words += set_register(4, HCR, RW | (E2H if place.vhe else 0))
    words += set_register(
        op1, TCR, 0x0000_0005_8550_1519 if place.level == 1 or place.vhe else 0x519
    )
    words += set_register(op1, TTBR0, 0x0000_1234_5678_9000)
    words += set_register(op1, MAIR, 0xDEAD_BEEF_0BAD_F00D)
    words += set_register(op1, VBAR, 0x0000_0000_4567_8800)
    # An instruction that uses vector registers would be an exception.
    if place.level == 1:
        words += set_register(0, CPACR, 0)
    else:
        words += set_register(4, CPTR, 0 if place.vhe else 0x33FF | 1 << 10)
    distance = (PURGATORY - OLD_KERNEL) // 4 - len(words)
    words.append(0x1400_0000 | distance)  # b
    return b"".join(word.to_bytes(4, "little") for word in words)


def command(place: Place, contents: dict[int, bytes], work: Path, memory: str) -> list[str]:
    """Return how QEMU is started, standing still."""
    ram = f"memory-backend-ram,id=ram,size={memory},reserve=off"
    virtualization = "on" if place.level == 2 else "off"
    words = [QEMU, "-M", f"virt,virtualization={virtualization},memory-backend=ram"]
    words += ["-object", ram, "-m", memory, "-cpu", place.cpu, "-nodefaults", "-display", "none"]
    words += ["-serial", f"file:{work / 'serial'}", "-no-reboot"]
    words += ["-chardev", f"socket,path={work / 'port'},server=on,wait=off,id=port"]
    words += ["-S", "-gdb", "chardev:port"]
    for start, data in contents.items():
        file = work / f"{start:x}"
        file.write_bytes(data)
        words += ["-device", f"loader,file={file},addr={start:#x},force-raw=on"]
    return [*words, "-device", f"loader,addr={OLD_KERNEL:#x},cpu-num=0"]


@contextmanager
def machine(
    place: Place,
    segments: dict[int, bytes],
    work: Path,
    memory: str = "64M",
    params: PurgatoryParameters | None = None,
) -> Iterator[DebuggerPort]:
    """Start QEMU, in the old kernel's place."""
    patched = build_purgatory(AARCH64.obj, PURGATORY, params or covering(segments))
    contents = {OLD_KERNEL: old_kernel(place), PURGATORY: patched, **segments}
    with (
        turn(),
        subprocess.Popen(command(place, contents, work, memory), stdin=subprocess.DEVNULL) as qemu,
    ):
        try:
            port = DebuggerPort(work / "port", TIMEOUT)
            yield port
            port.close()
        finally:
            qemu.kill()


def covering(segments: dict[int, bytes]) -> PurgatoryParameters:
    return AARCH64.covering(
        segments,
        registers=Aarch64Registers(x0=ord("x"), pc=KERNEL),
        console=MemoryConsole(UART_BASE, UartKind.PL011, 4),
    )


def said(work: Path) -> list[str]:
    return (work / "serial").read_text("ascii").replace("\r\n", "\n").splitlines()


def halted(work: Path) -> list[str]:
    """Return what was said, once the purgatory has given up."""
    end = time.monotonic() + TIMEOUT
    while not (work / "serial").read_text("ascii").endswith("reset the machine\n"):
        assert time.monotonic() < end
        time.sleep(0.05)
    return said(work)


def system(registers: dict[str, int]) -> dict[str, int]:
    return {name: value for name, value in registers.items() if not COUNTING.search(name)}


def check(place: Place, work: Path) -> None:
    segments = {KERNEL: noise(1 << 20), INITRD: noise((2 << 20) + 4000)}
    with machine(place, segments, work) as port:
        port.set_breakpoint(PURGATORY)
        port.run()
        entry = port.registers()
        assert entry["pc"] == PURGATORY
        port.clear_breakpoint(PURGATORY)
        port.set_breakpoint(KERNEL)
        port.run()
        leaving = port.registers()
    first, *others = (line.removeprefix("pykexec purgatory: ") for line in said(work))
    assert first.startswith("verifying 2 segments, 3.0 MiB")
    level = f"EL{place.level}{' with VHE' if place.vhe else ''}"
    assert others == [
        f"caches on: {level}, pages of 4 KiB, SHA instructions",
        "SHA-256 is right",
        f"entering the new kernel at {KERNEL:#x}",
    ]
    assert leaving["pc"] == KERNEL
    assert leaving["x0"] == ord("x")
    assert len(system(entry)) > 80
    assert system(leaving) == system(entry)


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_all_system_registers_are_what_they_were(place: Place, tmp_path: Path) -> None:
    check(place, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("place", MORE_PLACES, ids=str)
def test_on_more_processors(place: Place, tmp_path: Path) -> None:
    check(place, tmp_path)


@pytest.mark.parametrize(
    "place",
    [PLACES[1], *(pytest.param(place, marks=pytest.mark.full) for place in MORE_PLACES[:2])],
    ids=str,
)
def test_memory_beyond_40_bits(place: Place, tmp_path: Path) -> None:
    segments = {KERNEL: noise(1 << 16), 0x2_0000_0000: noise(1 << 20), FAR_MEMORY: noise(3 << 20)}
    with machine(place, segments, tmp_path, memory="1100G") as port:
        port.set_breakpoint(KERNEL)
        port.run()
        assert port.registers()["pc"] == KERNEL
    assert "caches on: " in said(tmp_path)[1]


NOWHERE, NOWHERE_BEYOND_48_BITS = 0x8_0000_0000, 0x8_0000_0000_1000
"""Physical addresses without memory, the second one for tables of 52 bits (FEAT_LPA2)."""
full = pytest.mark.full


@pytest.mark.parametrize(
    ("place", "address", "way"),
    [
        pytest.param(PLACES[0], NOWHERE, "on: EL1", id="el1"),
        pytest.param(PLACES[2], NOWHERE, "on: EL2 with VHE", id="el2-vhe", marks=full),
        pytest.param(PLACES[1], NOWHERE, "on: EL2", id="el2", marks=full),
        # With its first bytes elsewhere than at the start of a page.
        pytest.param(PLACES[1], NOWHERE + 64, "stay off: no page", id="off"),
        pytest.param(PLACES[0], NOWHERE + 64, "stay off: no page", id="off-el1", marks=full),
        *(
            pytest.param(place, NOWHERE_BEYOND_48_BITS, f"on: EL{place.level}", id=f"52-{place}")
            for place in MORE_PLACES[:2]
        ),
    ],
)
def test_an_address_without_memory(place: Place, address: int, way: str, tmp_path: Path) -> None:
    """It is translated, nothing answers, and that is told: the table is of a load gone wrong."""
    params = replace(covering({}), table=unread(address, 4096))
    with machine(place, {}, tmp_path, params=params) as port:
        port.start()
        verifying, caches, exception, end = halted(tmp_path)
    assert "verifying 1 segment" in verifying
    assert caches.startswith(f"pykexec purgatory: caches {way}")
    assert exception.startswith("pykexec purgatory: exception 0x96000010 at 0x4100")
    assert exception.endswith(f", address {address:#x}")
    assert end == "pykexec purgatory: not starting the new kernel; halted, reset the machine"
