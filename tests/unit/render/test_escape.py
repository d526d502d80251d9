"""The door for text on its way to a terminal."""

from __future__ import annotations

import json
import sys

import pytest

from pykexec.render.escape import escaped, json_text
from pykexec.render.style import Colour, Style


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ro quiet", "ro quiet"),
        ("a\tb\nc", "a\tb\nc"),
        ("Grüße €", "Grüße €"),
        ("\x1b]0;title\a", r"\x1b]0;title\x07"),
        ("a\rb\x08\x7f", r"a\rb\x08\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("zero\u200bwidth\ufeff\u00ad", r"zero\u200bwidth\ufeff\xad"),
        ("lone \ud800", r"lone \ud800"),
        ("byte \udcff\udc1b", r"byte \xff\udc1b"),
        ("\U000e0041", r"\U000e0041"),
        ("\x1b[31mred", r"\x1b[31mred"),
    ],
)
def test_only_what_prints_is_left(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_of_every_character_that_is_left_all_print() -> None:
    everything = "".join(map(chr, range(sys.maxunicode + 1)))
    assert escaped(everything).replace("\n", "").replace("\t", "").isprintable()
    colourful = escaped(everything, colours=True)
    assert colourful.replace("\n", "").replace("\t", "").isprintable()


@pytest.mark.parametrize("colour", [*Colour, None])
@pytest.mark.parametrize("inverse", [False, True])
def test_the_programs_own_colours_pass(colour: Colour | None, inverse: bool) -> None:
    painted = Style(colour=True).paint("word", colour, inverse=inverse)
    assert escaped(painted, colours=True) == painted
    assert "\x1b" not in escaped(painted)


@pytest.mark.parametrize(
    "code",
    ["\x1b[2J", "\x1b[8m", "\x1b[31;8m", "\x1b[1;31m", "\x1b[", "\x1b[310m", "\x1b[31m\x1b["],
)
def test_no_other_sequence_passes_among_colours(code: str) -> None:
    left = escaped(code, colours=True).replace("\x1b[31m", "")
    assert "\x1b" not in left


def test_json_is_ascii_and_stays_what_it_was() -> None:
    value = {"name": "\x7f\x1b\u202e\ud800é", "list": [1, None]}
    text = json_text(value)
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    assert json.loads(text) == value
