"""The boot entries of an installed system, from every place that boot loaders keep them.

Works with BIOS and EFI, and below any root. What cannot be read or understood is told beside
the entries that can.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pykexec.entries import BootEntry, MissingFile, Source, unexpanded
from pykexec.entries.bls import (
    first_matching,
    is_for,
    parse_bls,
    parse_loader_conf,
    sort_bls,
    split_counter,
)
from pykexec.entries.extlinux import parse_extlinux
from pykexec.entries.versions import version_key
from pykexec.errors import ImageError, MachineError
from pykexec.machine.boot_paths import PARTITIONS, PartitionPaths
from pykexec.machine.boot_tree import BootTree
from pykexec.machine.grub_config import GrubConfig, reference_of
from pykexec.machine.uki_files import read_uki

if TYPE_CHECKING:
    from pykexec.entries.grub import GrubReading

EXTLINUX_CONFIGS = (
    "/boot/extlinux/extlinux.conf",
    "/extlinux/extlinux.conf",
    "/boot/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
)
_CMDLINES = ("/etc/kernel/cmdline", "/usr/lib/kernel/cmdline")
"""kernel-install(8)."""
_MODULES = ("/usr/lib/modules", "/lib/modules")
_LOADER_VARIABLE = "/sys/firmware/efi/efivars/{}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
"""systemd's Boot Loader Interface."""
_KERNEL_NAME = re.compile(r"(?:vmlinuz|vmlinux|bzImage|zImage|Image|kernel|linux)-(.+)")
_NO_KERNEL_SUFFIXES = (".sig", ".hmac", ".old", ".efi.signed", ".sha256")
_INITRD_NAMES = ("initrd.img-{}", "initramfs-{}.img", "initrd-{}", "initrd-{}.img", "initramfs-{}")

NO_ENTRY = "there is no boot entry"


@dataclass(slots=True)
class BootEntries:
    """What was found."""

    entries: list[BootEntry] = field(default_factory=list)
    """With paths as this machine has them; of a missing file, as the configuration has it."""
    default: BootEntry | None = None
    """What the boot loader would start by itself; None where no configuration says."""
    reason: str = NO_ENTRY
    """Why that one, or why none."""
    problems: list[str] = field(default_factory=list)
    """What could not be read or understood, with its file."""


def read_boot_entries(root: os.PathLike[str] | str, arch: str) -> BootEntries:
    """Read the entries below ``root`` that are for machines of ``arch``."""
    return _Reader(BootTree(root), arch).read()


