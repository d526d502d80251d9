"""Wishes for a place, and what has come of them. Pure."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import ADDRESS_MAX, format_size

if TYPE_CHECKING:
    from pykexec.values.roles import Role


class Bound(Enum):
    """Which side of a placement a limit restricts."""

    LOWEST = "lowest address"
    HIGHEST = "highest address"
    ALIGN = "alignment"


class Origin(Enum):
    """Who makes a limit, and thus who could lift it."""

    OPTION = "option"
    """The user."""
    HEADER = "header"
    """The kernel image, in a field of its header."""
    RULE = "rule"
    """The boot protocol, or how pykexec lays segments out."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One restriction: the first byte allowed, the last byte allowed, or the alignment."""

    bound: Bound
    value: int
    """LOWEST and HIGHEST: a physical address, inclusive. ALIGN: a power of two, in bytes."""
    source: str
    """The option, header field or rule that it comes from."""
    origin: Origin = Origin.RULE


def at_least(address: int, source: str, origin: Origin = Origin.RULE) -> Limit:
    """Nothing below ``address``."""
    return Limit(Bound.LOWEST, address, source, origin)


def at_most(last: int, source: str, origin: Origin = Origin.RULE) -> Limit:
    """Nothing above ``last``, the last byte that may be used."""
    return Limit(Bound.HIGHEST, last, source, origin)


def inside(place: Range, source: str, origin: Origin = Origin.RULE) -> tuple[Limit, Limit]:
    """Nothing outside of ``place``."""
    return at_least(place.start, source, origin), at_most(place.last, source, origin)


def aligned(align: int, source: str, origin: Origin = Origin.RULE) -> Limit:
    """The start is a multiple of ``align``, a power of two."""
    return Limit(Bound.ALIGN, align, source, origin)


class Prefer(Enum):
    """Which end of the allowed memory is tried first."""

    TOP = "highest address first"
    BOTTOM = "lowest address first"


@dataclass(frozen=True, slots=True)
class Placement:
    """A wish: ``size`` bytes within ``limits``."""

    size: int
    limits: tuple[Limit, ...] = ()
    prefer: Prefer = Prefer.TOP

    def strictest(self, bound: Bound) -> Limit | None:
        """Return the limit of that kind that rules out the most, the first among equals."""
        limits = [item for item in self.limits if item.bound is bound]
        if bound is Bound.HIGHEST:
            return min(limits, key=lambda item: item.value, default=None)
        return max(limits, key=lambda item: item.value, default=None)

    @property
    def align(self) -> int:
        """The strictest alignment, in bytes."""
        limit = self.strictest(Bound.ALIGN)
        return limit.value if limit is not None else 1

    @property
    def lowest(self) -> int:
        """The first byte that may be used."""
        limit = self.strictest(Bound.LOWEST)
        return limit.value if limit is not None else 0

    @property
    def highest(self) -> int:
        """The last byte that may be used, inclusive."""
        limit = self.strictest(Bound.HIGHEST)
        return limit.value if limit is not None else ADDRESS_MAX

    @property
    def window(self) -> Range:
        """The memory that the limits leave; empty when they contradict each other."""
        return Range(self.lowest, max(self.lowest, self.highest + 1))

    def describe(self) -> str:
        """Say the wish in words, each bound with its source."""
        lowest, highest = self.strictest(Bound.LOWEST), self.strictest(Bound.HIGHEST)
        low, high = (
            f"{limit.value:#x} ({limit.source})" if limit is not None else ""
            for limit in (lowest, highest)
        )
        text = format_size(self.size)
        if low and high:
            text += f" between {low} and {high}"
        elif low:
            text += f" at or above {low}"
        elif high:
            text += f" at or below {high}"
        return text + (f", aligned to {self.align:#x}" if self.align > 1 else "")


@dataclass(frozen=True, slots=True)
class Considered:
    """A free range that was looked at, and how much of it the wish could have used."""

    free: Range
    usable: Range | None
    """The part inside the limits with its start aligned; None when there is none."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A better place, which would have left none for others."""

    place: Range
    needed_by: tuple[Role, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """The answer for one segment."""

    role: Role
    dest: Range
    option: int
    """Which of the options it is."""
    wish: Placement
    """That option, with what the segments before it have made of its relations."""
    free: RangeSet
    """What was free before it was placed."""
    given_up: GivenUp | None = None
