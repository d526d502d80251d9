"""The search for any way to place several segments together; it finds one if there is any. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pykexec.planning.wanted import Relation, Side, Wanted
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.ranges import Range
from pykexec.values.units import align_down, align_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pykexec.values.ranges import RangeSet
    from pykexec.values.roles import Role

Solution: TypeAlias = "tuple[tuple[int, Range], ...]"
"""For each segment which option it takes and where it lies."""

_NEVER = (1 << 64) + 1
"""Behind every address."""


def solve(
    free: RangeSet, wanted: Sequence[Wanted], places: Mapping[Role, Range]
) -> Solution | None:
    """Find any way to place all of ``wanted`` beside what is in ``places``; None if there is none.

    What has one place only is put there first. The others are packed, once for each window
    where two have to lie in one.
    """
    settled: dict[int, tuple[int, Range]] = {}
    places = dict(places)
    for at, item in enumerate(wanted):
        fixed = _only_place(item, places)
        if fixed is None:
            continue
        if free.covering(fixed) is None:
            return None
        settled[at] = (0, fixed)
        places.setdefault(item.role, fixed)
        free = free.minus([fixed])
    rest = [item for at, item in enumerate(wanted) if at not in settled]
    roles = [item.role for item in rest]
    jobs = [_jobs(item, roles, places) for item in rest]
    relation = next((r for r in _relations(rest) if r[0].side is Side.NEAR), None)
    found = _pack(free, jobs) if relation is None else _pack_near(free, jobs, *relation)
    if found is None:
        return None
    packed = iter(found)
    return tuple(settled[at] if at in settled else next(packed) for at in range(len(wanted)))


def _only_place(item: Wanted, places: Mapping[Role, Range]) -> Range | None:
    """Return where a segment lies that can lie nowhere else."""
    if len(item.options) != 1:
        return None
    (option,) = item.options
    others = {limit.other for limit in option.limits if isinstance(limit, Relation)}
    wish = option.resolved(places)
    one = wish.window.size == wish.size and not wish.lowest % wish.align
    return wish.window if one and others <= set(places) else None


def _relations(wanted: Sequence[Wanted]) -> Iterator[tuple[Relation, int, int]]:
    """Yield each relation between two of ``wanted``, with whose it is and to whom."""
    roles = [item.role for item in wanted]
    for at, item in enumerate(wanted):
        for option in item.options:
            for relation in option.relations(roles):
                yield relation, at, roles.index(relation.other)


@dataclass(frozen=True, slots=True)
class _Job:
    """One option of a segment that is to be packed."""

    option: int
    size: int
    align: int
    lowest: int
    end: int
    """Behind the last byte that may be used."""
    above: int = 0
    """Those that lie below it, a bit for each."""
    below: int = 0
    """Those that lie above it."""


def _jobs(item: Wanted, roles: Sequence[Role], places: Mapping[Role, Range]) -> tuple[_Job, ...]:
    found = []
    for index, option in enumerate(item.options):
        wish = option.resolved(places)
        sides = {Side.ABOVE: 0, Side.BELOW: 0, Side.NEAR: 0}
        for relation in option.relations(roles):
            sides[relation.side] |= 1 << roles.index(relation.other)
        job = _Job(index, wish.size, wish.align, wish.lowest, wish.highest + 1)
        found.append(replace(job, above=sides[Side.ABOVE], below=sides[Side.BELOW]))
    return tuple(found)


def _pack(free: RangeSet, jobs: Sequence[tuple[_Job, ...]]) -> Solution | None:
    """Pack segments upwards, in every order; exact.

    Of all ways to pack some segments lowest, whichever order they have, one that ends lowest
    leaves every other segment at least as much room above. So it is enough to remember that one
    for each set of segments, and there are ``2 ** len(jobs)`` of these.
    """
    ends: dict[int, int] = {0: 0}
    last: dict[int, tuple[int, int, Range]] = {}
    for done in range(1 << len(jobs)):
        if done not in ends:
            continue
        for at, options in enumerate(jobs):
            bit = 1 << at
            if done & bit:
                continue
            for job in options:
                if job.above & ~done or job.below & done:
                    continue
                start = _lowest_fit(free, job, ends[done])
                if start is not None and start + job.size < ends.get(done | bit, _NEVER):
                    ends[done | bit] = start + job.size
                    last[done | bit] = (at, job.option, Range.sized(start, job.size))
    done = (1 << len(jobs)) - 1
    if done not in ends:
        return None
    found: dict[int, tuple[int, Range]] = {}
    while done:
        at, option, dest = last[done]
        found[at] = (option, dest)
        done &= ~(1 << at)
    return tuple(found[at] for at in range(len(jobs)))


def _lowest_fit(free: RangeSet, job: _Job, lowest: int) -> int | None:
    """Return the lowest address from ``lowest`` on at which the segment can start."""
    lowest = max(lowest, job.lowest)
    for item in free.beyond(lowest):
        start = align_up(max(item.start, lowest), job.align)
        if start + job.size > job.end:
            return None
        if start + job.size <= item.end:
            return start
    return None


def _pack_near(
    free: RangeSet, jobs: Sequence[tuple[_Job, ...]], relation: Relation, one: int, other: int
) -> Solution | None:
    """Pack with each window in turn into which the lower of two segments can start."""
    if _pack(free, jobs) is None:
        return None
    start = 0
    while (first := min(_lowest_of(free, jobs[at], start) for at in (one, other))) < _NEVER:
        start = align_down(first, relation.align)
        window = Range(start, min(start + relation.window, 1 << 64))
        clipped = list(jobs)
        for at in (one, other):
            clipped[at] = tuple(_within(job, window) for job in jobs[at])
        found = _pack(free, clipped)
        if found is not None:
            return found
        start += relation.align
    return None


def _lowest_of(free: RangeSet, options: Sequence[_Job], lowest: int) -> int:
    """Return the lowest start of a segment from ``lowest`` on; behind everything if none."""
    starts = (_lowest_fit(free, job, lowest) for job in options)
    return min((start for start in starts if start is not None), default=_NEVER)


def _within(job: _Job, window: Range) -> _Job:
    return replace(job, lowest=max(job.lowest, window.start), end=min(job.end, window.end))
