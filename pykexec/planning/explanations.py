"""Why a segment lies where it lies, or has no place. Pure.

Nothing is placed here: the wish, the memory that was free when it was asked for, and the
answer are recorded in the plan, or in the refusal. Which range was left for which limit
follows from them by the same clipping that :func:`pykexec.planning.placement.find` does.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from pykexec.planning.placement import consider
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import UsageError
from pykexec.values.ranges import RangeSet
from pykexec.values.units import format_size
from pykexec.values.wishes import Bound, Prefer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykexec.planning.plans import Segment, SegmentPlan
    from pykexec.values.errors import NoRoomError
    from pykexec.values.ranges import Range
    from pykexec.values.wishes import Considered, GivenUp, Placed, Placement


class Verdict(StrEnum):
    """What became of a free range."""

    CHOSEN = "chosen"
    OUTSIDE = "outside the limits"
    SMALL = "too small"
    SPARE = "would do"
    GIVEN_UP = "given up"


@dataclass(frozen=True, slots=True)
class Judged:
    """A free range with its verdict."""

    free: Range
    usable: Range | None
    """The part inside the limits with its start aligned; None when there is none."""
    verdict: Verdict
    reason: str
    """Why, naming the limit that is to blame."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The wish for one segment, what was looked at, and the answer."""

    role: str
    wish: Placement
    place: Range | None
    """None: there was none."""
    ranges: tuple[Judged, ...]
    """Every range that was free at that moment, in ascending order."""
    before: tuple[Segment | Placed, ...]
    """What had been placed by then, in ascending order of address."""
    given_up: GivenUp | None = None
    """With a place: a better one, which would have left none for others."""
    beside: tuple[str, ...] = ()
    """Without: roles of those that leave it none, wherever they are put."""
    excess: int | None = None
    """Without: by how many bytes it is too large, wherever the others lie, if that is known."""

    @property
    def shortage(self) -> int:
        """Bytes that the best range within the limits is short of; 0 with a place."""
        best = max((item.usable.size for item in self.ranges if item.usable is not None), default=0)
        return max(self.wish.size - best, 0)


def explain(plan: SegmentPlan, role: str) -> Explanation:
    """Explain the place of the segment with that role.

    Raises :class:`UsageError` when the plan has none.
    """
    segment = next((item for item in plan.segments if item.role == role), None)
    if segment is None:
        there = ", ".join(item.role for item in plan.segments)
        raise UsageError(f"--explain: the plan has no segment {role!r}", hint=f"it has {there}")
    before = tuple(
        item
        for item in plan.segments
        if item is not segment and segment.free.covering(item.dest) is None
    )
    return _explanation(
        role, segment.wish, segment.dest, segment.free, before, given_up=segment.given_up
    )


def explain_refusal(error: NoRoomError) -> Explanation:
    """Explain why a segment has no place."""
    free = RangeSet(item.free for item in error.considered)
    found = _explanation(error.role, error.wish, None, free, error.placed)
    return replace(found, beside=error.beside, excess=error.excess)


def _explanation(
    role: str,
    wish: Placement,
    place: Range | None,
    free: RangeSet,
    before: Iterable[Segment | Placed],
    *,
    given_up: GivenUp | None = None,
) -> Explanation:
    judged = tuple(_judge(item, wish, place, given_up) for item in consider(free, wish))
    return Explanation(role, wish, place, judged, tuple(before), given_up)


def _judge(
    item: Considered, wish: Placement, place: Range | None, given_up: GivenUp | None
) -> Judged:
    free, usable = item.free, item.usable
    top = wish.prefer is Prefer.TOP
    if place is not None and free.contains(place):
        reason = f"the {'highest' if top else 'lowest'} that fits"
        if given_up is not None:
            reason = f"the best place that leaves one for {' and '.join(given_up.needed_by)}"
        return Judged(free, usable, Verdict.CHOSEN, reason)
    if usable is None:
        return Judged(free, None, Verdict.OUTSIDE, _why_outside(free, wish))
    if usable.size >= wish.size:
        better = place is not None and (free.start > place.start) == top
        if given_up is not None and better:
            return Judged(free, usable, Verdict.GIVEN_UP, _why_given_up(free, given_up))
        return Judged(free, usable, Verdict.SPARE, f"a {'higher' if top else 'lower'} one does too")
    short = format_size(wish.size - usable.size)
    if free.size < wish.size:
        return Judged(free, usable, Verdict.SMALL, f"{short} short")
    cut = " and ".join(_cuts(free, usable, wish))
    return Judged(free, usable, Verdict.SMALL, f"{short} short, cut by {cut}")


def _why_given_up(free: Range, given_up: GivenUp) -> str:
    """Say who would have had no place: of the first choice that is known."""
    first = free.contains(given_up.place)
    return f"leaves no place for {' and '.join(given_up.needed_by) if first else 'the others'}"


def _why_outside(free: Range, wish: Placement) -> str:
    """Name the limit that leaves nothing of ``free``."""
    lowest, highest = wish.strictest(Bound.LOWEST), wish.strictest(Bound.HIGHEST)
    if lowest is not None and free.end <= lowest.value:
        return f"below {lowest.value:#x}: {lowest.source}"
    if highest is not None and free.start > highest.value:
        return f"above {highest.value:#x}: {highest.source}"
    if lowest is not None and highest is not None and lowest.value > highest.value:
        return f"{lowest.source} and {highest.source} exclude each other"
    align = wish.strictest(Bound.ALIGN)
    source = align.source if align is not None else ""
    return f"no multiple of {wish.align:#x} in it: {source}"


def _cuts(free: Range, usable: Range, wish: Placement) -> list[str]:
    """Name the limits that made ``usable`` smaller than ``free``."""
    cuts = []
    lowest, align = wish.strictest(Bound.LOWEST), wish.strictest(Bound.ALIGN)
    if usable.start > free.start:
        within = max(free.start, wish.lowest)
        if lowest is not None and within > free.start:
            cuts.append(lowest.source)
        if align is not None and usable.start > within:
            cuts.append(align.source)
    highest = wish.strictest(Bound.HIGHEST)
    if highest is not None and usable.end < free.end:
        cuts.append(highest.source)
    return cuts
