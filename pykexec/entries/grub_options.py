"""Options of GRUB's commands, as its own parser takes them apart. Pure.

GNU GRUB Manual, "Commands"; the rules of ``grub_arg_parse``: an option's value is behind ``=``, or
the next word unless that begins with ``-``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Option:
    """An option that a command has."""

    short: str = ""
    takes_value: bool = False
    is_optional: bool = False
    """Its value may be left out."""


@dataclass(slots=True)
class Parsed:
    """A command's words."""

    values: dict[str, list[str | None]] = field(default_factory=dict)
    """By long name; None for an option without a value."""
    rest: list[str] = field(default_factory=list)

    def value(self, name: str) -> str | None:
        """Return what the last option of that name has, None without."""
        return self.values.get(name, [None])[-1]


class BadOption(Exception):
    """GRUB refuses the command."""


def parse_options(
    words: Sequence[str], options: Mapping[str, Option], *, accept_dash: bool = False
) -> Parsed:
    """Take words apart; raises :class:`BadOption`.

    With ``accept_dash`` an unknown option is a word like others.
    """
    shorts = {option.short: name for name, option in options.items() if option.short}
    found = Parsed()
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not word.startswith("-") or word == "-":
            found.rest.append(word)
            continue
        if word == "--":
            found.rest += words[at:]
            break
        if word.startswith("--"):
            name, equals, given = word[2:].partition("=")
            value: str | None = given if equals else None
            names = [name]
        else:
            names = [shorts.get(letter, "") for letter in word[1:]]
            value = None
        if not all(name in options for name in names):
            if not accept_dash:
                raise BadOption(f"unknown argument {word!r}")
            found.rest.append(word)
            continue
        for name in names[:-1]:
            if options[name].takes_value and not options[name].is_optional:
                raise BadOption(f"{word!r} lacks a value")
            found.values.setdefault(name, []).append(None)
        option = options[names[-1]]
        if option.takes_value and value is None and at < len(words):
            following = words[at]
            short = not word.startswith("--")
            if not following.startswith("-") or (
                short and (not option.is_optional or len(following) < 2)
            ):
                value = following
                at += 1
        if option.takes_value != (value is not None) and not (option.is_optional and value is None):
            raise BadOption(f"{word!r} lacks a value, or has one")
        found.values.setdefault(names[-1], []).append(value)
    return found
