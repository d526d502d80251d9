"""JSON of somebody else: what is taken out of it has a type and a limit."""

from __future__ import annotations

import time
from enum import Enum
from typing import Any

import pytest

from pykexec.errors import MachineError, UsageError
from pykexec.values.json_fields import DEPTH_MAX, JSON_MAX, Fields, parse_json


class Kind(Enum):
    A = "a"
    B = "b"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "x is not JSON"),
        ("[" * 50_000, "nested more than 32 deep"),
        ('{"a":' * 50_000, "nested more than 32 deep"),
        ('"' + "[" * 100, "x is not JSON"),
        ("9" * 5000, "a number of 5000 digits"),
        ("-" + "9" * 5000, "a number of 5001 digits"),
        ("[NaN]", "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ('{"a": 1, "a": 2}', "two members 'a'"),
        (b'"\xff"', "x is not JSON: 'utf-8' codec"),
        (b"\xff\xfe[\0", "x is not JSON: 'utf-8' codec"),
        (b" " * (JSON_MAX + 1), "more than 4194304 bytes"),
    ],
)
def test_what_is_no_json_of_ours(text: bytes | str, reason: str) -> None:
    with pytest.raises(MachineError, match=reason):
        parse_json(text, "x")


def test_many_names_take_no_time() -> None:
    names = [*range(100_000), 99_999]
    text = "{" + ",".join(f'"{name}":0' for name in names) + "}"
    started = time.process_time()
    with pytest.raises(MachineError, match="two members '99999'"):
        parse_json(text, "it")
    assert time.process_time() - started < 2


def test_brackets_in_texts_nest_nothing() -> None:
    text = '["' + "[{" * 100 + '\\"[[[' + '"]'
    assert parse_json(text, "x") == ["[{" * 100 + '"[[[']
    deep = "[" * DEPTH_MAX + "]" * DEPTH_MAX
    assert parse_json(deep, "x")


@pytest.mark.parametrize(
    ("ask", "values", "needed"),
    [
        (lambda f: f.text("a"), [1, None, True, [], {}, "\ud800", "\0"], "a text is needed"),
        (lambda f: f.natural("a"), [-1, 1 << 64, True, 1.5, "1", None], "an integer from 0 to"),
        (lambda f: f.natural("a", least=2, most=3), [1, 4], "an integer from 2 to 3"),
        (lambda f: f.hexadecimal("a"), [1, "", "0x", "g", "0x" + "f" * 17, "-1"], "hexadecimal"),
        (lambda f: f.flag("a"), [0, 1, "true", None], "true or false"),
        (lambda f: f.choice("a", Kind), ["c", 1, [], {}, None], "one of a, b"),
        (lambda f: f.texts("a"), ["a", [1], ["\ud800"], {}], "a list of texts"),
        (lambda f: f.fields("a"), [1, [], "a", None], "an object is needed"),
        (lambda f: f.fields_of_each("a"), [1, {}, "a", None], "a list of objects"),
        (lambda f: f.fields_of_each("a"), [[1]], r"\[0\] is 1, an object is needed"),
    ],
)
def test_a_member_of_another_kind_is_named(ask: Any, values: list[Any], needed: str) -> None:
    for value in values:
        with pytest.raises(UsageError, match=f"^x: a(?: is .*)?{needed}") as caught:
            ask(Fields({"a": value}, "x", error=UsageError, hint="look"))
        assert caught.value.hint == "look"
        assert len(caught.value.message) < 160


def test_members_of_the_right_kind() -> None:
    value = Fields({"n": 1 << 63, "h": "0xFf", "t": "\udcff", "k": "b", "o": {"l": ["a"]}}, "x")
    assert (value.natural("n"), value.hexadecimal("h"), value.text("t")) == (1 << 63, 255, "\udcff")
    assert (value.choice("k", Kind), value.fields("o").texts("l")) == (Kind.B, ("a",))
    assert (value.text("z", None), value.natural("z", 7), value.texts("z", ())) == (None, 7, ())
    with pytest.raises(MachineError, match=r"x: o\.m is missing, a text is needed"):
        value.fields("o").text("m")
