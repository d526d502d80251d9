"""Ordering versions: UAPI.10 Version Format Specification, "Version Comparison". Pure."""

from __future__ import annotations

import re
from typing import TypeAlias

VersionKey: TypeAlias = tuple[tuple[int, int, str], ...]

_PART = re.compile(r"[~^.-]|[0-9]+|[a-zA-Z]+")
_TILDE, _END, _MINUS, _CARET, _DOT, _LETTERS, _DIGITS = range(7)
"""How different kinds of parts compare.

A tilde is below the end of the other version: the specification says that such a suffix always
sorts lower, so that 6.1~rc1 is older than 6.1, though its list of steps has the end first. Where
it takes letters for the number 0, digits are above them here, as systemd has it.
"""
_MARKS = {"~": _TILDE, "-": _MINUS, ".": _DOT, "^": _CARET}


def version_key(text: str) -> VersionKey:
    """Return what sorts ``text`` by: a newer version has the greater key."""
    parts = (_part_key(part) for part in _PART.findall(text))
    return (*parts, (_END, 0, ""))


def _part_key(part: str) -> tuple[int, int, str]:
    if part in _MARKS:
        return _MARKS[part], 0, ""
    if part.isdigit():
        # Not as a number: Python refuses to make one of thousands of digits.
        digits = part.lstrip("0")
        return _DIGITS, len(digits), digits
    return _LETTERS, 0, part
