"""GRUB's scripting language, from text to commands. Pure.

GNU GRUB Manual, "Shell-like scripting". GRUB reads a script in units: a line, and more lines as
long as a quote, a block or a compound command is open. What cannot be parsed makes GRUB drop the
unit up to the end of the line that it stopped in, and go on with the next line; so does this.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import Enum, auto
from typing import TypeAlias

from pykexec.entries.grub_tokens import BadToken, Lexer, Token
from pykexec.values.data_classes import dataclass

_LEVELS_MAX = 60
_CHARACTERS_MAX = 1 << 18
"""A generated file has some 20 thousand, with os-prober's entries some 80."""
WORDS_MAX = 60_000
"""Words and signs; a generated file of 80 thousand characters has some 10 thousand."""


class PartKind(Enum):
    """What a piece of a word is."""

    TEXT = auto()
    """Outside of quotes; a backslash stands in front of what it escapes."""
    QUOTED = auto()
    """Out of single or double quotes, as it is."""
    VARIABLE = auto()
    """The name of a variable outside of quotes, whose value is split at blanks."""
    QUOTED_VARIABLE = auto()
    """The name of a variable in double quotes."""
    MESSAGE = auto()
    """Out of ``$"..."``: is translated, and its variables filled in behind that."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a word."""

    kind: PartKind
    text: str


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a command."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """``{ ... }`` behind a command's words."""

    script: Script
    source: str
    """The text between the braces, for commands that take it for a word."""


@dataclass(frozen=True, slots=True)
class Command:
    """A simple command."""

    words: tuple[Word, ...]
    block: Block | None
    line: int
    """The line that it starts in, from 1 on."""


@dataclass(frozen=True, slots=True)
class If:
    """``if``, every ``elif``, and ``else``."""

    branches: tuple[tuple[Script, Script], ...]
    """(condition, body): the last command of a condition decides."""
    otherwise: Script


@dataclass(frozen=True, slots=True)
class For:
    """``for NAME in WORDS``."""

    name: str
    words: tuple[Word, ...]
    body: Script
    line: int


@dataclass(frozen=True, slots=True)
class While:
    """``while`` and ``until``."""

    condition: Script
    body: Script
    is_until: bool


Statement: TypeAlias = Command | If | For | While
Script: TypeAlias = tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Bad:
    """A unit that GRUB does not take."""

    line: int
    """That it stopped in."""
    message: str
    first_line: int
    """That the unit begins in: what is from here to ``line`` is lost."""
    text: str
    """What is lost."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What GRUB reads before it runs anything of it."""

    script: Script
    functions: tuple[tuple[str, Script], ...]
    """Names and bodies; GRUB defines them while it parses."""
    bad: Bad | None = None
    words: int = 0
    """How many words and signs it has."""


def parse_script(
    text: str, *, is_file: bool = True, words_max: int = WORDS_MAX
) -> tuple[Unit, ...]:
    """Parse a script; ``is_file`` for one that GRUB reads line by line from a file.

    From a file, lines that begin with ``#`` are left out even in quotes. After ``words_max`` words
    and signs the rest is one bad unit.
    """
    if len(text) > _CHARACTERS_MAX:
        message = f"{len(text)} characters are too many for a boot menu"
        return (Unit((), (), Bad(1, message, 1, "menuentry")),)
    source = _Source(text, is_file=is_file)
    units: list[Unit] = []
    at = 0
    while at < len(source.text):
        parser = _Parser(source, at, words_max)
        units.append(parser.unit())
        words_max -= units[-1].words
        at = parser.end
    return tuple(units)


class _Source:
    """The text as GRUB's reader hands it on, and the lines that its characters come from."""

    def __init__(self, text: str, *, is_file: bool) -> None:
        kept: list[str] = []
        self._starts: list[int] = []
        self._numbers: list[int] = []
        at = 0
        lines = text.replace("\r", "").split("\n")
        if lines and not lines[-1]:
            del lines[-1]
        for number, line in enumerate(lines, start=1):
            if is_file and line.startswith("#"):
                continue
            # To GRUB, a NUL ends the line's text.
            kept.append(line.partition("\0")[0] + "\n")
            self._starts.append(at)
            self._numbers.append(number)
            at += len(kept[-1])
        self.text = "".join(kept)

    def line(self, at: int) -> int:
        """Return the number of the line that the character at ``at`` is in."""
        return self._numbers[bisect_right(self._starts, at) - 1] if self._numbers else 1

    def next_line(self, at: int) -> int:
        """Return where the line behind the character at ``at`` begins."""
        end = self.text.find("\n", at)
        return len(self.text) if end < 0 else end + 1


