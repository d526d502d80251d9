"""UAPI.1 Boot Loader Specification, type #1: text files with a key in each line. Pure."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cmp_to_key
from typing import TYPE_CHECKING

from pykexec.architectures import names_by
from pykexec.entries import BootEntry, Source
from pykexec.entries.versions import version_key
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterable

_COUNTED = re.compile(r"(.*)\+([0-9]{1,20})(?:-[0-9]{1,20})?(\.[^.]*)", re.DOTALL)
_KERNELS = ("linux", "efi", "uki", "uki-url")
_PATHS = frozenset({"linux", "efi", "uki", "initrd", "devicetree"})


def split_counter(name: str) -> tuple[str, int | None]:
    """Return a file name without its boot counter, and the tries left: "Boot counting"."""
    match = _COUNTED.fullmatch(name)
    return (match[1] + match[3], int(match[2])) if match else (name, None)


def parse_bls(text: str, name: str, where: str) -> BootEntry:
    """Parse a type #1 entry; ``name`` is its file's, ``where`` its path.

    Unknown keys are ignored, ``initrd`` and ``options`` add up. The kernel of an entry with ``efi``
    or ``uki`` is that program. Raises :class:`MachineError` with the line for a path that leaves
    its partition, for two keys that exclude each other, or when there is no kernel.
    """
    ident, tries_left = split_counter(name)
    values: dict[str, list[str]] = {}
    lines = text.split("\n")
    started = ""
    for number, line in enumerate(lines, start=1):
        key, value = _split_line(line)
        if key in _PATHS and ".." in value.split("/"):
            raise MachineError(f"{where}, line {number}: the path has '..' in it: {value!r}")
        if key in _KERNELS and value:
            if started not in ("", key):
                raise MachineError(
                    f"{where}, line {number}: '{key}' and '{started}' exclude each other"
                )
            started = key
        values.setdefault(key, []).append(value)
    if started in ("", "uki-url"):
        found = "only 'uki-url', which is fetched at boot" if started else "no 'linux'"
        raise MachineError(f"{where}, line {len(lines)}: the entry ends, and has {found}")

    def last(key: str) -> str:
        return values.get(key, [""])[-1]

    overlays = " ".join(value for value in values.get("devicetree-overlay", []) if value)
    return BootEntry(
        source=Source.BLS,
        id=ident,
        title=last("title") or ident.removesuffix(".conf"),
        where=where,
        kernel=[value for value in values[started] if value][-1],
        is_efi_program=started != "linux",
        initrds=tuple(value for value in values.get("initrd", []) if value),
        cmdline=" ".join(value for value in values.get("options", []) if value),
        device_tree=last("devicetree") or None,
        version=last("version"),
        sort_key=last("sort-key"),
        machine_id=last("machine-id"),
        architecture=last("architecture"),
        tries_left=tries_left,
        notes=(f"the boot loader applies the device tree overlays {overlays}",) * bool(overlays),
    )


def _split_line(line: str) -> tuple[str, str]:
    """Return key and value; comments and empty lines have the key ""."""
    words = line.strip().split(None, 1)
    if not words or words[0].startswith("#"):
        return "", ""
    return words[0], words[1] if len(words) > 1 else ""


def is_for(entry: BootEntry, arch: str) -> bool:
    """Tell whether an entry is for machines of ``arch``, a :attr:`MachineFacts.arch`."""
    wanted = entry.architecture.lower()
    return not wanted or names_by("efi").get(wanted, wanted) == arch


def sort_bls(entries: Iterable[BootEntry]) -> list[BootEntry]:
    """Return the entries as a menu has them, the best first: "Sorting"."""
    return sorted(entries, key=cmp_to_key(_compare))


def _compare(first: BootEntry, second: BootEntry) -> int:
    if bad := (first.tries_left == 0) - (second.tries_left == 0):
        return bad
    if keyed := bool(second.sort_key) - bool(first.sort_key):
        return keyed
    if first.sort_key and first.sort_key != second.sort_key:
        return _sign(_alphabetical(first.sort_key), _alphabetical(second.sort_key))
    if first.sort_key and first.machine_id != second.machine_id:
        return _sign(_alphabetical(first.machine_id), _alphabetical(second.machine_id))
    if first.sort_key and (newer := _newer(first.version, second.version)):
        return newer
    if named := _newer(_stem(first.id), _stem(second.id)):
        return named
    # Of two that are counted, the one with more tries left.
    return (second.tries_left or 0) - (first.tries_left or 0)


def _sign(first: bytes, second: bytes) -> int:
    return (first > second) - (first < second)


def _alphabetical(text: str) -> bytes:
    """Return what is compared as strcmp does: "Alphanumerical Order"."""
    return text.encode("utf-8", "surrogateescape")


def _newer(first: str, second: str) -> int:
    mine, other = version_key(first), version_key(second)
    return (mine < other) - (mine > other)


def _stem(name: str) -> str:
    return name.rpartition(".")[0] or name


def is_entry_name(name: str) -> bool:
    """Tell whether a file of ``loader/entries`` is an entry: systemd keeps ``auto-`` to itself."""
    name = name.lower()
    return name.endswith(".conf") and not name.startswith((".", "auto-"))


def parse_loader_conf(text: str) -> dict[str, str]:
    """Return the settings of systemd-boot's loader.conf(5); of two the last counts."""
    return {key: value for key, value in map(_split_line, text.split("\n")) if key and value}


SAVED = "@saved"
"""In place of a pattern: what systemd-boot started last."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What names an entry of systemd-boot's menu, by a shell pattern."""

    source: str
    pattern: str
    takes_bad: bool = True
    """Also an entry that has no tries left."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What systemd-boot starts by itself."""

    entry: BootEntry | None
    reason: str
    problems: tuple[str, ...]
    """Wishes that no entry fulfils."""


def choose(entries: Iterable[BootEntry], wishes: Iterable[Wish]) -> Choice:
    """Return the first entry of the first wish that one fulfils, else the first of the menu.

    systemd-boot makes entries by itself, called ``auto-``: they start no Linux that can be loaded.
    """
    menu = sort_bls(entries)
    problems: list[str] = []
    for wish in wishes:
        reason = f"{wish.source}: {wish.pattern}"
        if wish.pattern == SAVED:
            not_known = f"{reason}, and what was started last is not known"
            return Choice(None, not_known, tuple(problems))
        if wish.pattern.lower().startswith("auto-"):
            no_kernel = f"{reason}, an entry of systemd-boot's own that is no Linux kernel"
            return Choice(None, no_kernel, tuple(problems))
        fit = [
            entry
            for entry in menu
            if _matches(entry, wish.pattern.lower()) and (wish.takes_bad or entry.tries_left != 0)
        ]
        if fit:
            return Choice(fit[0], wish.source, tuple(problems))
        what = "no entry" if wish.takes_bad else "no entry that has tries left"
        problems.append(f"{wish.source} names {wish.pattern!r}, which is {what}")
    reason = "the first in systemd-boot's menu"
    return Choice(menu[0] if menu else None, reason, tuple(problems))


def _matches(entry: BootEntry, pattern: str) -> bool:
    return any(fnmatchcase(name.lower(), pattern) for name in (entry.id, _stem(entry.id)))
