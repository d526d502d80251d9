"""Why a segment lies where it lies, or has no place. Pure.

Nothing is placed here: the wish, the memory that was free when it was asked for, and the
answer are recorded in the plan, or in the refusal. Which range was left for which limit
follows from them by the same clipping that :func:`pykexec.placement.find` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pykexec.errors import UsageError
from pykexec.placement import Bound, Prefer, consider
from pykexec.ranges import RangeSet
from pykexec.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykexec.errors import NoRoomError
    from pykexec.placement import Considered, Placement
    from pykexec.plans import Segment, SegmentPlan
    from pykexec.ranges import Range


class Verdict(StrEnum):
    """What became of a free range."""

    CHOSEN = "chosen"
    OUTSIDE = "outside the limits"
    SMALL = "too small"
    SPARE = "would do"


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
    before: tuple[Segment, ...]
    """The segments that had been placed by then, in ascending order of address."""

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
    return _explanation(role, segment.wish, segment.dest, segment.free, before)


def explain_refusal(error: NoRoomError) -> Explanation:
    """Explain why a segment has no place."""
    free = RangeSet(item.free for item in error.considered)
    return _explanation(error.role, error.wish, None, free, error.placed)


def _explanation(
    role: str, wish: Placement, place: Range | None, free: RangeSet, before: Iterable[Segment]
) -> Explanation:
    judged = tuple(_judge(item, wish, place) for item in consider(free, wish))
    return Explanation(role, wish, place, judged, tuple(before))


def _judge(item: Considered, wish: Placement, place: Range | None) -> Judged:
    free, usable = item.free, item.usable
    if place is not None and free.contains(place):
        which = "highest" if wish.prefer is Prefer.TOP else "lowest"
        return Judged(free, usable, Verdict.CHOSEN, f"the {which} that fits")
    if usable is None:
        return Judged(free, None, Verdict.OUTSIDE, _why_outside(free, wish))
    if usable.size >= wish.size:
        other = "higher" if wish.prefer is Prefer.TOP else "lower"
        return Judged(free, usable, Verdict.SPARE, f"a {other} one does too")
    short = format_size(wish.size - usable.size)
    if free.size < wish.size:
        return Judged(free, usable, Verdict.SMALL, f"{short} short")
    cut = " and ".join(_cuts(free, usable, wish))
    return Judged(free, usable, Verdict.SMALL, f"{short} short, cut by {cut}")


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
