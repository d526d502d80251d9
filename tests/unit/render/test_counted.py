"""Numbers of things, and texts that have lines of their own, as people read them."""

from __future__ import annotations

import pytest

from pykexec.doctor import Finding, Level
from pykexec.plans import Target
from pykexec.render.doctor import doctor_text
from pykexec.render.text import behind
from pykexec.units import counted


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


def test_lines_of_a_text_stay_lines() -> None:
    text = "no kernel; tried:\n  bzImage: no magic, " + "word " * 20 + "\n  UKI: none"
    lines = behind("head  ", text, 6).splitlines()
    assert lines[0] == "head  no kernel; tried:"
    assert lines[1].startswith("        bzImage: no magic, word")
    assert lines[-1] == "        UKI: none"
    assert max(map(len, lines)) <= 80
    said = doctor_text([Finding("image", Level.BLOCKS, text)], Target.NORMAL)
    assert "\\n" not in said
    assert "\n                              UKI: none\n" in said


def test_what_is_no_line_is_escaped() -> None:
    assert behind("", "a\tb\x1b[2Jc", 0) == "a\\tb\\x1b[2Jc"
