"""GRUB legacy's menu.lst, also called grub.conf. Pure.

GNU GRUB Manual 0.97, "Configuration", "Commands" and "Naming convention": partitions count from 0
there, and from 1 in the names that are given on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.entries import BootEntry, EntryModule, Source
from pykexec.entries.menu_reading import MenuReading, with_unique_ids
from pykexec.values.data_classes import dataclass, field

if TYPE_CHECKING:
    from pykexec.entries.menu_reading import Surroundings

_LINE = re.compile(r"\s*([^\s=]+)(?:\s*=\s*|\s+|$)(.*)", re.DOTALL)
_DEVICE = re.compile(r"\((\w+),(\d{1,3})(?:,[a-z])?\)")
_STARTERS = {"chainloader": "chainloads", "configfile": "goes on to the menu", "cat": "shows"}


@dataclass(slots=True)
class _Item:
    title: str
    where: str
    root: str = ""
    """What stands in front of a path without a device."""
    kernel: str = ""
    """Path and words, as the command has them."""
    initrds: list[str] = field(default_factory=list)
    modules: list[EntryModule] = field(default_factory=list)
    starts: str = ""

    def located(self, path: str) -> str:
        """Return a path with the device that it is on."""
        return _device_names(path) if path.startswith("(") else self.root + path


def parse_grub_legacy(text: str, where: str, around: Surroundings) -> MenuReading:
    """Parse a menu; a title that starts no kernel counts for ``default``, and is no entry."""
    items: list[_Item] = []
    wanted = "0"
    for number, line in enumerate(text.split("\n"), start=1):
        match = _LINE.match(line)
        if match is None or match[1].startswith("#"):
            continue
        command, value = match[1].lower(), match[2].strip()
        if command == "title":
            items.append(_Item(value, f"{where}, line {number}"))
        elif items:
            _take(items[-1], command, value)
        elif command == "default":
            wanted = value
    names = with_unique_ids([item.title or f"entry {n}" for n, item in enumerate(items)])
    found = [_entry(item, name) for item, name in zip(items, names, strict=True)]
    entries = tuple(entry for entry in found if isinstance(entry, BootEntry))
    problems = tuple(
        f"{item.where}: {item.title!r} has no kernel"
        for item, entry in zip(items, found, strict=True)
        if not isinstance(entry, BootEntry) and not item.starts
    )
    default, reason = _default(wanted, found, where, around)
    return MenuReading(entries, default, reason, problems)


def _take(item: _Item, command: str, value: str) -> None:
    if command in ("root", "rootnoverify"):
        item.root = _device_names(value.split(None, 1)[0]) if value else ""
    elif command == "uuid" and value:
        # Ubuntu's.
        item.root = f"(uuid:{value.split(maxsplit=1)[0]})"
    elif command == "kernel":
        item.kernel = re.sub(r"^(?:--\S+\s+)+", "", value)
    elif command == "initrd":
        item.initrds = [item.located(path) for path in value.split()]
    elif command in ("module", "modulenounzip") and value:
        path = item.located(value.split(None, 1)[0])
        item.modules.append(EntryModule(path, value, is_unpacked=command == "module"))
    elif command in _STARTERS:
        item.starts = f"{_STARTERS[command]} {value}".strip()


def _device_names(text: str) -> str:
    """Return ``text`` with ``(hd0,0)`` as GRUB 2 has it: ``(hd0,1)``."""
    return _DEVICE.sub(lambda match: f"({match[1]},{int(match[2]) + 1})", text)


def _entry(item: _Item, name: str) -> BootEntry | str:
    """Return an item's entry, or what it starts instead, in words that end a sentence."""
    path, _, words = item.kernel.partition(" ")
    if not path:
        return item.starts or "has no kernel"
    return BootEntry(
        source=Source.GRUB_LEGACY,
        id=name,
        title=item.title or name,
        where=item.where,
        kernel=item.located(path),
        initrds=tuple(item.initrds),
        # A multiboot kernel is handed its name, too.
        cmdline=item.kernel if item.modules else words.strip(),
        multiboot=1 if item.modules else 0,
        modules=tuple(item.modules),
    )


def _default(
    wanted: str, found: list[BootEntry | str], where: str, around: Surroundings
) -> tuple[str | None, str]:
    said = f"default={wanted} in {where}"
    if wanted == "saved":
        saved = around.read("default", where)
        if isinstance(saved, str):
            return None, f"{said}, and the file 'default' cannot be read: {saved}"
        wanted = saved[0].split(None, 1)[0] if saved[0].split() else ""
        said += f", which is {wanted or 'empty'} in {saved[1]}"
    if not found:
        return None, f"{where} has no title"
    if not re.fullmatch(r"[0-9]{1,6}", wanted):
        return None, f"{said}: it is no number"
    if int(wanted) >= len(found):
        return None, f"{said}: there are {len(found)} titles, counted from 0"
    entry = found[int(wanted)]
    if isinstance(entry, str):
        return None, f"{said}: it {entry}, and is no kernel"
    return entry.id, said
