r"""From a command's words to its arguments, as GRUB makes them. Pure.

GNU GRUB Manual, "Quoting", "Variable expansion", "File name expansion" (module ``regexp``). Until
patterns have been matched, a word is kept with a backslash in front of each character that is not
to be one of a pattern.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from pykexec.entries.grub_syntax import PartKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pykexec.entries.grub_syntax import Part, Word

_BLANKS = " \t\n\v\f\r"
_TO_ESCAPE = re.compile(r"[*?\\]")
_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)
_CODE = re.compile(r"\\(?=x[0-9A-Fa-f]{2})")
_PATTERN = re.compile(r"(?:\\.|[^\\*?])*[*?]", re.DOTALL)
_SIGN = re.compile(r"\\(.)|.", re.DOTALL)
_IN_MESSAGE = re.compile(r"\\(.)|\$(?:\{([^}]*)\}|(\w+|[?#]))", re.DOTALL | re.ASCII)


class Variables(Protocol):
    """What words are filled in from."""

    def value(self, name: str) -> str:
        """Return a variable's value, "" when it is not set."""

    def arguments(self) -> Sequence[str] | None:
        """Return ``$1`` and so on; None outside of functions and entries."""

    def keeps_codes(self) -> bool:
        """Tell whether ``\\xHH`` outside of quotes keeps its backslash."""


class TooLong(Exception):
    """The arguments get longer than any script needs."""


def expand(
    words: Iterable[Word],
    variables: Variables,
    matching: Callable[[str], list[str] | None],
    longest: int,
) -> list[str]:
    """Return the arguments that ``words`` come to.

    ``matching`` returns the files that a pattern matches, None when none does: then the pattern is
    an argument itself. Raises :class:`TooLong` for more than ``longest`` characters.
    """
    filled = _Filled(longest)
    for word in words:
        filled.begin()
        for part in word.parts:
            _fill(filled, part, variables)
    found: list[str] = []
    for text in filled.done():
        # Only what can name a device or a file is looked at for patterns.
        names = matching(text) if text[:1] in ("/", "(", "*") and _PATTERN.match(text) else None
        found += [unescape(text)] if names is None else names
        if sum(map(len, found[-1:])) > longest:
            raise TooLong
    return found


def escape(text: str) -> str:
    """Return text in which nothing is a pattern."""
    return _TO_ESCAPE.sub(r"\\\g<0>", text)


def unescape(text: str) -> str:
    """Return the text that :func:`escape` was given."""
    return _ESCAPED.sub(r"\1", text)


class _Filled:
    """Arguments in the making: the last one is None as long as nothing is in it."""

    def __init__(self, longest: int) -> None:
        self._found: list[list[str] | None] = []
        self._left = longest

    def begin(self) -> None:
        if not self._found or self._found[-1] is not None:
            self._found.append(None)

    def add(self, text: str) -> None:
        self._left -= len(text) + 1
        if self._left < 0:
            raise TooLong
        last = self._found[-1]
        if last is None:
            last = self._found[-1] = []
        last.append(text)

    def add_split(self, text: str) -> None:
        """Add the words of a value: the first goes on with what is there."""
        for at, word in enumerate(text.split()):
            if at:
                self.begin()
            self.add(_escape_split(word))

    def done(self) -> list[str]:
        return ["".join(parts) for parts in self._found if parts is not None]


def _escape_split(text: str) -> str:
    """Return a value outside of quotes: patterns in it are patterns, backslashes are none."""
    return re.sub(r"\\([*?])?", lambda m: "\\\\" + ("\\" + m[1] if m[1] else ""), text)


def _fill(filled: _Filled, part: Part, variables: Variables) -> None:
    if part.kind is PartKind.TEXT:
        if part.text:
            text = part.text
            if _CODE.search(text) and variables.keeps_codes():
                text = _CODE.sub(r"\\\\", text)
            filled.add(text)
    elif part.kind is PartKind.QUOTED:
        filled.add(escape(part.text))
    elif part.kind is PartKind.MESSAGE:
        filled.add(escape(_message(part.text, variables)))
    elif part.text in ("@", "*"):
        _fill_arguments(filled, part, variables.arguments() or ())
    else:
        value = _value(part.text, variables)
        if part.kind is PartKind.VARIABLE:
            filled.add_split(value)
        elif value:
            filled.add(escape(value))


def _fill_arguments(filled: _Filled, part: Part, arguments: Sequence[str]) -> None:
    if part.kind is PartKind.VARIABLE:
        filled.add_split(" ".join(arguments))
    elif part.text == "*":
        filled.add(escape(" ".join(arguments)))
    else:
        for at, argument in enumerate(arguments):
            if at:
                filled.begin()
            filled.add(escape(argument))


def _value(name: str, variables: Variables) -> str:
    arguments = variables.arguments()
    if name == "#":
        return "" if arguments is None else str(len(arguments))
    if name[0].isdigit():
        at = int(name) if len(name) < 6 else 0
        return arguments[at - 1] if arguments and 0 < at <= len(arguments) else ""
    return variables.value(name)


def _message(text: str, variables: Variables) -> str:
    r"""Fill a message in: ``$NAME`` and ``$#``, and a backslash in front of what is none."""

    def filled(match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[1] if match[1] in "\\$" else match[0]
        name = match[2] or match[3]
        return _value(name, variables) if name == "#" else variables.value(name)

    return _IN_MESSAGE.sub(filled, text)


def matching_names(pattern: str, names: Callable[[str], Iterable[str] | None]) -> list[str] | None:
    """Return the files that an escaped pattern matches, None for none.

    ``names`` returns the names in a directory as a script has it, ending in ``/``; None when it
    is none.
    """
    device, *pieces = pattern.split("/")
    found = [unescape(device)]
    wild = False
    for piece in pieces:
        wanted = unescape(piece)
        if _PATTERN.match(piece):
            wild = True
            found = [
                f"{path}/{entry}"
                for path in found
                for entry in names(path + "/") or ()
                if is_match(piece, entry)
            ]
        elif not wild:
            found = [f"{path}/{wanted}" for path in found]
        else:
            found = [
                f"{path}/{wanted}"
                for path in found
                if (inside := names(path + "/")) is not None and (not wanted or wanted in inside)
            ]
    return found or None


def names_devices(pattern: str) -> bool:
    """Tell whether an escaped pattern is one of devices: ``(hd*,1)/file``, ``*``."""
    return _PATTERN.match(pattern.partition("/")[0]) is not None


def is_match(pattern: str, name: str) -> bool:
    """Tell whether an escaped pattern is that of a name; takes no longer than both multiplied."""
    wanted = [m[1] or m[0] if m[0] not in ("*", "?") else (m[0],) for m in _SIGN.finditer(pattern)]
    at = taken = 0
    star, resume = -1, 0
    while taken < len(name):
        sign = wanted[at] if at < len(wanted) else None
        if sign == ("*",):
            star, resume = at, taken
            at += 1
        elif sign is not None and sign in (("?",), name[taken]):
            at += 1
            taken += 1
        elif star >= 0:
            at, resume = star + 1, resume + 1
            taken = resume
        else:
            return False
    return all(sign == ("*",) for sign in wanted[at:])
