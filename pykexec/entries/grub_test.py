"""GRUB's ``test`` and ``[``: GNU GRUB Manual, "test". Pure.

No expression is malformed to GRUB: what is no test is a word, true unless it is empty, and tests
in a row are joined as by ``-a``. Nothing at all is true.
"""

from __future__ import annotations

from operator import eq, ge, gt, le, lt, ne
from typing import TYPE_CHECKING, Protocol

from pykexec.entries.grub_numbers import signed, strtoul
from pykexec.values.data_classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

_NUMBER = {"-eq": eq, "-ge": ge, "-gt": gt, "-le": le, "-lt": lt, "-ne": ne}
_STRING = {"=": eq, "==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
_VERSION = {"-pgt": gt, "-plt": lt}
_TIME = ("-nt", "-ot")
_FILE = ("-d", "-e", "-f", "-s")


class Facts(Protocol):
    """Who answers what the words alone do not say."""

    def test_file(self, operator: str, path: str) -> bool:
        """Answer ``-d``, ``-e``, ``-f`` and ``-s``."""

    def test_times(self, first: str, operator: str, second: str) -> bool:
        """Answer ``-nt`` and ``-ot``, which may have a number of seconds behind them."""

    def test_unknown(self, words: Sequence[str]) -> bool | None:
        """Answer for a test of words whose text only GRUB knows; None when all are known."""


@dataclass(slots=True)
class _Level:
    """The state between two parentheses."""

    alternatives: bool = False
    all_true: bool = True
    inverted: bool = False

    def take(self, value: bool) -> None:
        self.all_true = self.all_true and value != self.inverted
        self.inverted = False

    @property
    def value(self) -> bool:
        return self.alternatives or self.all_true


def truth(words: Sequence[str], facts: Facts) -> bool:
    """Return what ``test WORDS`` comes to; a last ``]`` is left out."""
    if words and words[-1] == "]":
        words = words[:-1]
    levels = [_Level()]
    at = 0
    while at < len(words):
        level = levels[-1]
        tested = _tested(words[at : at + 3], facts)
        if tested is not None:
            value, size = tested
            level.take(value)
            at += size
            continue
        word = words[at]
        at += 1
        if word == ")":
            levels.pop()
            if not levels:
                # GRUB takes this for the end of all.
                return level.value
            levels[-1].take(level.value)
        elif word == "(":
            levels.append(_Level())
        elif word == "!":
            level.inverted = not level.inverted
        elif word == "-o":
            level.alternatives = level.value
            level.all_true = True
        elif word != "-a":
            known = facts.test_unknown((word,))
            level.take(bool(word) if known is None else known)
    while len(levels) > 1:
        value = levels.pop().value
        levels[-1].take(value)
    return levels[0].value


def _tested(words: Sequence[str], facts: Facts) -> tuple[bool, int] | None:
    """Return a test's value and how many words it has; None when the first begins none."""
    if len(words) > 2:
        first, operator, second = words
        if operator in _STRING or operator in _NUMBER or operator in _VERSION:
            known = facts.test_unknown((first, operator, second))
            return _compared(first, operator, second) if known is None else known, 3
        if operator[:3] in _TIME:
            return facts.test_times(first, operator, second), 3
    if len(words) > 1 and words[0] in ("-n", "-z"):
        known = facts.test_unknown(words[:2])
        return (words[0] == "-n") == bool(words[1]) if known is None else known, 2
    if len(words) > 1 and words[0] in _FILE:
        return facts.test_file(words[0], words[1]), 2
    return None


def _compared(first: str, operator: str, second: str) -> bool:
    if operator in _STRING:
        return bool(_STRING[operator](_bytes(first), _bytes(second)))
    if operator in _NUMBER:
        return bool(_NUMBER[operator](signed(first), signed(second)))
    return bool(_VERSION[operator](*_behind_prefix(first, second)))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _behind_prefix(first: str, second: str) -> tuple[int, int]:
    """Return the numbers behind what two names begin with: ``vmlinuz-2`` and ``vmlinuz-11``."""
    common = 0
    while common < min(len(first), len(second)) and first[common] == second[common]:
        common += 1
    at = common - 1
    while at > 0 and first[at].isascii() and first[at].isdigit():
        at -= 1
    at += 1
    old, new = (strtoul(text[at:]) for text in (first, second))
    return old[0] if old else 0, new[0] if new else 0
