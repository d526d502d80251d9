"""Limine's limine.conf, and limine.cfg as it was before version 8. Pure.

Limine's CONFIG.md: "Structure of the config file", "Paths" (before: "URIs") and "Macros".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.entries import MENU_SEPARATOR, BootEntry, EntryModule, Source
from pykexec.entries.menu_reading import MenuReading, with_unique_ids
from pykexec.values.data_classes import dataclass, field

if TYPE_CHECKING:
    from pykexec.entries.menu_reading import Surroundings

_MACRO = re.compile(r"\$\{[^}\n]*\}")
_EXPANDED_MAX = 1 << 16
"""Characters of a line with its macros expanded."""
_GROWTH_MAX = 1 << 20
"""Characters that all macros of a configuration may add."""
_PATH = re.compile(r"\$?(\w+)(?:\(([^)]*)\):|://([^/]*))(/.*)", re.DOTALL)
_HASH = re.compile(r"#[0-9a-fA-F]{128}$")
_DEFINITION = re.compile(r"(\$\{[^}\n]*\})=(.*)")
_ARCH = "${ARCH}"
_MULTIBOOT = {"multiboot": 1, "multiboot1": 1, "multiboot2": 2}


@dataclass(slots=True)
class _Item:
    name: str
    where: str
    depth: int
    is_expanded: bool = False
    is_directory: bool = False
    path: str = ""
    """With the directories that it is in."""
    is_orphan: bool = False
    """More than one level deeper than the one before it, at which Limine gives up."""
    is_shown: bool = True
    """Not in a directory that is closed."""
    values: dict[str, list[str]] = field(default_factory=dict)
    strings: dict[int, str] = field(default_factory=dict)
    """Of modules, by their number."""

    def first(self, *keys: str) -> str:
        """Return the first value of a key: of several, Limine takes that."""
        return next((self.values[key][0] for key in keys if key in self.values), "")

    def differing(self, *keys: str) -> bool:
        """Tell whether keys of one meaning have different values: its versions differ in them."""
        return len({self.values[key][0] for key in keys if key in self.values}) > 1


def parse_limine(text: str, where: str, around: Surroundings) -> MenuReading:
    """Parse a configuration of either form; an entry of another protocol is none of ours."""
    settings, items, problems = _items(text, where, is_old=where.endswith(".cfg"))
    _nest(items)
    problems += [
        f"{item.where}: {item.name!r} is in nothing: Limine gives up at it"
        for item in items
        if item.is_orphan
    ]
    checks = settings.get("hash_mismatch_panic", "yes").lower() == "yes"
    names = with_unique_ids([item.path for item in items])
    started: list[tuple[_Item, BootEntry | str]] = []
    for item, name in zip(items, names, strict=True):
        if not item.is_directory:
            started.append((item, _entry(item, name, checks=checks)))
    entries = tuple(entry for _, entry in started if isinstance(entry, BootEntry))
    default, reason = _default(settings, items, started, where)
    return MenuReading(entries, default, reason, tuple(problems))


def _items(text: str, where: str, *, is_old: bool) -> tuple[dict[str, str], list[_Item], list[str]]:
    settings: dict[str, str] = {}
    items: list[_Item] = []
    problems: list[str] = []
    lines = [line.strip() for line in text.replace("\r", "").split("\n")]
    # All are known before the first is expanded, and the last of a name counts.
    macros = {match[1]: match[2] for match in map(_DEFINITION.fullmatch, lines) if match}
    growth = 0
    mark, sign = (":", "=") if is_old else ("/", ":")
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#") or _DEFINITION.fullmatch(line):
            continue
        place = f"{where}, line {number}"
        size = len(line) + sum(len(macros.get(name, "")) for name in _MACRO.findall(line))
        growth += size - len(line)
        if size > _EXPANDED_MAX or growth > _GROWTH_MAX:
            problems.append(f"{place}: left out, with its macros the line has {size} characters")
            continue
        expanded = _MACRO.sub(lambda found: macros.get(found[0], _unset(found[0])), line)
        if expanded.startswith(mark):
            name = expanded.lstrip(mark)
            depth = len(expanded) - len(name)
            items.append(_Item(name.lstrip("+").strip(), place, depth, name.startswith("+")))
            continue
        key, found_sign, value = expanded.partition(sign)
        if not found_sign:
            problems.append(f"{place}: '{mark}NAME' or 'KEY{sign} VALUE' is needed")
            continue
        key = key.lower()
        if not items:
            settings.setdefault(key, value.strip())
            continue
        item = items[-1]
        if key in ("module_string", "module_cmdline"):
            item.strings[len(item.values.get("module_path", []))] = value.strip()
        else:
            item.values.setdefault(key, []).append(value.strip())
    return settings, items, problems


def _nest(items: list[_Item]) -> None:
    """Note which items are directories, and in which ones they are."""
    above: list[_Item] = []
    for item in items:
        while above and above[-1].depth >= item.depth:
            above.pop()
        item.is_orphan = bool(above) and item.depth > above[-1].depth + 1
        if above:
            above[-1].is_directory = True
            item.is_shown = above[-1].is_shown and above[-1].is_expanded
        item.path = MENU_SEPARATOR.join([*(one.name for one in above[-32:]), item.name])
        above.append(item)


def _unset(name: str) -> str:
    """Return what a macro without a definition comes to: only Limine knows the machine's."""
    return name if name == _ARCH else ""


