"""UAPI.1 Boot Loader Specification, type #1: text files with a key in each line. Pure."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cmp_to_key
from typing import TYPE_CHECKING

from pykexec.entries import BootEntry, Source
from pykexec.entries.versions import version_key
from pykexec.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterable

_COUNTED = re.compile(r"(.*)\+([0-9]{1,9})(?:-[0-9]{1,9})?(\.[^.]*)", re.DOTALL)
ARCHITECTURES = {"x64": "x86_64", "ia32": "i386", "aa64": "aarch64", "arm": "arm"}
"""Names of the EFI specification (UEFI 2.10, section 3.5.1.1), lower case, and uname's."""


def split_counter(name: str) -> tuple[str, int | None]:
    """Return a file name without its boot counter, and the tries left: "Boot counting"."""
    match = _COUNTED.fullmatch(name)
    return (match[1] + match[3], int(match[2])) if match else (name, None)


def parse_bls(text: str, name: str, where: str) -> BootEntry:
    """Parse a type #1 entry; ``name`` is its file's, ``where`` its path.

    Unknown keys are ignored, ``initrd`` and ``options`` add up. Raises :class:`MachineError` with
    the line for a path that leaves its partition, or when there is no kernel.
    """
    ident, tries_left = split_counter(name)
    values: dict[str, list[str]] = {}
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        key, value = _split_line(line)
        if key in ("linux", "initrd", "devicetree") and ".." in value.split("/"):
            raise MachineError(f"{where}, line {number}: the path has '..' in it: {value!r}")
        values.setdefault(key, []).append(value)
    kernels = [value for value in values.get("linux", []) if value]
    if not kernels:
        other = next((key for key in ("efi", "uki", "uki-url") if key in values), None)
        found = f"only '{other}', which is no Linux kernel" if other else "no 'linux'"
        raise MachineError(f"{where}, line {len(lines)}: the entry ends, and has {found}")

    def last(key: str) -> str:
        return values.get(key, [""])[-1]

    return BootEntry(
        source=Source.BLS,
        id=ident,
        title=last("title") or ident.removesuffix(".conf"),
        where=where,
        kernel=kernels[-1],
        initrds=tuple(value for value in values.get("initrd", []) if value),
        cmdline=" ".join(value for value in values.get("options", []) if value),
        device_tree=last("devicetree") or None,
        version=last("version"),
        sort_key=last("sort-key"),
        machine_id=last("machine-id"),
        architecture=last("architecture"),
        tries_left=tries_left,
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
    return not wanted or ARCHITECTURES.get(wanted, wanted) == arch


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
    return _newer(_stem(first.id), _stem(second.id))


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


def parse_loader_conf(text: str) -> str:
    """Return what ``default`` says in systemd-boot's loader.conf(5), "" if nothing."""
    values = [value for key, value in map(_split_line, text.split("\n")) if key == "default"]
    return values[-1] if values else ""


def first_matching(entries: Iterable[BootEntry], pattern: str) -> BootEntry | None:
    """Return the first entry of a menu that a shell pattern matches: loader.conf(5), "default"."""
    wanted = pattern.lower()
    for entry in sort_bls(entries):
        if any(fnmatchcase(name.lower(), wanted) for name in (entry.id, _stem(entry.id))):
            return entry
    return None
