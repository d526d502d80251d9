"""Where a segment may lie, and the search for a place. Pure.

A :class:`Placement` is a wish: a size and limits, each with the rule that it comes from.
:func:`find` answers with a range or with a :class:`NoRoomError` that carries the wish and
what was looked at, so that a refusal can be explained down to the rule that caused it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.errors import NoRoomError
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import align_down, align_up, counted, format_size
from pykexec.values.wishes import Considered, Origin, Placement, Prefer

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def _consider(free: Range, wish: Placement) -> Considered:
    """Clip one free range to the wish's limits and alignment."""
    inside = free.intersect(wish.window)
    if inside is None:
        return Considered(free, None)
    start = align_up(inside.start, wish.align)
    return Considered(free, Range(start, inside.end) if start < inside.end else None)


def consider(free: RangeSet, wish: Placement) -> tuple[Considered, ...]:
    """Clip every free range, in ascending order."""
    return tuple(_consider(item, wish) for item in free)


def find(free: RangeSet, wish: Placement, role: str) -> Range:
    """Return the place for ``wish`` in ``free``, by its preference.

    Deterministic: the highest (lowest) range that fits, and in it the highest (lowest)
    aligned address. Raises :class:`NoRoomError` for ``role`` when nothing fits.
    """
    if wish.size <= 0:
        raise ValueError(f"{role}: a placement of {counted(wish.size, 'byte')}")
    considered = consider(free, wish)
    order = considered if wish.prefer is Prefer.BOTTOM else considered[::-1]
    for item in order:
        if item.usable is not None and item.usable.size >= wish.size:
            if wish.prefer is Prefer.BOTTOM:
                return Range.sized(item.usable.start, wish.size)
            return Range.sized(align_down(item.usable.end - wish.size, wish.align), wish.size)
    raise _no_room(role, wish, considered)


def _no_room(role: str, wish: Placement, considered: tuple[Considered, ...]) -> NoRoomError:
    usable = [item.usable for item in considered if item.usable is not None]
    largest_free = max((item.free for item in considered), key=lambda r: r.size, default=None)
    if usable:
        best = max(usable, key=lambda item: item.size)
        found = f"largest free range there is {format_size(best.size)} at {best.start:#x}"
    elif largest_free is not None:
        found = (
            "no free RAM lies there; largest free range anywhere is "
            f"{format_size(largest_free.size)} at {largest_free.start:#x}"
        )
    else:
        found = "no RAM is free"
    return NoRoomError(
        f"cannot place {role}: need {wish.describe()}; {found}",
        role=role,
        wish=wish,
        considered=considered,
        hint=_hint(role, wish, considered),
    )


def _hint(role: str, wish: Placement, considered: Sequence[Considered]) -> str:
    """Name the user's own limit when lifting it would help, else what is missing."""
    own = [item for item in wish.limits if item.origin is Origin.OPTION]
    if own:
        others = tuple(item for item in wish.limits if item not in own)
        relaxed = Placement(wish.size, others, wish.prefer)
        clipped = (_consider(item.free, relaxed).usable for item in considered)
        if any(item is not None and item.size >= wish.size for item in clipped):
            return hint_of_own_limits(role, {item.source for item in own})
    return hint_of_shortage(role, wish, considered)


def hint_of_own_limits(role: str, sources: Collection[str]) -> str:
    """Say that it is the user's own limits that leave no room."""
    return f"it fits without {' and '.join(sorted(sources))}; {more_of(role)}"


def hint_of_shortage(role: str, wish: Placement, considered: Sequence[Considered]) -> str:
    """Say by how much the best range within the limits is too small."""
    usable = [item.usable.size for item in considered if item.usable is not None]
    if considered and not usable:
        return f"no free memory is within these limits; {more_of(role)}"
    short = format_size(wish.size - max(usable, default=0))
    return f"{role} is {short} too large for this machine's free memory; {more_of(role)}"


def more_of(role: str) -> str:
    """Say where the whole answer is."""
    return f"'pykexec plan --explain {role}' says which range was left for which limit"