class _Unparsable(Exception):
    """GRUB stops here."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = self.end = at
        self.message = message


class _Parser:
    """Parses one unit by GRUB's grammar: tokens are looked at one by one, as it does."""

    def __init__(self, source: _Source, at: int, words_max: int) -> None:
        self._source = source
        self._words = 0
        self._words_max = words_max
        self._lexer = Lexer(source.text, at)
        self._start = at
        self._open: list[tuple[str, int]] = []
        self._functions: list[tuple[str, Script]] = []
        self._token = Token("", "", at, at)
        self.end = at
        """Where the next unit begins."""

    def unit(self) -> Unit:
        """Parse up to the end of the line in which nothing is open any more."""
        found: list[Statement] = []
        bad: Bad | None = None
        try:
            self._next()
            while self._token.kind != "\n":
                if self._token.kind == "function":
                    self._function()
                else:
                    found.append(self._command())
                if self._token.kind == ";":
                    self._next()
                elif self._token.kind != "\n":
                    raise self._unexpected()
            self.end = self._token.end
        except (_Unparsable, BadToken) as error:
            bad = Bad(
                self._source.line(min(error.at, len(self._source.text) - 1)),
                self._within(error.message),
                self._source.line(self._start),
                self._source.text[self._start : self._source.next_line(error.end)],
            )
            self.end = self._source.next_line(error.end)
            found = []
        return Unit(tuple(found), tuple(self._functions), bad, self._words)

    def _within(self, message: str) -> str:
        if not self._open:
            return message
        what, at = self._open[-1]
        return f"{message}, in the {what!r} of line {self._source.line(at)}"

    def _next(self) -> None:
        self._words += 1
        if self._words > self._words_max:
            at = self._token.end
            message = f"more than {WORDS_MAX} words are too many for a boot menu"
            raise BadToken(at, message, len(self._source.text))
        self._token = self._lexer.token()

    def _unexpected(self) -> _Unparsable:
        token = self._token
        if token.kind == "":
            return _Unparsable(token.start, "the file ends")
        shown = "the end of the line" if token.kind == "\n" else repr(token.text[:40])
        return _Unparsable(token.start, f"{shown} is not what GRUB's grammar has here")

    def _take(self, kind: str) -> None:
        if self._token.kind != kind:
            raise self._unexpected()
        self._next()

    def _skip_newlines(self) -> None:
        while self._token.kind == "\n":
            self._next()

    def _enter(self, what: str, at: int) -> None:
        if len(self._open) >= _LEVELS_MAX:
            raise _Unparsable(at, f"more than {_LEVELS_MAX} levels")
        self._open.append((what, at))

    def _commands(self, *ends: str, delimited: bool = True) -> Script:
        """Parse commands, at least one, up to one of the tokens ``ends``.

        A delimiter has to stand in front of the end where ``delimited``.
        """
        found: list[Statement] = []
        self._skip_newlines()
        while True:
            found.append(self._command())
            if self._token.kind in (";", "\n"):
                self._next()
                self._skip_newlines()
                if self._token.kind in ends:
                    return tuple(found)
            elif not delimited and self._token.kind in ends:
                return tuple(found)
            else:
                raise self._unexpected()

    def _command(self) -> Statement:
        kind = self._token.kind
        if kind == "if":
            return self._if()
        if kind == "for":
            return self._for()
        if kind in ("while", "until"):
            return self._while()
        if kind not in ("name", "word"):
            raise self._unexpected()
        start = self._token.start
        words = [self._word()]
        words += self._arguments()
        block: Block | None = None
        if self._token.kind == "{":
            first = words[0].parts
            name = first[0].text if len(first) == 1 else ""
            block = self._block(name or "command", start)
        return Command(tuple(words), block, self._source.line(start))

    def _arguments(self) -> list[Word]:
        found: list[Word] = []
        while self._token.is_argument:
            found.append(self._word())
        return found

    def _word(self) -> Word:
        token = self._token
        parts = tuple(Part(PartKind[kind], text) for kind, text in token.parts())
        self._next()
        return Word(parts)

    def _block(self, what: str, at: int) -> Block:
        start = self._token.end
        self._enter(what, at)
        self._next()
        script = self._commands("}", delimited=False)
        source = self._source.text[start : self._token.start]
        self._open.pop()
        self._next()
        return Block(script, source)

    def _function(self) -> None:
        at = self._token.start
        self._next()
        if self._token.kind != "name":
            raise self._unexpected()
        name = self._token.text
        self._enter(f"function {name}", at)
        self._next()
        self._skip_newlines()
        self._take("{")
        body = self._commands("}")
        self._functions.append((name, body))
        self._open.pop()
        self._next()

    def _if(self) -> If:
        self._enter("if", self._token.start)
        branches: list[tuple[Script, Script]] = []
        otherwise: Script = ()
        closing = "elif"
        while closing == "elif":
            self._next()
            condition = self._commands("then")
            self._next()
            body = self._commands("elif", "else", "fi")
            branches.append((condition, body))
            closing = self._token.kind
        if closing == "else":
            self._next()
            otherwise = self._commands("fi")
        self._open.pop()
        self._next()
        return If(tuple(branches), otherwise)

    def _for(self) -> For:
        at = self._token.start
        self._next()
        if self._token.kind != "name":
            raise self._unexpected()
        name = self._token.text
        self._enter("for", at)
        self._next()
        self._take("in")
        words = tuple(self._arguments())
        if self._token.kind not in (";", "\n"):
            raise self._unexpected()
        self._next()
        self._skip_newlines()
        body = self._do()
        return For(name, words, body, self._source.line(at))

    def _while(self) -> While:
        is_until = self._token.kind == "until"
        self._enter(self._token.kind, self._token.start)
        self._next()
        condition = self._commands("do")
        return While(condition, self._do(), is_until)

    def _do(self) -> Script:
        self._take("do")
        body = self._commands("done")
        self._open.pop()
        self._next()
        return body
