"""An explanation as text and as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pykexec.errors import NoRoomError
from pykexec.planning.explanations import Explanation, explain, explain_refusal
from pykexec.planning.placement import find
from pykexec.planning.planner import plan
from pykexec.planning.remedies import remedies
from pykexec.render.explain import explanation_json, explanation_text
from pykexec.render.style import Style
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import GIB, MIB
from pykexec.values.wishes import Origin, Placement, aligned, at_least, at_most
from tests.builders.plans import build_facts, build_plan, build_request
from tests.json_schemas import validate


def value_of(*arguments: Any) -> Any:
    value = json.loads(explanation_json(*arguments))
    validate(value)
    return value


def refusal(free: list[Range], size: int = 64 * MIB) -> Explanation:
    limits = (
        at_least(16 * MIB, "pref_address", Origin.HEADER),
        at_most(2 * GIB - 1, "--mem-max", Origin.OPTION),
        aligned(4096, "page size"),
        aligned(2 * MIB, "kernel_alignment", Origin.HEADER),
    )
    with pytest.raises(NoRoomError) as caught:
        find(RangeSet(free), Placement(size, limits), "kernel")
    return explain_refusal(caught.value)


def test_a_place() -> None:
    text = explanation_text(explain(build_plan(), "initrd"))
    assert text.split("\n") == [
        "initrd: 12 KiB, highest address first",
        "",
        "Limits, the strictest of each kind marked:",
        "     limit               value  from  source",
        "  *  lowest address  0x1000000  rule  initrd above ISA DMA memory",
        "  *  alignment          0x1000  rule  page size",
        "",
        "Placed before it: kernel, boot_params, purgatory.",
        "Free memory at that moment, 4 ranges:",
        "       0x1000-    0x9efff  632 KiB",
        "      outside the limits: below 0x1000000: initrd above ISA DMA memory",
        "     0x100000- 0xbfffffff  3.0 GiB, 3.0 GiB within the limits",
        "      would do: a higher one does too",
        "  0x100000000-0x17ddfffff  2.0 GiB",
        "      would do: a higher one does too",
        "  0x17fe00000-0x17fff4fff  2.0 MiB",
        "      chosen: the highest that fits",
        "",
        "Chosen: 0x17fff2000-0x17fff4fff",
        "",
    ]


def test_the_strictest_limit_of_a_kind_is_marked() -> None:
    text = explanation_text(explain(build_plan(), "kernel"))
    assert "     alignment          0x1000  rule    page size\n" in text
    assert "  *  alignment        0x200000  header  kernel_alignment\n" in text


def test_a_place_as_json() -> None:
    value = value_of(explain(build_plan(), "initrd"))
    assert value["place"] == {"start": "0x17fff2000", "end": "0x17fff5000"}
    assert (value["shortage"], value["remedies"]) == (0, None)
    assert [item["verdict"] for item in value["ranges"]] == ["outside", "spare", "spare", "chosen"]
    assert value["placed_before"] == ["kernel", "boot_params", "purgatory"]


def test_runs_of_ranges_with_one_verdict_are_one_entry() -> None:
    pages = [Range.sized(GIB + at * 16 * MIB, at * MIB) for at in range(1, 9)]
    below = [Range.sized(at * MIB, 4096) for at in range(5)]
    explained = refusal([*below, *pages])
    text = explanation_text(explained)
    lines = text.split("\n")
    assert "  5 ranges, 20 KiB in all" in text
    assert "      outside the limits: below 0x1000000: pref_address" in lines
    assert "  8 ranges, 36 MiB in all" in text
    assert "      too small: the best is 56 MiB short" in lines
    assert "No place for kernel: 56 MiB short." in lines
    assert len(value_of(explained, ())["ranges"]) == 13


def test_one_thing_before_it_and_nothing_free() -> None:
    text = explanation_text(refusal([]))
    assert "Nothing was placed before it.\nNo memory was free then.\n" in text


def test_a_refusal_with_what_would_make_it_fit() -> None:
    facts = build_facts([Range(MIB, GIB)])
    request = build_request(mem_max=40 * MIB)
    with pytest.raises(NoRoomError) as caught:
        plan(facts, request)
    changes = remedies(facts, request, caught.value)
    explained = explain_refusal(caught.value)
    text = explanation_text(explained, changes)
    assert "Each of these alone makes it fit; less does not:\n  * give --mem-max 0x" in text
    value = value_of(explained, changes)
    assert [item["change"] for item in value["remedies"]] == ["mem-max"]
    assert value["place"] is None
    assert value["shortage"] == 8 * MIB + 0xB000  # purgatory and boot_params are above


def test_a_refusal_that_no_one_change_mends() -> None:
    assert "No single change that pykexec knows of" in explanation_text(refusal([]), ())
    assert value_of(refusal([]), ())["remedies"] == []


def test_colours_and_width() -> None:
    long = Placement(64 * MIB, (at_least(GIB, "a rule " * 12),))
    with pytest.raises(NoRoomError) as caught:
        find(RangeSet([Range(0, MIB), Range((1 << 52) - MIB, 1 << 52)]), long, "kernel")
    text = explanation_text(explain_refusal(caught.value), ())
    assert max(map(len, text.splitlines())) <= 80
    coloured = explanation_text(explain(build_plan(), "initrd"), style=Style(colour=True))
    assert "      \x1b[32mchosen\x1b[0m: the highest that fits" in coloured
    assert "      \x1b[31moutside the limits\x1b[0m: below" in coloured
