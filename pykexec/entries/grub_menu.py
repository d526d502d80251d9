"""Which line of its menu GRUB starts by itself. Pure.

GNU GRUB Manual, "default", "submenu". Which of a number, an id and a title goes first is not the
same in all GRUBs: where that matters, there is no answer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.entries.grub_numbers import strtoul
from pykexec.values.data_classes import dataclass

if TYPE_CHECKING:
    from pykexec.entries.grub_values import GrubMenu, Item

_LEVEL = re.compile(r"((?:[^>]|>>)*)(?:>(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Chosen:
    """What starts by itself."""

    item: Item | None
    doubt: str = ""
    """Why it is not certain, "" when it is."""
    note: str = ""
    """What ``default`` names that is not there."""


def chosen(menu: GrubMenu, wanted: str | None = None, lost: tuple[str, ...] = ()) -> Chosen:
    """Return the line that GRUB starts when nobody touches a key.

    ``wanted`` is what is left of the outer menu's ``default``, ``lost`` what it lacks.
    """
    lost = lost or menu.lost
    for doubt in menu.doubts:
        return Chosen(None, doubt)
    if not menu.items:
        return Chosen(None)
    name, rest = _first_level(menu.wanted if wanted is None else wanted)
    at, doubt = _position(menu, name)
    if doubt:
        return Chosen(None, doubt)
    note = "" if at is not None or not name else f"it has no line {name!r}: the first counts"
    by_place = at is None or _is_number(name)
    if by_place and lost:
        return Chosen(None, f"its lines cannot be counted, since {lost[0]} is lost", note)
    item = menu.items[at or 0]
    if item.submenu is None:
        return Chosen(item, note=note)
    below = item.submenu
    # A file of its own sets a default of its own.
    inner = chosen(below, None if below.wanted else rest, lost)
    return inner if inner.note or not note else Chosen(inner.item, inner.doubt, note)


def _first_level(wanted: str) -> tuple[str, str]:
    match = _LEVEL.match(wanted)
    assert match is not None
    return match[1].replace(">>", ">"), match[2] or ""


def _is_number(name: str) -> bool:
    found = strtoul(name)
    return found is not None and not found[1].strip()


def _position(menu: GrubMenu, name: str) -> tuple[int | None, str]:
    """Return the place of the line that is called so, None for none, and why that is in doubt."""
    if not name:
        return None, ""
    named = next((at for at, item in enumerate(menu.items) if item.id == name), None)
    if named is None:
        named = next((at for at, item in enumerate(menu.items) if item.title == name), None)
    number = strtoul(name)
    counted = number[0] if number is not None and number[0] < len(menu.items) else None
    if number is None or (named is not None and menu.items[named].is_snippet):
        return named, ""
    if named is None and not number[1].strip():
        return counted, ""
    if (named or 0) != (counted or 0):
        return None, f"GRUBs differ in whether {name!r} is a name or a number"
    return named if named is not None else counted, ""
