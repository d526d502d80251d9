"""What a load needs places for, and how these segments have to lie to each other. Pure values."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass
from pykexec.values.ranges import Range
from pykexec.values.units import align_down, align_up
from pykexec.values.wishes import Limit, Placement, Prefer, at_least, at_most

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pykexec.values.roles import Role


class Side(Enum):
    """Where a segment has to lie, seen from another one."""

    ABOVE = "above"
    BELOW = "below"
    NEAR = "in one window with"


@dataclass(frozen=True, slots=True)
class Relation:
    """A restriction by the place of another segment, which is asked for before."""

    side: Side
    other: Role
    source: str
    """The header field or rule that it comes from."""
    window: int = 0
    """NEAR: bytes of the window that holds both; it starts at a multiple of ``align``."""
    align: int = 1

    def limits(self, place: Range) -> tuple[Limit, ...]:
        """Return what it comes to when the other segment lies at ``place``."""
        if self.side is Side.ABOVE:
            return (at_least(place.end, self.source),)
        if self.side is Side.BELOW:
            return (at_most(place.start - 1, self.source),)
        around = window_around(place, self.window, self.align)
        lowest = (at_least(around.start, self.source),) if around.start else ()
        return (*lowest, at_most(around.last, self.source))


def above(other: Role, source: str) -> Relation:
    """Nothing below the end of ``other``."""
    return Relation(Side.ABOVE, other, source)


def below(other: Role, source: str) -> Relation:
    """Nothing above the start of ``other``."""
    return Relation(Side.BELOW, other, source)


def near(other: Role, window: int, align: int, source: str) -> Relation:
    """``window`` bytes from some multiple of ``align`` on hold both this and ``other``."""
    return Relation(Side.NEAR, other, source, window, align)


def window_around(place: Range, window: int, align: int) -> Range:
    """Return the union of all windows from multiples of ``align`` on that hold ``place``."""
    lowest = max(0, align_up(place.end, align) - window)
    return Range(lowest, min(align_down(place.start, align) + window, 1 << 64))


@dataclass(frozen=True, slots=True)
class Option:
    """One way to place a segment: ``size`` bytes within ``limits``."""

    size: int
    limits: tuple[Limit | Relation, ...] = ()
    prefer: Prefer = Prefer.TOP

    def resolved(self, places: Mapping[Role, Range]) -> Placement:
        """Return the wish with what is known of other segments; the rest restricts nothing."""
        limits: list[Limit] = []
        for item in self.limits:
            if isinstance(item, Limit):
                limits.append(item)
            elif item.other in places:
                limits += item.limits(places[item.other])
        return Placement(self.size, tuple(limits), self.prefer)

    def relations(self, roles: Sequence[Role]) -> list[Relation]:
        """Return the relations to segments of ``roles``."""
        found = [item for item in self.limits if isinstance(item, Relation)]
        return [item for item in found if item.other in roles]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A segment that needs a place, and the ways to give it one, the best first."""

    role: Role
    options: tuple[Option, ...]
