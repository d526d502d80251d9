"""How plans and logs of loads are compared."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pykexec.errors import UsageError
from pykexec.planning.plans import FileLoadPlan, SegmentPlan
from pykexec.render.diff import Difference, diff_json, diff_text, differences, parse_other
from pykexec.render.json import plan_json, plan_value
from pykexec.render.text import call_text
from pykexec.values.calls import KexecFileFlags, Target
from pykexec.values.roles import Role
from pykexec.values.units import MIB
from tests.builders.plans import build_facts, build_plan
from tests.json_schemas import validate

FOREIGN_LOG = """\
kexec version: 2.0.25
Try gzip decompression.
kexec_load: entry = 0x23fffa4e0 flags = 0x3e0000
nr_segments = 2
segment[0].buf   = 0x7f1c6f5ff010
segment[0].bufsz = 0x2803
segment[0].mem   = 0x17df00000
segment[0].memsz = 0x3000
segment[1].buf   = (nil)
segment[1].bufsz = 0x70e0
segment[1].mem   = 0x17ffe8000
segment[1].memsz = 0xb000
"""


def found(before: SegmentPlan, after: SegmentPlan) -> list[Difference]:
    facts = build_facts()
    return list(differences(plan_value(before, facts), plan_value(after, facts)))


def test_a_plan_and_itself() -> None:
    text = plan_json(build_plan())
    same = differences(parse_other(text, "FILE"), plan_value(build_plan()))
    assert same == ()
    assert diff_text(same, "FILE") == "No difference to FILE.\n"
    assert json.loads(diff_json(same)) == {"schema": "pykexec.plan-diff/1", "changes": []}


def test_each_key_is_compared() -> None:
    before = build_plan()
    initrd = before.segment(Role.INITRD)
    assert initrd is not None
    changed = replace(initrd, data=b"x" * 0x1234, checked=False)
    after = replace(
        before,
        entry=0x1000,
        flags=0,
        cmdline=b"\x1bother",
        segments=(*(s for s in before.segments if s is not initrd), changed),
        notes=("a note",),
    )
    names = {item.name: item for item in found(before, after)}
    assert set(names) == {
        "entry",
        "flags",
        "cmdline",
        "segment initrd bufsz",
        "segment initrd sha256",
        "segment initrd checked",
        "told",
        "notes",
    }
    assert names["cmdline"] == Difference("cmdline", "ro quiet", "\\x1bother")
    assert names["segment initrd bufsz"] == Difference(
        "segment initrd bufsz", "0x2803 (10.0 KiB)", "0x1234 (4.6 KiB)"
    )
    assert names["notes"] == Difference("notes", None, "a note")


def test_a_segment_more_and_another_map() -> None:
    facts = build_facts()
    before, after = build_plan(initrd=None), build_plan()
    more = found(before, after)
    initrd = after.segment(Role.INITRD)
    assert initrd is not None
    assert Difference("segment initrd", None, f"at {initrd.dest.start:#x}, 12 KiB") in more
    assert Difference("told", "initrd: nothing", None) not in more
    smaller = replace(after, memory_map=replace(facts.memory_map, regions=()))
    assert Difference("memory_map", "0x1000 to 0x9fc00 System RAM", None) in found(after, smaller)


def test_fresh_seeds_are_no_difference() -> None:
    assert found(build_plan(), build_plan(rng_seed=b"s" * 32)) == []


def test_the_log_of_another_loader() -> None:
    plan = build_plan(initrd=b"i" * 0x2803)
    log = parse_other(FOREIGN_LOG, "log")
    assert (log["entry"], log["flags"], len(log["segments"])) == ("0x23fffa4e0", "0x3e0000", 2)
    names = {item.name: item for item in differences(log, plan_value(plan))}
    # The initrd is known by its size; what a log does not say is not compared.
    assert "segment initrd mem" in names
    assert not {"cmdline", "notes", "memory_map", "segment initrd sha256"} & set(names)
    assert names["segment of the log"] == Difference(
        "segment of the log", "at 0x17ffe8000, 44 KiB", None
    )
    assert names["segment kernel"].before is None


def test_the_size_of_the_contents_says_more_than_the_place() -> None:
    plan = build_plan(initrd=b"i" * 0x2803)
    kernel = plan.segment(Role.KERNEL)
    assert kernel is not None
    log = FOREIGN_LOG.replace("0x70e0", f"{len(kernel.data):#x}")
    log += f"segment[2].bufsz = 0x1\nsegment[2].mem = {kernel.dest.start:#x}\n"
    found = {item.name: item for item in differences(parse_other(log, "log"), plan_value(plan))}
    assert found["segment kernel mem"].before == "0x17ffe8000"
    assert "segment initrd mem" in found
    assert found["segment of the log"].before == f"at {kernel.dest.start:#x}"


def test_a_segment_with_a_role_is_none_of_another_role() -> None:
    before = plan_value(build_plan())
    for segment in before["segments"]:
        if segment["role"] == "initrd":
            segment["role"] = "ima_buffer"
    names = {item.name for item in differences(before, plan_value(build_plan()))}
    assert names == {"segment initrd", "segment ima_buffer"}


def test_loads_by_file() -> None:
    before = FileLoadPlan("x86_64", Target.NORMAL, b"old", None, b"", KexecFileFlags(0))
    after = replace(before, kernel=b"newer", initrd=b"x")
    names = {item.name: item for item in differences(plan_value(before), plan_value(after))}
    assert set(names) == {"kernel", "initrd"}
    assert names["initrd"].before is None
    assert '"size": 5' in (names["kernel"].after or "")


def test_a_file_cannot_paint_the_terminal() -> None:
    value = plan_value(build_plan())
    value["segments"][0] |= {"role": "\x1b[31m"}
    value["entry"] = "\x1b[33m"
    value["memory_map"] += [{"start": "\x1b[34m", "end": "", "name": ""}]
    text = diff_text(differences(parse_other(json.dumps(value), "FILE"), value), "FILE")
    assert text == "No difference to FILE.\n"
    found = differences(parse_other(json.dumps(value), "FILE"), plan_value(build_plan()))
    assert "\x1b" not in diff_text(found, "FILE")
    assert "segment \\x1b[31m: at 0x" in diff_text(found, "FILE")


def test_the_last_load_of_a_log_counts() -> None:
    earlier = FOREIGN_LOG.replace("0x23fffa4e0", "(nil)").replace("[1]", "[7]")
    log = parse_other(earlier + FOREIGN_LOG, "log")
    assert (log["entry"], len(log["segments"])) == ("0x23fffa4e0", 2)


def test_pykexecs_own_log() -> None:
    plan = build_plan()
    assert differences(parse_other(call_text(plan), "log"), plan_value(plan)) == ()
    moved = build_plan(mem_max=512 * MIB)
    names = {
        item.name for item in differences(parse_other(call_text(plan), "log"), plan_value(moved))
    }
    assert names == {"entry", *(f"segment {segment.role} mem" for segment in plan.segments)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is neither a plan nor a log of a load"),
        ("kexec_load: entry = 0x0 flags = 0x0\nnr_segments = 0\n", "is neither a plan nor a log"),
        ("[]", "is no plan: schema None"),
        ('{"schema": "pykexec.machine/1"}', "schema 'pykexec.machine/1', not 'pykexec.plan/1'"),
        ('{"schema": "pykexec.plan/1", "segments": [{"role": 1}]}', "segments"),
        ('{"schema": "pykexec.plan/1", "segments": 3}', "segments"),
        (FOREIGN_LOG.replace("0x3e0000", "many"), "'many' is not a hexadecimal number"),
    ],
)
def test_what_is_no_other_side(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("(", r"\(")) as caught:
        parse_other(text, "FILE")
    assert "--diff: FILE" in caught.value.message


def test_forms_of_the_answer() -> None:
    items = found(build_plan(), build_plan(cmdline=b"word " * 40))
    text = diff_text(items, "FILE")
    assert text.startswith("This plan (+) and FILE (-):\n  - cmdline: ro quiet\n  + cmdline: word")
    assert max(map(len, text.splitlines())) <= 80
    value: Any = json.loads(diff_json(items))
    validate(value)
    assert value["changes"][0]["name"] == "cmdline"