class _Reader:
    def __init__(self, tree: BootTree, arch: str) -> None:
        self._tree = tree
        self._arch = arch
        self._found = BootEntries()

    def read(self) -> BootEntries:
        found = self._found
        snippets = self._read_snippets()
        config = GrubConfig(self._tree, self._arch)
        grub = config.read()
        from_grub = [_with_version(config.located(e)) for e in grub.menu.entries()] if grub else []
        found.problems += config.problems + (list(grub.problems) if grub else [])
        extlinux, extlinux_default = self._read_extlinux()
        # What GRUB's menu takes in is listed as GRUB starts it.
        snippets = [entry for entry in snippets if entry.where not in config.read_paths]
        located = {id(entry): self._located(entry) for entry in (*sort_bls(snippets), *extlinux)}
        found.entries = [*located.values()]
        found.entries[len(snippets) : len(snippets)] = from_grub
        known = {self._tree.identity(self._below(entry.kernel)) for entry in found.entries}
        found.entries += self._read_names(known)
        boot = self._default_of_systemd_boot(snippets)
        chosen: BootEntry | None = None
        if boot is not None:
            chosen, found.reason = located[id(boot[0])], boot[1]
        elif grub is not None:
            chosen = self._default_of_grub(grub, config.path, from_grub)
        elif config.problems:
            found.reason = config.problems[0]
        elif extlinux_default is not None:
            chosen = located[id(extlinux_default)]
            found.reason = f"default of {chosen.where.partition(', line')[0]}"
        elif found.entries:
            found.reason = _unnamed(found.entries)
        found.default = chosen
        return found

    def _default_of_grub(
        self, grub: GrubReading, path: str, entries: list[BootEntry]
    ) -> BootEntry | None:
        """Return what GRUB starts by itself, and note why, or why nobody can tell."""
        picked = grub.chosen
        reason = f"{grub.menu.wanted_by}={grub.menu.wanted or '0'} in {path}"
        if picked.note:
            reason += f"; {picked.note}"
        item = picked.item
        if picked.doubt:
            reason += f": {picked.doubt}"
        elif item is None:
            reason += ": the menu is empty"
        elif item.entry is None:
            reason += f": {item.title!r}, which {item.starts or 'is no Linux kernel'}"
        chosen = None
        if item is not None and item.entry is not None:
            chosen = entries[grub.menu.entries().index(item.entry)]
        if grub.menu.fallback and (chosen is None or chosen.missing or chosen.obstacle):
            reason += f"; its fallback, {grub.menu.fallback!r}, is not taken"
        self._found.reason = reason
        return chosen

    def _text(self, path: str) -> str | None:
        try:
            return self._tree.text(path)
        except OSError as error:
            self._found.problems.append(f"cannot read {path}: {error.strerror or error}")
            return None

    def _names(self, path: str) -> list[str]:
        try:
            return self._tree.names(path)
        except OSError as error:
            self._found.problems.append(f"cannot read {path}: {error.strerror or error}")
            return []

    # Boot Loader Specification

    def _read_snippets(self) -> list[BootEntry]:
        found: list[BootEntry] = []
        seen: set[tuple[int, int] | None] = {None}
        for partition in PARTITIONS:
            for directory, suffix, parse in (
                ("loader/entries", ".conf", self._snippet),
                ("EFI/Linux", ".efi", self._uki),
            ):
                place = posixpath.join(partition, directory)
                if (identity := self._tree.identity(place)) in seen:
                    continue
                seen.add(identity)
                for name in self._names(place):
                    if not name.lower().endswith(suffix):
                        continue
                    try:
                        entry = parse(posixpath.join(place, name), name)
                    except OSError as error:
                        path = posixpath.join(place, name)
                        self._found.problems.append(
                            f"cannot read {path}: {error.strerror or error}"
                        )
                        continue
                    except (MachineError, ImageError) as error:
                        self._found.problems.append(f"{error}")
                        continue
                    if entry is not None and is_for(entry, self._arch):
                        found.append(entry)
        return found

    def _snippet(self, path: str, name: str) -> BootEntry | None:
        text = self._text(path)
        if text is None:
            return None
        entry = parse_bls(text, name, path)
        variable = unexpanded(" ".join((entry.kernel, *entry.initrds, entry.cmdline)))
        if not variable:
            return entry
        # What GRUB's menu takes in is not listed as it stands here.
        reason = f"{variable} in it is for GRUB, and no configuration of GRUB's reads the entry"
        return replace(entry, obstacle=reason)

    def _uki(self, path: str, name: str) -> BootEntry:
        """Read a type #2 entry: UAPI.5 Unified Kernel Image."""
        found = read_uki(self._tree, path)
        ident, tries_left = split_counter(name)
        return BootEntry(
            source=Source.UKI,
            id=ident,
            title=found.title or ident,
            where=path,
            kernel=path,
            cmdline=found.cmdline,
            version=found.system.get("IMAGE_VERSION") or found.system.get("VERSION_ID") or "",
            sort_key=found.system.get("IMAGE_ID") or found.system.get("ID") or "",
            tries_left=tries_left,
        )

    def _default_of_systemd_boot(self, snippets: list[BootEntry]) -> tuple[BootEntry, str] | None:
        """Return what systemd-boot starts and why; None where another boot loader is in charge."""
        configs = [posixpath.join(place, "loader/loader.conf") for place in PARTITIONS]
        config = next((path for path in configs if self._tree.exists(path)), None)
        running = self._variable("LoaderInfo")
        if not snippets or ("systemd-boot" not in running and (running or config is None)):
            return None
        wishes = {
            "LoaderEntryOneShot of EFI": self._variable("LoaderEntryOneShot"),
            "LoaderEntryDefault of EFI": self._variable("LoaderEntryDefault"),
        }
        if config is not None:
            wishes[f"default in {config}"] = parse_loader_conf(self._text(config) or "")
        for source, wish in wishes.items():
            pattern = self._variable("LoaderEntryLastBooted") if wish == "@saved" else wish
            chosen = first_matching(snippets, pattern) if pattern else None
            if chosen is not None:
                return chosen, source
        return sort_bls(snippets)[0], "the first in systemd-boot's menu"

    def _variable(self, name: str) -> str:
        """Return a variable of the boot loader: four bytes of attributes, then UTF-16."""
        try:
            data = self._tree.data(_LOADER_VARIABLE.format(name)) or b""
        except OSError:
            return ""
        return data[4:].decode("utf-16-le", "replace").rstrip("\0")

    # extlinux

    def _read_extlinux(self) -> tuple[list[BootEntry], BootEntry | None]:
        for path in EXTLINUX_CONFIGS:
            text = self._text(path)
            if text is None:
                continue
            try:
                found = parse_extlinux(text, path)
            except MachineError as error:
                self._found.problems.append(error.message)
                continue
            entries = list(found.entries)
            return entries, next((e for e in entries if e.id == found.default), None)
        return [], None

    # Kernels with a usual name

    def _read_names(self, known: set[tuple[int, int] | None]) -> list[BootEntry]:
        """Return the kernels that no configuration names, the newest first."""
        cmdline, where = "", ""
        for path in _CMDLINES:
            if not cmdline:
                cmdline, where = " ".join((self._text(path) or "").split()), path
        candidates = [(f"/boot/{name}", name) for name in self._names("/boot")]
        for modules in _MODULES:
            candidates += [
                (f"{modules}/{release}/vmlinuz", f"vmlinuz-{release}")
                for release in self._names(modules)
            ]
        found: list[BootEntry] = []
        for path, name in candidates:
            match = _KERNEL_NAME.fullmatch(name)
            identity = self._tree.identity(path)
            if match is None or name.endswith(_NO_KERNEL_SUFFIXES) or identity in {None, *known}:
                continue
            known.add(identity)
            found.append(
                BootEntry(
                    source=Source.FILES,
                    id=name,
                    title=f"{path}" + (f", command line of {where}" if cmdline else ""),
                    where=path,
                    kernel=self._above(path),
                    initrds=self._initrds_by_name(match[1]),
                    cmdline=cmdline,
                    version=match[1],
                )
            )
        return sorted(found, key=lambda entry: version_key(entry.version), reverse=True)

    def _initrds_by_name(self, version: str) -> tuple[str, ...]:
        for pattern in _INITRD_NAMES:
            path = f"/boot/{pattern.format(version)}"
            if self._tree.exists(path):
                return (self._above(path),)
        return ()

    # Paths

    def _above(self, path: str) -> str:
        """Return a path of the system as one of this machine, links in it followed."""
        return self._tree.place(path) or path

    def _below(self, place: str) -> str:
        """Return a place on this machine as a path of the system."""
        return "/" + os.path.relpath(place, self._tree.root)

    def _located(self, entry: BootEntry) -> BootEntry:
        """Return the entry with the places of its files."""
        paths = PartitionPaths(self._tree, entry.where.partition(", line")[0])
        missing: list[MissingFile] = []

        def locate(name: str) -> str:
            path = paths.find(reference_of(name))
            if isinstance(path, str):
                return self._above(path)
            missing.append(MissingFile(name, path.reason))
            return name

        kernel = locate(entry.kernel)
        return _with_version(
            replace(
                entry,
                kernel=kernel,
                initrds=tuple(map(locate, entry.initrds)),
                device_tree=None if entry.device_tree is None else locate(entry.device_tree),
                missing=tuple(missing),
            )
        )


def _unnamed(entries: list[BootEntry]) -> str:
    """Say what there is where no configuration names a default."""
    counts = Counter(entry.source for entry in entries)
    what = {Source.FILES: "of bare files"}
    kinds = [f"{count} {what.get(kind, f'of {kind}')}" for kind, count in counts.items()]
    return f"no boot loader's configuration names one; there are entries: {', '.join(kinds)}"


def _with_version(entry: BootEntry) -> BootEntry:
    return replace(entry, version=entry.version or _version_of(entry.kernel))


def _version_of(kernel: str) -> str:
    match = _KERNEL_NAME.fullmatch(posixpath.basename(kernel))
    return match[1] if match else ""
