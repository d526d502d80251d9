"""The real objects, patched as a load patches them, on each architecture's emulated machine."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from typing import Any, Generic, TypeVar

from pykexec.planning.digest import piece_size_for
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.arm import ArmRegisters
from pykexec.purgatory_objects.arm64 import Aarch64Registers
from pykexec.purgatory_objects.digest_table import DigestTable
from pykexec.purgatory_objects.loongarch64 import Loongarch64Registers
from pykexec.purgatory_objects.parameters import (
    PurgatoryObject,
    PurgatoryParameters,
    build_purgatory,
)
from pykexec.purgatory_objects.ppc64le import Ppc64leRegisters
from pykexec.purgatory_objects.registers import Registers
from pykexec.purgatory_objects.riscv64 import Riscv64Registers
from pykexec.purgatory_objects.x86 import Entry64Registers
from pykexec.values.consoles import (
    Console,
    FirmwareConsole,
    FirmwareKind,
    MemoryConsole,
    PcConsole,
    UartKind,
)
from pykexec.values.ranges import Range
from tests.purgatory.emulator import KERNEL_ENTRY, PAGE, Machine
from tests.purgatory.emulator_aarch64 import Aarch64Machine
from tests.purgatory.emulator_arm import KERNEL_ENTRY as ARM_ENTRY
from tests.purgatory.emulator_arm import ArmMachine
from tests.purgatory.emulator_loongarch64 import Loongarch64Machine
from tests.purgatory.emulator_ppc64le import TREE, UNIT, Ppc64leMachine
from tests.purgatory.emulator_riscv64 import Riscv64Machine
from tests.purgatory.emulator_x86 import X86Machine
from tests.purgatory.uarts import UART_BASE

BASE = 0x7FFF_0000
"""Across the reach of signed 32-bit addresses."""

MEMORY = 0x200_0000
"""Where the tests' segments begin."""

SEGMENTS = {MEMORY: b"kernel" * 1000, 0x5_0000_0000: bytes(PAGE), 0x9F000: b"parameters"}
WHAT = f"3 segments, {sum(map(len, SEGMENTS.values()))} bytes, in 4 pieces of 4 KiB"

RIGHT = """\
pykexec purgatory: verifying {what}
pykexec purgatory: SHA-256 is right
pykexec purgatory: entering the new kernel at 0x712345200
"""

CAUSES = """\
  Usual causes: a device that still writes (its driver did not stop it),
  firmware that uses this memory, a bad memory module.
pykexec purgatory: not starting the new kernel; halted, reset the machine
"""

M = TypeVar("M", bound=Machine)


@dataclass(frozen=True)
class Bench(Generic[M]):
    """One architecture's purgatory, and what to try it on."""

    arch: str
    machine: Callable[[PurgatoryObject, int, bytes], M]
    registers: Registers
    """What the new kernel is to find, with a mark of its own in each register."""
    serial: Console
    """A console by which the machine's ``text`` is heard."""
    highest: int
    """The last base that its processor reaches."""

    @property
    def obj(self) -> PurgatoryObject:
        """The object as built."""
        return load(self.arch)

    @property
    def bases(self) -> tuple[int, ...]:
        """Below 640 KiB, across signed 32-bit addresses, above 4 GiB, far up."""
        return (0x3000, BASE, 0x6_3FFF_7000, self.highest)

    def covering(self, segments: dict[int, bytes], **others: Any) -> PurgatoryParameters:
        """Return parameters whose table is right for ``segments``, by address."""
        return PurgatoryParameters(
            **{"registers": self.registers, "table": table_for(segments), **others}
        )

    def prepare(
        self, params: PurgatoryParameters, segments: dict[int, bytes], base: int = BASE
    ) -> M:
        """Return a machine with everything loaded."""
        machine = self.machine(self.obj, base, build_purgatory(self.obj, base, params))
        for start, data in segments.items():
            machine.put(start, data)
        return machine

    def run(self, params: PurgatoryParameters, segments: dict[int, bytes], base: int = BASE) -> M:
        """Return a machine that has done its work."""
        machine = self.prepare(params, segments, base)
        machine.run()
        return machine


