"""What is read from the configuration of a boot loader that runs no script. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from pykexec.values.data_classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.entries import BootEntry

NestedReader: TypeAlias = "Callable[[str, str], tuple[str, str] | str]"
"""Reads a file that a configuration takes in: of its name there, and of the path of the file that
names it, returns its text and its path, or why it cannot be had, in words that end a sentence."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a boot loader sees beside its configuration."""

    read: NestedReader
    names: tuple[str, ...] = ()
    """Of the files in the directory of the configuration."""
    model: str = ""
    """The machine's, as its device tree has it; "" where that is not known."""


@dataclass(frozen=True, slots=True)
class MenuReading:
    """A menu, and what its boot loader starts by itself."""

    entries: tuple[BootEntry, ...]
    """With paths as the configuration has them; ids are unique."""
    default: str | None
    """The id of the entry that starts by itself; None: it is none of them."""
    reason: str
    """What names the default, or why none of the entries is it."""
    problems: tuple[str, ...] = ()
    """What could not be understood, with its file and line."""


def with_unique_ids(names: list[str]) -> list[str]:
    """Return ``names``, with ``#2`` and so on behind one that was there already; none is empty."""
    seen: dict[str, int] = {}
    unique: list[str] = []
    for name in (name or "unnamed" for name in names):
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return unique
