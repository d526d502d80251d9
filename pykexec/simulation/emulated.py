"""The emulated machine that a plan is entered on, as values. Pure.

No kexec is in it: the plan's segments are written to their physical addresses from outside,
and the processor starts where the running kernel would leave for the plan. The machine has all
the RAM that the plan tells the next kernel of. What cannot be had is refused, with the reason;
nothing is added to the plan to make it fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass
from pykexec.values.errors import SimulationError
from pykexec.values.memory import MemoryKind
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import MIB, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.planning.plans import SegmentPlan
    from pykexec.values.buffers import Buffer

_STRUCT_PAGE = 64
"""Bytes that a kernel clears at its start for each 4 KiB of RAM, whatever it uses of it."""
_RUNNING_KERNEL = 192 * MIB
"""An allowance for what an emulated kernel touches up to its init, and for QEMU itself."""


@dataclass(frozen=True, slots=True)
class Bank:
    """A stretch of emulated RAM."""

    range: Range
    """Physical addresses."""
    offset: int
    """Where it begins in the memory that stands for all RAM, in bytes."""


@dataclass(frozen=True, slots=True)
class EmulatedMachine:
    """What QEMU is to be told, and what memory holds when the plan is entered."""

    program: str
    package: str
    """The Debian package with :attr:`program`."""
    title: str
    """What it is, in a few words."""
    words: tuple[str, ...]
    """Of QEMU's command line: board, processors. RAM, console and monitor are not in it."""
    board: str
    """Argument of ``-machine``, to which the RAM is added."""
    memory: int
    """Bytes of RAM."""
    banks: tuple[Bank, ...]
    contents: tuple[tuple[int, Buffer], ...]
    """(physical address, bytes), the plan's segments with their zeros included."""
    start: StartProgram | None
    """What runs between the emulated firmware and the plan; None: the processor starts there."""

    def locate(self, where: Range) -> int:
        """Return where in RAM as a whole ``where`` lies; raises :class:`SimulationError`."""
        for bank in self.banks:
            if bank.range.contains(where):
                return bank.offset + where.start - bank.range.start
        raise SimulationError(f"{where} is not in the RAM of the emulated machine")

    @property
    def memory_touched(self) -> int:
        """Bytes that the emulation will really take of this computer's memory, at most."""
        written = sum(len(data) for _, data in self.contents)
        return 2 * written + self.memory // 4096 * _STRUCT_PAGE + _RUNNING_KERNEL


@dataclass(frozen=True, slots=True)
class StartProgram:
    """The program that the emulated firmware starts, and that waits until memory is filled."""

    image: bytes
    ready: tuple[int, bytes]
    """(physical address, bytes): there while it waits."""
    go: tuple[int, bytes]
    """What it waits for."""
    settle: Callable[[Callable[[int, int], bytes]], tuple[tuple[int, bytes], ...]]
    """Given a reader of (physical address, size), when the firmware is through: what of its
    tables is to be written elsewhere. Raises :class:`SimulationError` if it keeps memory that
    the plan uses."""
    option: str = "-kernel"
    """Of QEMU's, by which it is given: for a kernel that the firmware starts, or for firmware."""


def told_ram(plan: SegmentPlan) -> RangeSet:
    """Return the memory that must be there: what the next kernel is told of, and the segments."""
    return plan.memory_map.of_kind(MemoryKind.RAM).union(item.dest for item in plan.segments)


def segment_contents(plan: SegmentPlan) -> tuple[tuple[int, Buffer], ...]:
    """Return what kexec_load(2) would put where: each segment, and the zeros up to its end."""
    found: list[tuple[int, Buffer]] = []
    for item in plan.segments:
        # In this order, so that of segments that overlap the data survives, not the zeros.
        size = len(item.data)
        found.insert(0, (item.dest.start + size, bytes(max(item.dest.size - size, 0))))
        found.append((item.dest.start, item.data))
    return tuple(piece for piece in found if len(piece[1]))


def check_room(machine: EmulatedMachine, available: int | None) -> None:
    """Refuse what this computer, with ``available`` bytes of free memory, cannot emulate."""
    needed = machine.memory_touched
    if available is not None and needed > available:
        raise SimulationError(
            f"cannot simulate: a machine with {format_size(machine.memory)} of RAM takes up to "
            f"{format_size(needed)} here, as a kernel describes each page of it at its start; "
            f"{format_size(available)} are available",
            hint="simulate on a larger computer, or plan for a smaller recorded machine",
        )
