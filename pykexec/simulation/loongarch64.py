"""The emulated machine for a loongarch64 plan: QEMU's ``virt`` board with EFI's firmware. Pure.

A next kernel learns of memory and devices by EFI's tables alone, so the firmware is there, of
Debian's package. It starts a small program of ours (purgatory/start/loongarch64.S), which leaves
EFI's memory map where Linux's own stub does, ends the boot services, waits in the first 2 MiB until
the segments are in memory, and leaves as the running kernel does (Linux
arch/loongarch/kernel/machine_kexec.c): in the cached window, interrupts off.

It says that the machine is none that EFI started (a0 is 0): firmware's services at run time are
where firmware has them, and a kernel would look for them where Linux's stub puts them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.architectures.loongarch64 import LOONGARCH64
from pykexec.purgatory_objects import load_start
from pykexec.simulation.emulated import (
    Bank,
    EmulatedMachine,
    StartProgram,
    segment_contents,
    told_ram,
)
from pykexec.values.command_line import split_words
from pykexec.values.errors import SimulationError
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import GIB, KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.planning.plans import SegmentPlan

COUNTER = re.compile(r"\bPC=([0-9a-f]{16})\b")
VECTORS: Range | None = None

UART = 0x1FE0_01E0
FIRMWARE = "/usr/share/qemu-efi-loongarch64/QEMU_EFI.fd"
"""Of Debian's package."""

_LOW = Range(0, 256 * MIB)
_HIGH = 2 * GIB
"""Where RAM begins once more (QEMU include/hw/loongarch/virt.h, "VIRT_HIGHMEM_BASE")."""
_END = 1 << 40
_LEAST = GIB
"""Bytes of RAM, with which the board begins (QEMU hw/loongarch/virt.c, "virt_init")."""

_STAND = 0x18_0000
_STATE, _MAP, _ENTRY = (_STAND + offset for offset in (8, 16, 24))
_READY, _GO = (number.to_bytes(8, "little") for number in (1, 2))

_MAP_HEADER = 40
"""Bytes of the table in front of EFI's descriptors: sizes of all and of one are the first."""
_MAP_MAX = 64 * KIB
_PAGE = 4 * KIB
_FREE = frozenset(range(1, 5)) | {7}
"""Types of memory that are nobody's when boot services have ended: UEFI 2.10, table 7.10."""


def emulate(plan: SegmentPlan) -> EmulatedMachine:
    """Return the board for ``plan``; raises :class:`SimulationError` if it is for another."""
    _check_heard(plan)
    wanted = told_ram(plan)
    high = Range(_HIGH, max([_HIGH + _LEAST - _LOW.size, *(item.end for item in wanted)]))
    stray = next(iter(wanted.minus([_LOW, Range(_HIGH, _END)])), None)
    if stray is not None:
        raise SimulationError(
            f"cannot simulate: QEMU's virt board has RAM in {_LOW} and from {_HIGH:#x} on, the "
            f"plan uses {stray}"
        )
    return EmulatedMachine(
        program="qemu-system-loongarch64",
        package="qemu-system-misc, version 10 or later, and qemu-efi-loongarch64",
        title="QEMU's virt behind EFI, 1 processor",
        words=("-cpu", "la464", "-smp", "1", "-bios", FIRMWARE),
        board="virt",
        memory=_LOW.size + high.size,
        banks=(Bank(_LOW, 0), Bank(high, _LOW.size)),
        contents=(*segment_contents(plan), (_ENTRY, plan.entry.to_bytes(8, "little"))),
        start=StartProgram(
            image=load_start("loongarch64"),
            ready=(_STATE, _READY),
            go=(_STATE, _GO),
            settle=lambda read: _settle(plan, read),
        ),
    )


def _check_heard(plan: SegmentPlan) -> None:
    """Refuse a plan by which the new kernel would not be heard."""
    console = b"console=" + LOONGARCH64.simulated_tty
    if not any(word.startswith((console, b"earlycon")) for word in split_words(plan.cmdline)):
        raise SimulationError(
            "cannot simulate: the plan's command line has no serial console, "
            "so that the new kernel would not be heard",
            hint=f"plan with {console.decode()} in --append",
        )


def _settle(plan: SegmentPlan, read: Callable[[int, int], bytes]) -> tuple[tuple[int, bytes], ...]:
    """Refuse a plan that uses memory which the emulated firmware keeps for itself."""
    table = int.from_bytes(read(_MAP, 8), "little")
    size, each = (int.from_bytes(read(table + at, 8), "little") for at in (0, 8))
    if not 40 <= each <= _PAGE or size > _MAP_MAX:
        raise SimulationError(f"the emulated firmware gives no memory map at {table:#x}")
    found = read(table + _MAP_HEADER, size)
    kept = RangeSet(
        _described(found[at : at + each])
        for at in range(0, size - each + 1, each)
        if int.from_bytes(found[at : at + 4], "little") not in _FREE
    )
    for item in plan.segments:
        taken = next(iter(kept.intersect([item.dest])), None)
        if taken is not None:
            raise SimulationError(
                f"cannot simulate: {item.role} {item.dest} lies on {taken}, which the emulated "
                "firmware uses",
                hint="plan with another --mem-min or --mem-max to try out the rest of the layout",
            )
    return ()


def _described(descriptor: bytes) -> Range:
    """Return the physical addresses of an EFI memory descriptor: UEFI 2.10, section 7.2.3."""
    start, pages = (int.from_bytes(descriptor[at : at + 8], "little") for at in (8, 24))
    return Range.sized(start, pages * _PAGE)
