"""The range algebra against a naive model: sets of small numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykexec.values.ranges import Range, RangeSet

TOP = 48


def ranges() -> st.SearchStrategy[Range]:
    pairs = st.tuples(st.integers(0, TOP), st.integers(0, TOP))
    return pairs.map(lambda pair: Range(min(pair), max(pair)))


def range_sets() -> st.SearchStrategy[RangeSet]:
    return st.lists(ranges(), max_size=8).map(RangeSet)


def model(items: RangeSet) -> set[int]:
    return {byte for item in items for byte in range(item.start, item.end)}


@given(range_sets())
def test_is_sorted_disjoint_and_maximal(items: RangeSet) -> None:
    listed = list(items)
    assert all(item.size for item in listed)
    # A gap between neighbours: ranges that touch have become one.
    assert all(a.end < b.start for a, b in pairwise(listed))
    assert items.size == len(model(items))


@given(range_sets(), range_sets())
def test_algebra(left: RangeSet, right: RangeSet) -> None:
    assert model(left.union(right)) == model(left) | model(right)
    assert model(left.minus(right)) == model(left) - model(right)
    assert model(left.intersect(right)) == model(left) & model(right)
    assert left.minus(right).union(left.intersect(right)) == left


@given(range_sets(), st.sampled_from([1, 2, 4, 8]))
def test_align_inward(items: RangeSet, align: int) -> None:
    aligned = items.align_inward(align)
    assert model(aligned) <= model(items)
    assert all(item.start % align == 0 and item.end % align == 0 for item in aligned)
    units = {
        unit
        for unit in range(0, TOP, align)
        if all(byte in model(items) for byte in range(unit, unit + align))
    }
    assert model(aligned) == {byte for unit in units for byte in range(unit, unit + align)}


@given(range_sets(), ranges())
def test_covering_and_overlapping(items: RangeSet, wanted: Range) -> None:
    bytes_wanted = set(range(wanted.start, wanted.end))
    covering = items.covering(wanted)
    if bytes_wanted:
        assert (covering is not None) == (bytes_wanted <= model(items))
        assert (items.overlapping(wanted) is not None) == bool(bytes_wanted & model(items))
    if covering is not None:
        assert covering.contains(wanted)


@given(ranges(), ranges())
def test_pairs(left: Range, right: Range) -> None:
    shared = set(range(left.start, left.end)) & set(range(right.start, right.end))
    inside = left.intersect(right)
    assert left.overlaps(right) == bool(shared)
    assert (set(range(inside.start, inside.end)) if inside else set()) == shared


def test_inclusive_is_the_door_for_the_kernels_ranges() -> None:
    whole = Range.inclusive(0, (1 << 64) - 1)
    assert whole.size == 1 << 64
    assert whole.last == (1 << 64) - 1
    assert str(Range.inclusive(0x1000, 0x1FFF)) == "0x1000-0x1fff"


def test_numbers_from_outside_may_end_behind_64_bits() -> None:
    assert Range.fitting(1, (1 << 64) - 1) == Range(1, 1 << 64)
    assert Range.fitting(1, 1 << 64) is None


@pytest.mark.parametrize(("start", "end"), [(2, 1), (-1, 1), (0, (1 << 64) + 1)])
def test_nonsense_is_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="not a range"):
        Range(start, end)
