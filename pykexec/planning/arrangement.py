"""Places for all segments of a load together. Pure.

Each segment in turn gets the place that it likes best. Where that leaves a later one without,
each gets the best place that leaves one for all that follow, and the plan says what was given
up for whom. So a load is refused only where no arrangement exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.planning.packing import Solution, solve
from pykexec.planning.placement import consider, find, hint_of_own_limits, hint_of_shortage, more_of
from pykexec.planning.wanted import Relation, Wanted
from pykexec.values.data_classes import replace
from pykexec.values.errors import NoRoomError
from pykexec.values.ranges import Range
from pykexec.values.units import align_down, format_size
from pykexec.values.wishes import GivenUp, Limit, Origin, Placed, Prefer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pykexec.values.ranges import RangeSet
    from pykexec.values.roles import Role

_TRIED = 64
"""So many places of a segment are tried for each option before a known one is taken."""


def arrange(free: RangeSet, wanted: Sequence[Wanted]) -> tuple[Placed, ...]:
    """Place all of ``wanted`` in ``free``, the first with the first choice.

    Deterministic. Raises :class:`NoRoomError` where there is no way to place them all; it names
    a segment that has no place beside those before it, and those that are in its way.
    """
    placed, refusal = _in_turn(free, wanted)
    if refusal is None:
        return placed
    solution = solve(free, wanted, {})
    if solution is None:
        raise _refuse(free, wanted, placed, refusal)
    return _with_foresight(free, wanted, solution)


def _in_turn(
    free: RangeSet, wanted: Sequence[Wanted]
) -> tuple[tuple[Placed, ...], NoRoomError | None]:
    """Give each the place that it likes best; returns how far that went, and why no further."""
    placed: list[Placed] = []
    places: dict[Role, Range] = {}
    for item in wanted:
        try:
            found = _first_choice(free, item, places)
        except NoRoomError as error:
            error.placed = tuple(sorted(placed, key=lambda before: before.dest))
            return tuple(placed), error
        placed.append(found)
        places.setdefault(item.role, found.dest)
        free = free.minus([found.dest])
    return tuple(placed), None


def _first_choice(free: RangeSet, item: Wanted, places: Mapping[Role, Range]) -> Placed:
    """Return the best place as if there were nothing behind; raises for the last option."""
    for index, option in enumerate(item.options):
        wish = option.resolved(places)
        try:
            return Placed(item.role, find(free, wish, item.role.value), index, wish, free)
        except NoRoomError:
            if index == len(item.options) - 1:
                raise
    raise ValueError(f"{item.role}: wanted in no way at all")


def _with_foresight(
    free: RangeSet, wanted: Sequence[Wanted], solution: Solution
) -> tuple[Placed, ...]:
    """Give each the best place that leaves one for all that follow.

    ``solution`` shows that there is a way. Each segment's place in it is among those that are
    tried, so that the search never runs into a dead end.
    """
    placed: list[Placed] = []
    places: dict[Role, Range] = {}
    for at, item in enumerate(wanted):
        found, solution = _best_of(free, wanted[at:], places, solution)
        placed.append(found)
        places.setdefault(item.role, found.dest)
        free = free.minus([found.dest])
    return tuple(placed)


def _best_of(
    free: RangeSet, wanted: Sequence[Wanted], places: Mapping[Role, Range], solution: Solution
) -> tuple[Placed, Solution]:
    """Place the first of ``wanted``; returns a solution for the others too."""
    item, *behind = wanted
    given_up: GivenUp | None = None
    for index, dest in _candidates(free, item, places, solution[0]):
        left, there = free.minus([dest]), {item.role: dest, **places}
        rest = solution[1:] if (index, dest) == solution[0] else solve(left, behind, there)
        if rest is not None:
            wish = item.options[index].resolved(places)
            return Placed(item.role, dest, index, wish, free, given_up), rest
        if given_up is None:
            needed = (behind[one].role for one in _obstacle(left, behind, there))
            given_up = GivenUp(dest, tuple(dict.fromkeys(needed)))
    raise AssertionError("the known solution is among the candidates")


def _candidates(
    free: RangeSet, item: Wanted, places: Mapping[Role, Range], known: tuple[int, Range]
) -> Iterator[tuple[int, Range]]:
    """Yield places worth trying, the best first and ``known`` among them.

    Both ends of each free range, since what is left over should be in one piece.
    """
    for index, option in enumerate(item.options):
        wish = option.resolved(places)
        starts = set()
        for part in (looked.usable for looked in consider(free, wish)):
            if part is not None and part.size >= wish.size:
                starts |= {part.start, align_down(part.end - wish.size, wish.align)}
        best_first = sorted(starts, reverse=wish.prefer is Prefer.TOP)[:_TRIED]
        if index == known[0]:
            best_first = sorted({*best_first, known[1].start}, reverse=wish.prefer is Prefer.TOP)
        for start in best_first:
            yield index, Range.sized(start, wish.size)


def _obstacle(
    free: RangeSet, wanted: Sequence[Wanted], places: Mapping[Role, Range]
) -> tuple[int, ...]:
    """Return which of ``wanted`` are too many: the last has no place beside the others.

    Without any one of them there is a way, up to the last.
    """
    counts = range(1, len(wanted) + 1)
    last = next(count for count in counts if solve(free, wanted[:count], places) is None) - 1
    needed = list(range(last + 1))
    for at in range(last - 1, -1, -1):
        fewer = [one for one in needed if one != at]
        if solve(free, [wanted[one] for one in fewer], places) is None:
            needed = fewer
    return tuple(needed)


def _refuse(
    free: RangeSet, wanted: Sequence[Wanted], placed: tuple[Placed, ...], refusal: NoRoomError
) -> NoRoomError:
    """Say what has no place, and beside what.

    ``refusal`` is how placing one after the other ended, with ``placed`` in place.
    """
    *others, blocked = _obstacle(free, wanted, {})
    item = wanted[blocked]
    if blocked != len(placed):
        placed = arrange(free, wanted[:blocked])
        left = free.minus(one.dest for one in placed)
        refusal = _refused(left, item, {one.role: one.dest for one in reversed(placed)})
        refusal.placed = tuple(sorted(placed, key=lambda one: one.dest))
    beside = [wanted[one] for one in others]
    refusal.beside = tuple(dict.fromkeys(one.role for one in beside))
    if not others:
        # Measured by all memory: the hint says how much less would do, wherever the others lie.
        refusal.message = _refused(free, item, {}).message
    if _fits_without_own_limits(free, wanted):
        refusal.hint = hint_of_own_limits(refusal.role, _own_limits(wanted))
    else:
        refusal.excess = _excess(free, wanted[: blocked + 1])
        refusal.hint = _hint(refusal, beside)
    return refusal


def _refused(free: RangeSet, item: Wanted, places: Mapping[Role, Range]) -> NoRoomError:
    try:
        _first_choice(free, item, places)
    except NoRoomError as error:
        return error
    raise AssertionError(f"{item.role} has a place after all")


def _excess(free: RangeSet, wanted: Sequence[Wanted]) -> int | None:
    """Return by how many bytes the last of ``wanted`` is too large; None if even a byte is."""
    *others, last = wanted
    fitting, failing = 0, max(option.size for option in last.options)
    full = failing
    while failing - fitting > 1:
        size = (fitting + failing) // 2
        options = (replace(option, size=min(option.size, size)) for option in last.options)
        if solve(free, [*others, replace(last, options=tuple(options))], {}) is None:
            failing = size
        else:
            fitting = size
    return full - fitting if fitting else None


def _hint(refusal: NoRoomError, beside: Sequence[Wanted]) -> str:
    """Say by how much the segment is too large, and beside what."""
    role, excess = refusal.role, refusal.excess
    sizes = dict.fromkeys(f"{one.role} ({format_size(one.options[0].size)})" for one in beside)
    listed = f"{' and '.join(sizes)}, wherever {'those are' if len(sizes) > 1 else 'that is'} put"
    if excess is None and not beside:
        return hint_of_shortage(role, refusal.wish, refusal.considered)
    if excess is None:
        return f"there is no place for {role} beside {listed}; {more_of(role)}"
    where = f"free memory beside {listed}" if beside else "free memory"
    return f"{role} is {format_size(excess)} too large for this machine's {where}; {more_of(role)}"


def _own_limits(wanted: Sequence[Wanted]) -> set[str]:
    """Return where the user's own limits come from."""
    limits = (limit for item in wanted for option in item.options for limit in option.limits)
    return {
        limit.source
        for limit in limits
        if isinstance(limit, Limit) and limit.origin is Origin.OPTION
    }


def _fits_without_own_limits(free: RangeSet, wanted: Sequence[Wanted]) -> bool:
    relaxed = [_without_own_limits(item) for item in wanted]
    return bool(_own_limits(wanted)) and solve(free, relaxed, {}) is not None


def _without_own_limits(item: Wanted) -> Wanted:
    options = []
    for option in item.options:
        kept = (
            limit
            for limit in option.limits
            if isinstance(limit, Relation) or limit.origin is not Origin.OPTION
        )
        options.append(replace(option, limits=tuple(kept)))
    return replace(item, options=tuple(options))
