"""GRUB's scripting language, from text to commands. Pure.

GNU GRUB Manual, "Shell-like scripting": words, quoting, variables, compound commands. Loops
over a condition (``while``, ``until``) are parsed and kept without their bodies: generated files
have none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pykexec.errors import MachineError

_BLANKS = " \t\r"
_REFUSED = "|&<>"
_LEVELS_MAX = 20
_CHARACTERS_MAX = 1_000_000
"""A generated file has some 20 thousand."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a word: text as it is, or a variable."""

    text: str
    """Of a variable, its name."""
    variable: bool = False
    quoted: bool = False
    """A variable in double quotes is one word, whatever is in it."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a command."""

    parts: tuple[Part, ...]
    line: int
    bare: bool = False
    """Nothing in it is quoted or a variable: it may be a word of the language."""

    @property
    def keyword(self) -> str:
        """The word, if it may be one of the language's; else ""."""
        return self.parts[0].text if self.bare and self.parts else ""


@dataclass(frozen=True, slots=True)
class Command:
    """A simple command."""

    words: tuple[Word, ...]

    @property
    def line(self) -> int:
        """The line that it starts in, from 1 on."""
        return self.words[0].line


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


@dataclass(frozen=True, slots=True)
class Function:
    """``function NAME``."""

    name: str
    body: Script


@dataclass(frozen=True, slots=True)
class Menu:
    """``menuentry`` or ``submenu``."""

    is_submenu: bool
    words: tuple[Word, ...]
    """Title and options."""
    body: Script
    line: int


Statement: TypeAlias = Command | If | For | Function | Menu
Script: TypeAlias = tuple[Statement, ...]

_NEWLINE = "\n"
_Token: TypeAlias = Word | str
"""A word, or NEWLINE for the end of a command."""


def parse_script(text: str, where: str) -> Script:
    """Parse a configuration file; raises :class:`MachineError` with ``where`` and the line."""
    if len(text) > _CHARACTERS_MAX:
        raise MachineError(f"{where}, line 1: {len(text)} characters are no boot menu")
    return _Parser(_Lexer(text, where).tokens(), where).script(frozenset(), "the file", 1)


class _Lexer:
    """Cuts the text into words."""

    def __init__(self, text: str, where: str) -> None:
        self._text = text
        self._where = where
        self._at = 0
        self._line = 1

    def tokens(self) -> list[tuple[_Token, int]]:
        """Return all tokens, each with its line."""
        found: list[tuple[_Token, int]] = []
        while (char := self._peek()) != "":
            if char in _BLANKS:
                self._next()
            elif char in "\n;":
                found.append((_NEWLINE, self._line))
                self._next()
            elif char == "#":
                while self._peek() not in ("", "\n"):
                    self._next()
            elif char == "\\" and self._text[self._at : self._at + 2] == "\\\n":
                self._next()
                self._next()
            elif char in _REFUSED:
                raise self._error(f"{char!r} outside of quotes means nothing to GRUB")
            else:
                line = self._line
                found.append((self._word(), line))
        found.append((_NEWLINE, self._line))
        return found

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        self._line += char == "\n"
        return char

    def _error(self, message: str) -> MachineError:
        return MachineError(f"{self._where}, line {self._line}: {message}")

    def _word(self) -> Word:
        parts: list[Part] = []
        line, bare = self._line, True
        if self._peek() in "{}":
            return Word((Part(self._next()),), line, bare=True)
        while (char := self._peek()) not in ("", *_BLANKS, *_REFUSED, *"\n;{}"):
            if char == "'":
                parts.append(Part(self._quoted()))
            elif char == '"':
                parts += self._double_quoted()
            elif char == "$":
                parts.append(self._variable(quoted=False))
            elif char == "\\":
                self._next()
                escaped = self._next()
                parts.append(Part("" if escaped == "\n" else escaped))
            else:
                parts.append(Part(self._plain()))
                continue
            bare = False
        return Word(tuple(parts), line, bare)

    def _plain(self) -> str:
        start = self._at
        while self._peek() not in ("", *_BLANKS, *_REFUSED, *"\n;{}'\"$\\"):
            self._at += 1
        return self._text[start : self._at]

    def _quoted(self) -> str:
        self._next()
        end = self._text.find("'", self._at)
        if end < 0:
            raise self._error("the single quote is never closed")
        text = self._text[self._at : end]
        self._line += text.count("\n")
        self._at = end + 1
        return text

    def _double_quoted(self) -> list[Part]:
        opened = self._line
        self._next()
        # An empty one is a word too.
        parts = [Part("")]
        while (char := self._peek()) != '"':
            if char == "":
                self._line = opened
                raise self._error("the double quote is never closed")
            if char == "$":
                parts.append(self._variable(quoted=True))
                continue
            self._next()
            if char == "\\" and self._peek() in ("$", '"', "\\", "\n"):
                char = self._next().replace("\n", "")
            parts.append(Part(char))
        self._next()
        return parts

    def _variable(self, *, quoted: bool) -> Part:
        self._next()
        if self._peek() == "{":
            end = self._text.find("}", self._at)
            name = self._text[self._at + 1 : end] if end >= 0 else ""
            if not name or "\n" in name:
                raise self._error("a variable's '${' without name or '}'")
            self._at = end + 1
            return Part(name, variable=True, quoted=quoted)
        start = self._at
        if self._peek() in ("?", "*", "@", "#") or self._peek().isdigit():
            self._at += 1
        else:
            while (char := self._peek()) == "_" or (char.isascii() and char.isalnum()):
                self._at += 1
        if start == self._at:
            return Part("$")
        return Part(self._text[start : self._at], variable=True, quoted=quoted)


