"""Why a segment lies where it lies: from what the plan has recorded."""

from __future__ import annotations

import pytest

from pykexec.errors import NoRoomError, UsageError
from pykexec.planning.explanations import Explanation, Judged, Verdict, explain, explain_refusal
from pykexec.planning.placement import find
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from pykexec.values.wishes import Origin, Placement, Prefer, aligned, at_least, at_most
from tests.builders import arm64
from tests.builders.plans import RAM, build_facts, build_plan


def refusal(free: list[Range], wish: Placement) -> Explanation:
    with pytest.raises(NoRoomError) as caught:
        find(RangeSet(free), wish, "initrd")
    return explain_refusal(caught.value)


@pytest.mark.parametrize(
    ("free", "verdict", "reason"),
    [
        (Range(0, 2 * MIB), Verdict.OUTSIDE, "below 0x1000000: lowest rule"),
        (Range(GIB, 2 * GIB), Verdict.OUTSIDE, "above 0x1fffffff: highest rule"),
        (
            Range(33 * MIB, 33 * MIB + 0x1000),
            Verdict.OUTSIDE,
            "no multiple of 0x200000 in it: align rule",
        ),
        (Range(32 * MIB, 36 * MIB), Verdict.SMALL, "60 MiB short"),
        (Range(33 * MIB, 37 * MIB), Verdict.SMALL, "61 MiB short"),
        (
            Range(15 * MIB, 79 * MIB),
            Verdict.SMALL,
            "1 MiB short, cut by lowest rule",
        ),
        (
            Range(479 * MIB, 600 * MIB),
            Verdict.SMALL,
            "32 MiB short, cut by align rule and highest rule",
        ),
    ],
)
def test_each_limit_is_named_where_it_is_to_blame(
    free: Range, verdict: Verdict, reason: str
) -> None:
    limits = (
        at_least(16 * MIB, "lowest rule"),
        at_most(512 * MIB - 1, "highest rule"),
        aligned(2 * MIB, "align rule"),
        aligned(4096, "page size"),
    )
    explained = refusal([free], Placement(64 * MIB, limits))
    assert [(item.verdict, item.reason) for item in explained.ranges] == [(verdict, reason)]
    assert explained.place is None
    assert explained.shortage > 0


def test_limits_that_exclude_each_other() -> None:
    limits = (
        at_least(32 * MIB, "--mem-min", Origin.OPTION),
        at_most(16 * MIB, "--mem-max", Origin.OPTION),
    )
    explained = refusal([Range(0, GIB)], Placement(4096, limits))
    assert explained.ranges[0].reason == "--mem-min and --mem-max exclude each other"


def test_the_chosen_range_and_those_that_would_do() -> None:
    plan = build_plan()
    kernel = plan.segment(Role.KERNEL)
    assert kernel is not None
    explained = explain(plan, "kernel")
    assert explained.place == kernel.dest
    assert explained.shortage == 0
    low, middle, top = explained.ranges
    assert low == Judged(Range(0x1000, 0x9F000), None, Verdict.OUTSIDE, low.reason)
    assert low.reason == "below 0x1000000: pref_address"
    assert (middle.verdict, middle.reason) == (Verdict.SPARE, "a higher one does too")
    assert (top.verdict, top.reason) == (Verdict.CHOSEN, "the highest that fits")
    assert [item.role for item in explained.before] == [Role.PARAMETERS, Role.PURGATORY]


def test_the_lowest_is_preferred_on_arm64() -> None:
    ram = [Range(GIB, 2 * GIB), Range(3 * GIB, 4 * GIB)]
    explained = explain(arm64.build_plan(arm64.build_facts(ram)), "kernel")
    assert explained.wish.prefer is Prefer.BOTTOM
    assert [item.reason for item in explained.ranges] == [
        "the lowest that fits",
        "a lower one does too",
    ]


def test_what_is_recorded_is_what_the_place_was_found_in() -> None:
    """An explanation and the plan cannot disagree: the same search over the same record."""
    plan = build_plan(build_facts(RAM))
    for segment in plan.segments:
        assert find(segment.free, segment.wish, segment.role) == segment.dest
        explained = explain(plan, segment.role)
        chosen = [item for item in explained.ranges if item.verdict is Verdict.CHOSEN]
        assert len(chosen) == 1
        assert chosen[0].free.contains(segment.dest)


def test_a_role_that_the_plan_does_not_have() -> None:
    with pytest.raises(UsageError, match="no segment 'dtb'") as caught:
        explain(build_plan(), "dtb")
    assert "initrd" in (caught.value.hint or "")
