"""Colours of a terminal: what a word is painted with, or nothing at all."""

from __future__ import annotations

from enum import IntEnum

from pykexec.values.data_classes import dataclass


class Colour(IntEnum):
    """The sixteen colours that every terminal has (ECMA-48, SGR 30 to 37)."""

    RED = 31
    GREEN = 32
    YELLOW = 33
    BLUE = 34
    MAGENTA = 35
    CYAN = 36


SEQUENCES = r"\x1b\[(?:0|7|3[1-6](?:;7)?)m"
"""All that :meth:`Style.paint` writes, as a regular expression."""


@dataclass(frozen=True, slots=True)
class Style:
    """How text may look."""

    colour: bool = False

    def paint(self, text: str, colour: Colour | None, *, inverse: bool = False) -> str:
        """Return ``text`` in ``colour``; with ``inverse`` that is the background.

        Lay text out first: what is added takes no columns, but counts in ``len``.
        """
        if not self.colour or not text:
            return text
        codes = [str(int(colour))] if colour is not None else []
        codes += ["7"] if inverse else []
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if codes else text


PLAIN = Style()