class _Parser:
    """Groups words into commands."""

    def __init__(self, tokens: list[tuple[_Token, int]], where: str) -> None:
        self._tokens = tokens
        self._where = where
        self._at = 0
        self._level = 0

    def script(self, ends: frozenset[str], what: str, opened: int) -> Script:
        """Parse up to one of the words ``ends``, which is taken; the file's end without any.

        ``what`` was opened in line ``opened``.
        """
        self._level += 1
        if self._level > _LEVELS_MAX:
            raise self._error(f"more than {_LEVELS_MAX} levels", opened)
        found: list[Statement] = []
        while True:
            self._skip_newlines()
            if self._at >= len(self._tokens):
                if ends:
                    raise self._error(
                        f"{what} is never closed by {' or '.join(sorted(ends))}", opened
                    )
                break
            if self._keyword() in ends:
                break
            statement = self._statement()
            if statement is not None:
                found.append(statement)
        self._level -= 1
        return tuple(found)

    def _error(self, message: str, line: int) -> MachineError:
        return MachineError(f"{self._where}, line {line}: {message}")

    def _keyword(self) -> str:
        token = self._tokens[self._at][0] if self._at < len(self._tokens) else ""
        return token.keyword if isinstance(token, Word) else ""

    def _line(self) -> int:
        return self._tokens[min(self._at, len(self._tokens) - 1)][1]

    def _skip_newlines(self) -> None:
        while self._at < len(self._tokens) and self._tokens[self._at][0] == _NEWLINE:
            self._at += 1

    def _take(self, wanted: str, what: str, opened: int) -> None:
        self._skip_newlines()
        if self._keyword() != wanted:
            raise self._error(f"{what} needs {wanted!r} here, line {self._line()}", opened)
        self._at += 1

    def _words(self, stop: str = "}") -> tuple[Word, ...]:
        """Take words up to the end of the command, or to ``stop``."""
        found: list[Word] = []
        while isinstance(token := self._tokens[self._at][0], Word) and token.keyword != stop:
            found.append(token)
            self._at += 1
        return tuple(found)

    def _statement(self) -> Statement | None:
        line, keyword = self._line(), self._keyword()
        if keyword in ("menuentry", "submenu"):
            self._at += 1
            words = self._words("{")
            if not words:
                raise self._error(f"{keyword} without a title", line)
            return Menu(keyword == "submenu", words, self._block(keyword, line), line)
        if keyword == "function":
            self._at += 1
            words = self._words("{")
            name = words[0].keyword if len(words) == 1 else ""
            if not name:
                raise self._error("function without a name", line)
            return Function(name, self._block("function", line))
        if keyword == "if":
            return self._if(line)
        if keyword in ("for", "while", "until"):
            return self._loop(keyword, line)
        if keyword in ("}", "then", "else", "elif", "fi", "do", "done", "{"):
            raise self._error(f"{keyword!r} closes or goes on with nothing", line)
        return Command(self._words())

    def _block(self, what: str, opened: int) -> Script:
        self._take("{", what, opened)
        body = self.script(frozenset({"}"}), what, opened)
        self._at += 1
        return body

    def _if(self, opened: int) -> If:
        branches = []
        otherwise: Script = ()
        closing = "elif"
        while closing == "elif":
            self._at += 1
            condition = self.script(frozenset({"then"}), "if", opened)
            self._take("then", "if", opened)
            body = self.script(frozenset({"elif", "else", "fi"}), "if", opened)
            branches.append((condition, body))
            closing = self._keyword()
        if closing == "else":
            self._at += 1
            otherwise = self.script(frozenset({"fi"}), "if", opened)
        self._at += 1
        return If(tuple(branches), otherwise)

    def _loop(self, keyword: str, opened: int) -> For | None:
        self._at += 1
        head = self._words()
        self._take("do", keyword, opened)
        body = self.script(frozenset({"done"}), keyword, opened)
        self._at += 1
        if keyword != "for":
            return None
        if len(head) < 2 or not head[0].keyword or head[1].keyword != "in":
            raise self._error("'for' needs a name and 'in'", opened)
        return For(head[0].keyword, head[2:], body)