X86_64 = Bench(
    arch="x86_64",
    machine=X86Machine,
    registers=Entry64Registers(
        **{
            item.name: 0x1122_3344_5566_0000 + index
            for index, item in enumerate(fields(Entry64Registers))
            if item.name not in ("rsp", "rip")
        },
        rip=KERNEL_ENTRY,
    ),
    serial=PcConsole(console_serial=True),
    highest=0x7FFF_FFF0_0000,
)
AARCH64 = Bench(
    arch="aarch64",
    machine=Aarch64Machine,
    registers=Aarch64Registers(
        x0=0x1122_3344_5566_0000,
        x1=0x1122_3344_5566_0001,
        x2=0x1122_3344_5566_0002,
        x3=0x1122_3344_5566_0003,
        pc=KERNEL_ENTRY,
    ),
    serial=MemoryConsole(UART_BASE, UartKind.PL011, 4),
    # The emulated processor has 44 bits of physical addresses.
    highest=0xFFF_FFF0_0000,
)
RISCV64 = Bench(
    arch="riscv64",
    machine=Riscv64Machine,
    registers=Riscv64Registers(a1=0x1122_3344_5566_0001, pc=KERNEL_ENTRY),
    serial=MemoryConsole(UART_BASE, UartKind.UART_8250, 1),
    # The emulated hart has 50 bits of physical addresses.
    highest=0xFFF_FFF0_0000,
)
ARM = Bench(
    arch="arm",
    machine=ArmMachine,
    registers=ArmRegisters(r2=0x1122_3344, pc=ARM_ENTRY),
    serial=MemoryConsole(UART_BASE, UartKind.PL011, 4),
    highest=(1 << 32) - load("arm").memsz,
)
"""Not among BENCHES, whose memory reaches beyond what it can name."""
PPC64LE = Bench(
    arch="ppc64le",
    machine=Ppc64leMachine,
    registers=Ppc64leRegisters(
        kernel_head=bytes(range(4, 256)),
        run_at_load=0x0100_0000,
        r3=TREE,
        r8=0x1122_3344_5566_0008,
        r9=0x1122_3344_5566_0009,
        pc=KERNEL_ENTRY,
    ),
    serial=FirmwareConsole(FirmwareKind.HYPERVISOR, UNIT),
    highest=0xFFF_FFF0_0000,
)
LOONGARCH64 = Bench(
    arch="loongarch64",
    machine=Loongarch64Machine,
    registers=Loongarch64Registers(a1=0x1122_3344_5566_0001, pc=KERNEL_ENTRY),
    # The one that is looked at least: each look takes its time there.
    serial=MemoryConsole(UART_BASE, UartKind.PLAIN, 1),
    highest=0xFFF_FFF0_0000,
)
BENCHES: tuple[Bench[Any], ...] = (X86_64, AARCH64, LOONGARCH64, PPC64LE, RISCV64)
SLOW = (LOONGARCH64, PPC64LE)
"""Each of their runs is a process."""


def table_for(segments: dict[int, bytes], piece_size: int | None = None) -> DigestTable:
    """Return the table of ``segments``, by address, as hashlib has it; the pieces as small as can
    be.
    """
    regions = tuple((start, len(data)) for start, data in segments.items())
    piece_size = piece_size or piece_size_for(Range.sized(*region) for region in regions)
    digests = (
        sha256(segments[start][offset : offset + piece_size]).digest()
        for start, size in regions
        for offset in range(0, size, piece_size)
    )
    return DigestTable(regions, piece_size, tuple(digests))


def unread(start: int, size: int) -> DigestTable:
    """Return a table of memory that nobody has read, in pieces of 64 KiB."""
    return DigestTable(((start, size),), 1 << 16, (bytes(32),) * -(-size // (1 << 16)))


def wrong(params: PurgatoryParameters) -> PurgatoryParameters:
    """Return the same with a table whose last digest is of no memory."""
    digests = (*params.table.digests[:-1], bytes(range(32)))
    return replace(params, table=replace(params.table, digests=digests))


def noise(size: int, seed: int = 1) -> bytes:
    """Return bytes that look random and are the same each time."""
    return random.Random(seed).randbytes(size)
