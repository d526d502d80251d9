"""What differs by architecture in how a kernel is entered that is given a device tree. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.planning.wanted import near, window_around
from pykexec.values.data_classes import dataclass
from pykexec.values.units import MIB
from pykexec.values.wishes import inside

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.formats.linux_image import LinuxImage
    from pykexec.planning.plans import LoadRequest
    from pykexec.planning.wanted import Relation
    from pykexec.purgatory_objects.registers import Registers
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import Range
    from pykexec.values.roles import Role
    from pykexec.values.wishes import Limit

KERNEL_ALIGN = 2 * MIB
"""Of the base of an Image: Linux Documentation/arch/arm64/booting.rst, Documentation/arch/riscv/
boot.rst."""


@dataclass(frozen=True, slots=True)
class Window:
    """Memory that has to hold kernel and initrd both; it starts at a multiple of ``align``."""

    size: int
    align: int
    name: str

    def around(self, place: Range) -> Range:
        """Return the union of all windows that hold ``place``."""
        return window_around(place, self.size, self.align)

    def limits(self, place: Range, whose: str) -> tuple[Limit, ...]:
        """Return what it comes to for the kernel where ``whose`` place is known."""
        return inside(self.around(place), f"one {self.name} with {whose}")

    def relation(self, other: Role) -> Relation:
        """Return the same where the place of ``other`` is yet to be found."""
        return near(other, self.size, self.align, f"one {self.name} with the {other}")


def no_limits(facts: MachineFacts, request: LoadRequest) -> tuple[Limit, ...]:
    """Return none: any memory will do."""
    del facts, request
    return ()


@dataclass(frozen=True, slots=True)
class TreeProtocol:
    """One architecture's protocol; sizes and alignments in bytes, addresses physical."""

    registers: Callable[[int, int], Registers]
    """From the addresses of the tree and of the kernel's entry point."""
    tree_register: str
    """The one that leads to the tree."""
    kernel_limits: tuple[Limit, ...]
    """On the kernel's place, from its base on."""
    notes: Callable[[MachineFacts, LinuxImage, Range], list[str]]
    """What cannot be checked about a kernel at a place on a machine, or will be odd."""
    kernel_multiple: int = 1
    """The kernel takes its memory up to the next multiple of this for itself."""
    limits: Callable[[MachineFacts, LoadRequest], tuple[Limit, ...]] = no_limits
    """On every place, by what is asked for."""
    window: Window | None = None
    tree_limits: tuple[Limit, ...] = ()
    core_header_limits: tuple[Limit, ...] = ()
    unmaps_crash_region: bool = False
    """The running kernel takes the crash region out of its map of memory once a crash kernel is
    loaded, and could not move segments there."""
    tree_first: bool = False
    """The running kernel looks for the tree among the segments, in the order they are given in."""
    entry_multiple: int = 1
    """The running kernel enters at multiples of this."""
