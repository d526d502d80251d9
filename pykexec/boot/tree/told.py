"""What a kernel is told by its device tree. Seeds are never shown. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.formats.device_tree import parse_device_tree
from pykexec.planning.told import Told, range_text
from pykexec.values.errors import ImageError
from pykexec.values.roles import Role
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats.device_tree import Node
    from pykexec.planning.plans import SegmentPlan
    from pykexec.values.facts import MachineFacts

_SEEDS = ("kaslr-seed", "rng-seed")
_CELLS_SHOWN = 8
_BYTES_SHOWN = 32


def told_changes(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Told]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    tree = plan.segment(Role.DTB)
    if tree is not None:
        yield from _changes(facts.device_tree, bytes(tree.data))


def _changes(before: bytes | None, after: bytes) -> Iterator[Told]:
    new = parse_device_tree(after)
    try:
        old = parse_device_tree(before) if before is not None else None
    except ImageError:
        old = None
    was = _properties(old.root) if old is not None else {}
    will = _properties(new.root)
    for name in [*was, *(name for name in will if name not in was)]:
        if was.get(name) != will.get(name):
            yield Told(name, _value(name, was.get(name)), _value(name, will.get(name)))
    reserved = {*old.reservations} if old is not None else set()
    for item in sorted(reserved ^ {*new.reservations}):
        text = range_text(item)
        before_text, after_text = (text, None) if item in reserved else (None, text)
        yield Told("memory reservation", before_text, after_text)


def _properties(root: Node) -> dict[str, bytes]:
    """Return the values by ``/path/of/node property``; of two of one name the first counts."""
    found: dict[str, bytes] = {}
    waiting = [("", root)]
    while waiting:
        path, node = waiting.pop()
        for name, value in node.properties:
            found.setdefault(f"{path or '/'} {name}", value)
        waiting += [(f"{path}/{child.name}", child) for child in reversed(node.children)]
    return found


def _value(name: str, value: bytes | None) -> str | None:
    """Write a property's value as dts does: strings, cells or bytes; not that of a seed."""
    if value is None:
        return None
    if name.endswith(_SEEDS):
        return f"{counted(len(value), 'byte')}"
    if not value:
        return "(empty)"
    words = value.removesuffix(b"\0").split(b"\0")
    if value.endswith(b"\0") and all(w and w.isascii() and w.decode().isprintable() for w in words):
        return ", ".join(f'"{w.decode()}"' for w in words)
    if len(value) % 4:
        shown = value[:_BYTES_SHOWN].hex(" ")
        return f"[{shown}{' ...' if len(value) > _BYTES_SHOWN else ''}]"
    cells = [int.from_bytes(value[at : at + 4], "big") for at in range(0, len(value), 4)]
    shown = " ".join(f"{cell:#x}" for cell in cells[:_CELLS_SHOWN])
    return f"<{shown}{' ...' if len(cells) > _CELLS_SHOWN else ''}>"
