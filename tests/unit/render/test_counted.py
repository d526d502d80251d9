"""Numbers of things, and texts behind a head, as people read them."""

from __future__ import annotations

import pytest

from pykexec.doctor import Finding, Level
from pykexec.render.doctor import doctor_text
from pykexec.render.lines import behind
from pykexec.values.calls import Target
from pykexec.values.units import counted


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (0, ("range",), "0 ranges"),
        (1, ("measurement",), "1 measurement"),
        (2, ("entry", "entries"), "2 entries"),
        (1, ("entry", "entries"), "1 entry"),
    ],
)
def test_one_is_no_plural(number: int, words: tuple[str, ...], text: str) -> None:
    assert counted(number, *words) == text


def test_a_text_is_broken_below_its_head() -> None:
    lines = behind("head  ", "word " * 30, 6).splitlines()
    assert lines[0].startswith("head  word")
    assert all(line.startswith("      word") for line in lines[1:])
    assert max(map(len, lines)) <= 80


def test_what_would_begin_a_line_is_escaped() -> None:
    assert behind("", "a\tb\x1b[2J\nc", 0) == "a\\tb\\x1b[2J\\nc"
    said = doctor_text([Finding("image", Level.BLOCKS, "a\nverdict: fine")], Target.NORMAL)
    assert "\nverdict: fine" not in said
