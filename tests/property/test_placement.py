"""Placement: inside free space, aligned, deterministic, and never missing a place that exists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykexec.errors import NoRoomError
from pykexec.planning.placement import find
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.wishes import Placement, Prefer, aligned, at_least, at_most

TOP = 64


@st.composite
def free_sets(draw: st.DrawFn) -> RangeSet:
    cuts = sorted(draw(st.lists(st.integers(0, TOP), max_size=10, unique=True)))
    return RangeSet(Range(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=False))


@st.composite
def wishes(draw: st.DrawFn) -> Placement:
    limits = [aligned(draw(st.sampled_from([1, 2, 4, 16])), "test")]
    if draw(st.booleans()):
        limits.append(at_least(draw(st.integers(0, TOP)), "test"))
    if draw(st.booleans()):
        limits.append(at_most(draw(st.integers(0, TOP)), "test"))
    return Placement(draw(st.integers(1, 24)), tuple(limits), draw(st.sampled_from(Prefer)))


def possible(free: RangeSet, wish: Placement) -> list[int]:
    """Every start that satisfies the wish, by trying them all."""
    return [
        start
        for start in range(0, TOP, wish.align)
        if start >= wish.lowest
        and start + wish.size - 1 <= wish.highest
        and free.covering(Range.sized(start, wish.size)) is not None
    ]


@given(free_sets(), wishes())
def test_finds_the_preferred_of_all_possible_places(free: RangeSet, wish: Placement) -> None:
    starts = possible(free, wish)
    if not starts:
        with pytest.raises(NoRoomError, match="cannot place test: need") as caught:
            find(free, wish, "test")
        assert caught.value.wish is wish
        assert [item.free for item in caught.value.considered] == list(free)
        assert caught.value.hint
        return
    place = find(free, wish, "test")
    best = max(starts) if wish.prefer is Prefer.TOP else min(starts)
    assert place == Range.sized(best, wish.size)
    assert find(free, wish, "test") == place


def test_a_place_may_cross_the_seam_of_two_lines() -> None:
    free = RangeSet([Range(0, 32), Range(32, 64)])
    assert find(free, Placement(64), "test") == Range(0, 64)


def test_the_top_of_the_address_space_is_usable() -> None:
    top = 1 << 64
    free = RangeSet([Range(top - 0x3000, top)])
    wish = Placement(0x1000, (aligned(0x1000, "page size"),))
    assert find(free, wish, "test") == Range(top - 0x1000, top)
