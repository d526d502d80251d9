"""Options the way getopt_long(3) reads them, one at a time and in order. Pure.

click knows no prefixes of long options, and the standard library's getopt reads all before
the caller sees the first, while ``kexec -v --bogus`` must print the version.
"""

from __future__ import annotations

import os

from pykexec.values.data_classes import dataclass
from pykexec.values.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its names, its argument and what the usage says of it."""

    name: str
    """The name that the program acts on."""
    long: tuple[str, ...]
    help: str
    short: str = ""
    metavar: str = ""
    """Name of the argument, "" for none."""
    optional: bool = False
    """The argument may be missing; given as ``--long=ARG`` only."""
    yields: bool = False
    """A prefix that may also mean another option means that one."""


def scan(arguments: Sequence[str], options: Sequence[Option]) -> Iterator[tuple[str, str | None]]:
    """Yield (option name, argument) in order, operands as ("", operand).

    Options and operands may be mixed, ``--`` ends the options, short flags may be bundled,
    long names may be cut as long as they stay unambiguous; ``POSIXLY_CORRECT`` makes the
    first operand end the options. Raises :class:`UsageError` at the first bad option, after
    all good ones before it have been yielded.
    """
    waiting = list(arguments)
    posix = "POSIXLY_CORRECT" in os.environ
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            yield _long(word[2:], waiting, options)
        elif word.startswith("-") and len(word) > 1:
            yield from _bundle(word[1:], waiting, options)
        else:
            yield "", word
            if posix:
                break
    yield from (("", word) for word in waiting)


def _long(text: str, waiting: list[str], options: Sequence[Option]) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    known = {long: option for option in options for long in option.long}
    option = known.get(name)
    if option is None:
        matches = {long: found for long, found in known.items() if long.startswith(name)}
        matches = {k: v for k, v in matches.items() if not v.yields} or matches
        if len({found.name for found in matches.values()}) > 1:
            raise UsageError(
                f"option '--{name}' is ambiguous; possibilities: "
                + " ".join(f"'--{long}'" for long in sorted(matches))
            )
        if not matches:
            raise UsageError(f"unrecognized option '--{name}'", hint=_nearest(name, options))
        option = next(iter(matches.values()))
    if equals:
        if not option.metavar:
            raise UsageError(f"option '--{option.long[0]}' doesn't allow an argument")
        return option.name, value
    if not option.metavar or option.optional:
        return option.name, None
    if not waiting:
        raise UsageError(f"option '--{option.long[0]}' requires an argument")
    return option.name, waiting.pop(0)


def _bundle(
    word: str, waiting: list[str], options: Sequence[Option]
) -> Iterator[tuple[str, str | None]]:
    shorts = {option.short: option for option in options if option.short}
    text = word
    while text:
        letter, text = text[0], text[1:]
        option = shorts.get(letter)
        if option is None:
            hint = _nearest(word.partition("=")[0], options) if len(word) > 2 else None
            raise UsageError(f"invalid option -- '{letter}'", hint=hint)
        if not option.metavar:
            yield option.name, None
            continue
        if not text and not waiting:
            raise UsageError(f"option requires an argument -- '{letter}'")
        yield option.name, text or waiting.pop(0)
        return


def _nearest(name: str, options: Sequence[Option]) -> str | None:
    """Return a hint at the long option that ``name`` is most like; None where none is near."""
    from difflib import get_close_matches

    known = [long for option in options for long in option.long]
    found = get_close_matches(name, known, n=1)
    return f"did you mean '--{found[0]}'?" if found else None
