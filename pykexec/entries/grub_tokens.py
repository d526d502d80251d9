"""The words and signs of GRUB's scripting language. Pure.

GNU GRUB Manual, "Shell-like scripting": words, quoting, reserved words, variable expansion. A
token is the longest piece of text that can be one, so ``a#b`` is a word and ``# b`` a comment.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

RESERVED = frozenset(
    {
        "case", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in",
        "select", "then", "until", "while",
    }
)  # fmt: skip
_SPELLING = r"[A-Za-z_]\w*|[0-9]+|[?#*@]"
_VARIABLE = rf"\$(?:(?P<name>{_SPELLING})|\{{(?P<braced>{_SPELLING})\}})"
_UNNAMED = re.sub(r"\?P<\w+>", "?:", _VARIABLE)
_DOUBLE = r'"(?:[^\\"]|\\.)*"'
_BLANKS = re.compile(r"(?:[ \t]+|#[^\n]*)+")
_SIGN = re.compile(r"\|\||&&|;;|[|&;<>{}\n]")
_WORD = re.compile(
    rf"(?:[^{{}}|&$;<> \t\n'\"\\]+|\$?{_DOUBLE}|'[^']*'|\\.|{_UNNAMED})+", re.DOTALL | re.ASCII
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_VARIABLE_HERE = re.compile(_VARIABLE, re.ASCII)
_PLAIN = re.compile(r"(?:[^\"'$\\]+|\\.)+", re.DOTALL)
_IN_DOUBLE = re.compile(r"(?:[^\\$]|\\.)+", re.DOTALL)
_ESCAPED = re.compile(r"\\([$\\\"]|\n)")
_ESCAPED_IN_MESSAGE = re.compile(r"\\([\"]|\n)")


class BadToken(Exception):
    """What GRUB's lexer does not take; ``at`` is where, ``end`` how far GRUB has read."""

    def __init__(self, at: int, message: str, end: int | None = None) -> None:
        super().__init__(message)
        self.at = at
        self.message = message
        self.end = at if end is None else end


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the language."""

    kind: str
    """A sign or a reserved word is its own kind; else ``name``, ``word``, or "" for the end."""
    text: str
    start: int
    end: int

    @property
    def is_argument(self) -> bool:
        """Tell whether it can stand behind a command's name."""
        return self.kind in ("name", "word") or self.kind in RESERVED

    def parts(self) -> Iterator[tuple[str, str]]:
        """Yield the word's pieces, a kind and a text each; raises :class:`BadToken`.

        The kinds are the names of :class:`pykexec.entries.grub_syntax.PartKind`.
        """
        text, at = self.text, 0
        while at < len(text):
            char = text[at]
            if char == "'":
                end = text.index("'", at + 1)
                yield "QUOTED", text[at + 1 : end]
            elif char == '"' or text.startswith('$"', at):
                end = _end_of_double(text, at + 1 + (char == "$"))
                inner = text[at + 1 + (char == "$") : end]
                if char == "$":
                    yield "MESSAGE", _ESCAPED_IN_MESSAGE.sub(_unescaped, inner)
                else:
                    yield from self._double(inner, self.start + at + 1)
            elif char == "$":
                match = _VARIABLE_HERE.match(text, at)
                assert match is not None
                yield "VARIABLE", match["name"] or match["braced"]
                end = match.end() - 1
            else:
                match = _PLAIN.match(text, at)
                assert match is not None
                # What stands before a message is one to GRUB's lexer too.
                kind = "MESSAGE" if text.startswith('$"', match.end()) else "TEXT"
                yield kind, match[0].replace("\\\n", "")
                end = match.end() - 1
            at = end + 1

    def _double(self, inner: str, start: int) -> Iterator[tuple[str, str]]:
        """Yield the pieces of what is between double quotes; the first is text."""
        yield "QUOTED", ""
        at = 0
        while at < len(inner):
            if inner[at] == "$":
                match = _VARIABLE_HERE.match(inner, at)
                if match is None:
                    raise BadToken(start + at, "a '$' without the name of a variable")
                yield "QUOTED_VARIABLE", match["name"] or match["braced"]
            else:
                match = _IN_DOUBLE.match(inner, at)
                assert match is not None
                yield "QUOTED", _ESCAPED.sub(_unescaped, match[0])
            at = match.end()


def _unescaped(match: re.Match[str]) -> str:
    return "" if match[1] == "\n" else match[1]


def _end_of_double(text: str, at: int) -> int:
    while text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    return at


class Lexer:
    """Cuts a text into tokens, from a place on."""

    def __init__(self, text: str, at: int) -> None:
        self._text = text
        self._at = at

    def token(self) -> Token:
        """Return the next token; raises :class:`BadToken`."""
        text = self._text
        blanks = _BLANKS.match(text, self._at)
        start = blanks.end() if blanks else self._at
        if start >= len(text):
            return Token("", "", start, start)
        sign = _SIGN.match(text, start)
        if sign is not None:
            self._at = sign.end()
            return Token(sign[0], sign[0], start, self._at)
        match = _WORD.match(text, start)
        end = match.end() if match is not None else start
        word = text[start:end]
        following = text[end : end + 2]
        if following[:1] in ("'", '"') or following == '$"':
            quote = following.lstrip("$")[0]
            raise BadToken(end, f"a quote of {quote} is never closed", len(text))
        if end >= len(text) and word.endswith("\\\n"):
            raise BadToken(start, "the file ends behind a backslash", len(text))
        if match is None:
            raise BadToken(start, f"{text[start]!r} without the name of a variable")
        self._at = end
        if word in RESERVED or word in ("[[", "]]"):
            return Token(word, word, start, end)
        return Token("name" if _NAME.fullmatch(word) else "word", word, start, end)
