"""GRUB's ``test`` and ``[``: GNU GRUB Manual, "test". Pure."""

from __future__ import annotations

from operator import eq, ge, gt, le, lt, ne
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_NUMBER = {"-eq": eq, "-ge": ge, "-gt": gt, "-le": le, "-lt": lt, "-ne": ne}
_STRING = {"=": eq, "==": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
_NEVER = frozenset({"-pgt", "-plt", "-nt", "-ot"})
"""Compare prefixes' numbers and files' times, which no generated file does."""


def truth(words: Sequence[str], exists: Callable[[str, str], bool]) -> bool:
    """Return what ``test WORDS`` comes to; a malformed expression is false, as for GRUB.

    ``exists`` answers for ``-d``, ``-e``, ``-f`` and ``-s``: (operator, path).
    """
    return _Test(words, exists).disjunction()


class _Test:
    def __init__(self, words: Sequence[str], exists: Callable[[str, str], bool]) -> None:
        self._words = words
        self._exists = exists
        self._at = 0

    def _peek(self, ahead: int = 0) -> str | None:
        at = self._at + ahead
        return self._words[at] if at < len(self._words) else None

    def disjunction(self) -> bool:
        value = self._conjunction()
        while self._peek() == "-o":
            self._at += 1
            value = self._conjunction() or value
        return value

    def _conjunction(self) -> bool:
        value = self._negation()
        while self._peek() not in (None, "-o", ")"):
            # Two expressions in a row are joined as by -a.
            if self._peek() == "-a":
                self._at += 1
            value = self._negation() and value
        return value

    def _negation(self) -> bool:
        inverted = False
        while self._peek() == "!" and self._peek(1) is not None:
            self._at += 1
            inverted = not inverted
        return self._primary() != inverted

    def _primary(self) -> bool:
        word, following = self._peek(), self._peek(1)
        if word is None:
            return False
        if following in _STRING or following in _NUMBER or following in _NEVER:
            second = self._peek(2) or ""
            self._at += 3
            return _compared(word, following or "", second)
        if word == "(":
            return self._group()
        if word in ("-z", "-n", "-d", "-e", "-f", "-s") and following is not None:
            self._at += 2
            if word in ("-z", "-n"):
                return (word == "-z") == (not following)
            return self._exists(word, following)
        self._at += 1
        return bool(word)

    def _group(self) -> bool:
        self._at += 1
        value = self.disjunction()
        if self._peek() == ")":
            self._at += 1
        return value


def _compared(first: str, operator: str, second: str) -> bool:
    if operator in _STRING:
        return bool(_STRING[operator](first, second))
    if operator in _NEVER:
        return False
    return bool(_NUMBER[operator](_number(first), _number(second)))


def _number(text: str) -> int:
    digits = text.lstrip("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 20 else 0
