"""The machine of each architecture that a plan is tried out on. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from pykexec.architectures import ARCHITECTURES, architecture_of, room_of
from pykexec.values.errors import SimulationError

if TYPE_CHECKING:
    import re

    from pykexec.planning.plans import SegmentPlan
    from pykexec.simulation.emulated import EmulatedMachine
    from pykexec.values.ranges import Range


class SimulationRoom(Protocol):
    """What each architecture's module ``simulation/ROOM`` has."""

    COUNTER: re.Pattern[str]
    """Where QEMU's ``info registers`` shows the program counter, in hexadecimal."""
    VECTORS: Range | None
    """Addresses that the processor goes on at by itself, on an exception that nobody handles."""

    def emulate(self, plan: SegmentPlan) -> EmulatedMachine:
        """Return the machine for ``plan``; raises :class:`SimulationError` if there is none."""


def simulation_room(arch: str) -> SimulationRoom:
    """Return that of an architecture; raises :class:`SimulationError` where it has none."""
    if not architecture_of(arch).simulated_tty:
        known = ", ".join(item.name for item in ARCHITECTURES.values() if item.simulated_tty)
        raise SimulationError(f"cannot simulate a plan for {arch}: {known} only")
    return cast("SimulationRoom", room_of("simulation", arch))


def emulate(plan: SegmentPlan) -> EmulatedMachine:
    """Return the machine for ``plan``; raises :class:`SimulationError` if none can be had."""
    return simulation_room(plan.arch).emulate(plan)