def _entry(item: _Item, name: str, *, checks: bool) -> BootEntry | str:
    """Return an item's entry, or what it starts instead, in words that end a sentence.

    ``checks``: a file whose hash is another one is not started.
    """
    protocol = item.first("protocol").lower()
    kernel = item.first("path", "kernel_path")
    version = _MULTIBOOT.get(protocol, 0)
    if protocol != "linux" and not version:
        return f"starts by the protocol {protocol!r}" if protocol else "names no protocol"
    if not kernel:
        return "names no kernel"
    cmdline = item.first("cmdline", "kernel_cmdline")
    paths = [kernel, *item.values.get("module_path", [])]
    unknown = next(filter(None, map(_MACRO.search, (cmdline, *paths))), None)
    obstacle = f"it has the macro {unknown[0]}, which only Limine knows" if unknown else ""
    for keys in (("path", "kernel_path"), ("cmdline", "kernel_cmdline")):
        if item.differing(*keys):
            obstacle = f"it has {keys[0]} and {keys[1]}, and Limines differ in which counts"
    notes: tuple[str, ...] = ()
    if not checks:
        if any(map(_HASH.search, paths)):
            notes = ("hash_mismatch_panic is off: the hashes of its files are not checked",)
        paths = [_HASH.sub("", path) for path in paths]
    located, *modules = map(_located, paths)
    device_tree = item.first("dtb_path")
    return BootEntry(
        source=Source.LIMINE,
        id=name,
        title=item.name,
        where=item.where,
        kernel=located,
        initrds=() if version else tuple(modules),
        cmdline=cmdline,
        multiboot=version,
        modules=tuple(
            EntryModule(path, item.strings.get(n, ""), is_unpacked=False)
            for n, path in enumerate(modules, start=1)
            if version
        ),
        device_tree=_located(_HASH.sub("", device_tree)) if device_tree else None,
        obstacle=obstacle,
        notes=notes,
    )


def _located(text: str) -> str:
    """Return a path as ``(DEVICE)PATH``, or as it is on the configuration's own file system.

    A hash stays behind it.
    """
    match = _PATH.fullmatch(text)
    if match is None:
        return text
    resource, root = match[1].lower(), match[2] if match[2] is not None else match[3]
    path = match[4]
    if resource == "boot" and not root:
        return path
    if resource in ("uuid", "guid"):
        return f"(uuid:{root}){path}"
    return f"(label:{root}){path}" if resource == "fslabel" else f"({resource}:{root}){path}"


def _default(
    settings: dict[str, str],
    items: list[_Item],
    started: list[tuple[_Item, BootEntry | str]],
    where: str,
) -> tuple[str | None, str]:
    if settings.get("remember_last_entry", "").lower() == "yes":
        return None, f"{where} has Limine start what it started last (remember_last_entry)"
    if any(item.is_orphan for item in items):
        return None, f"{where} has entries that are in nothing: Limine gives up at them"
    wanted = settings.get("default_entry", "1")
    said = f"default_entry={wanted} in {where}"
    shown = [item for item in items if item.is_shown]
    if re.fullmatch(r"[0-9]{1,6}", wanted):
        number = int(wanted)
        chosen = shown[number - 1] if 0 < number <= len(shown) else None
    else:
        path = MENU_SEPARATOR.join(part.strip() for part in wanted.strip("/").split("/"))
        chosen = next((item for item in items if item.path == path), None)
    if chosen is None:
        return None, f"{said}, which is none of the {len(shown)} entries that the menu shows"
    if chosen.is_directory:
        return None, f"{said}: {chosen.name!r} is a directory of entries"
    found = next(entry for item, entry in started if item is chosen)
    if isinstance(found, str):
        return None, f"{said}: {chosen.name!r} {found}, and is no Linux kernel"
    return found.id, said
