"""A plan is what it was, after a dump and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pykexec.errors import ImageError, PykexecError, UsageError
from pykexec.planning.invariants import verify
from pykexec.planning.planner import plan_file_load
from pykexec.planning.plans import SegmentPlan
from pykexec.render.json import plan_json
from pykexec.simulation.dumped import parse_dump
from tests.builders import arm64
from tests.builders.plans import build_facts, build_plan, build_request

PLAN = build_plan(cmdline="café console=ttyS0".encode())


def reader_of(plan: SegmentPlan) -> Callable[[int], bytes]:
    return lambda index: bytes(plan.segments[index].data)


def parse(change: Callable[[dict[str, Any]], object] = lambda value: None) -> SegmentPlan:
    value = json.loads(plan_json(PLAN))
    change(value)
    return parse_dump(json.dumps(value), reader_of(PLAN))


LARGE_PAGES = arm64.build_plan(arm64.build_facts(page_size=1 << 16))


@pytest.mark.parametrize(
    "plan", [PLAN, arm64.build_plan(), LARGE_PAGES], ids=["x86_64", "aarch64", "64 KiB"]
)
def test_a_dump_is_the_plan_without_its_wishes(plan: SegmentPlan) -> None:
    made = parse_dump(plan_json(plan), reader_of(plan))
    segments = (
        replace(ours, wish=theirs.wish, free=theirs.free)
        for ours, theirs in zip(made.segments, plan.segments, strict=True)
    )
    assert replace(made, segments=tuple(segments)) == plan


def test_a_dump_can_be_judged() -> None:
    assert verify(parse(), build_facts()) == []


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda v: v.update(schema="other/1"), ImageError, "schema 'other/1' is unknown"),
        (lambda v: v.pop("entry"), ImageError, "plan.json: entry is missing"),
        (lambda v: v.update(entry=None), ImageError, "plan.json: entry is missing"),
        (
            lambda v: v["segments"][0].update(role="soup"),
            ImageError,
            "role is 'soup', one of",
        ),
        (lambda v: v["segments"][0].update(mem="0x" + "f" * 17), ImageError, "of at most 64 bits"),
        (lambda v: v["memory_map"][0].update(end="0x0"), ImageError, "not below the start"),
        (lambda v: v["segments"][0].update(bufsz=1), ImageError, "1 are needed"),
        (lambda v: v["segments"][0].update(sha256="0"), ImageError, "is not what plan.json"),
        (lambda v: v.update(page_size=3000), ImageError, "page_size is 3000, a power of two is"),
        (lambda v: v.update(segments=[]), UsageError, "the plan has no segments"),
    ],
)
def test_what_is_no_dump_is_refused(
    change: Callable[[dict[str, Any]], object], kind: type[PykexecError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        parse(change)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"pykexec.plan/1"', "{}"])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ImageError, match=r"plan\.json(?:: | is not JSON)"):
        parse_dump(text, reader_of(PLAN))


def test_a_file_load_has_nothing_to_simulate() -> None:
    text = plan_json(plan_file_load(build_facts(), build_request()))
    with pytest.raises(UsageError, match="the plan has no segments") as caught:
        parse_dump(text, reader_of(PLAN))
    assert caught.value.hint == "plan with --call segments"


def test_the_layout_beneath_a_file_load_is_taken() -> None:
    made = replace(plan_file_load(build_facts(), build_request()), layout=PLAN)
    parsed = parse_dump(plan_json(made), reader_of(PLAN))
    assert parsed == parse_dump(plan_json(PLAN), reader_of(PLAN))
    value = json.loads(plan_json(made))
    value["layout"]["segments"][0]["bufsz"] += 1
    with pytest.raises(ImageError, match=r"is not what plan\.json describes"):
        parse_dump(json.dumps(value), reader_of(PLAN))
