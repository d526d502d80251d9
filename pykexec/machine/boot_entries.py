"""The boot entries of an installed system, from every place that boot loaders keep them.

Works with BIOS and EFI, and below any root. What cannot be read or understood is told beside
the entries that can.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from pykexec.entries import BootEntry, MissingFile, Source, unexpanded
from pykexec.entries.bls import sort_bls
from pykexec.entries.versions import version_key
from pykexec.machine.boot_paths import PartitionPaths
from pykexec.machine.boot_tree import BootTree
from pykexec.machine.grub_config import GrubConfig
from pykexec.machine.mounts import read_mounts
from pykexec.machine.plain_loaders import PROXMOX, PlainMenu, read_plain_loaders, reference
from pykexec.machine.systemd_boot import SystemdBoot
from pykexec.values.data_classes import dataclass, field, replace

if TYPE_CHECKING:
    from pykexec.entries.grub import GrubReading
    from pykexec.entries.grub_files import Device

_CMDLINES = ("/etc/kernel/cmdline", "/usr/lib/kernel/cmdline")
"""kernel-install(8)."""
_MODULES = ("/usr/lib/modules", "/lib/modules")
_KERNEL_NAME = re.compile(r"(?:vmlinuz|vmlinux|bzImage|zImage|Image|kernel|linux)-(.+)")
_HASH = re.compile(r"(.*)#([0-9a-fA-F]{128})", re.DOTALL)
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
        self._mounts = read_mounts(tree)
        self._found = BootEntries()

    def read(self) -> BootEntries:
        found = self._found
        systemd_boot = SystemdBoot(self._tree, self._arch)
        snippets = systemd_boot.read()
        config = GrubConfig(self._tree, self._arch, partial(PartitionPaths, table=self._mounts))
        grub = config.read()
        from_grub = [_with_version(config.located(e)) for e in grub.menu.entries()] if grub else []
        found.problems += config.problems + (list(grub.problems) if grub else [])
        if grub:
            from_grub = self._told_apart(config.path, from_grub, _kernel_devices(grub))
        menus, unread = read_plain_loaders(self._tree, self._mounts)
        found.problems += unread + [text for menu in menus for text in menu.reading.problems]
        # What GRUB's menu takes in is listed as GRUB starts it.
        snippets = [entry for entry in snippets if entry.where not in config.read_paths]
        located = {id(entry): self._located(entry, entry.where) for entry in sort_bls(snippets)}
        for menu in menus:
            named = menu.reading.entries
            entries = [self._located(entry, menu.path) for entry in named]
            if any(entry.source is Source.GRUB_LEGACY for entry in named):
                devices = [reference(entry.kernel).device for entry in named]
                entries = self._told_apart(menu.path, entries, devices)
            located |= {id(entry): found for entry, found in zip(named, entries, strict=True)}
        found.entries = [*located.values()]
        found.entries[len(snippets) : len(snippets)] = from_grub
        known = {
            self._tree.identity(self._below(path))
            for entry in found.entries
            for path in (entry.kernel, *(module.path for module in entry.modules))
        }
        found.entries += self._read_names(known)
        running = systemd_boot.running()
        menus.sort(key=lambda menu: not menu.is_of(running))
        found.problems += [
            f"{menu.path} ({menu.loader}) is listed, and not asked for the default"
            for menu in menus[1:]
        ]
        boot = systemd_boot.default(snippets)
        found.problems += systemd_boot.problems
        if boot is not None:
            found.default = None if boot.entry is None else located[id(boot.entry)]
            found.reason = boot.reason
            found.problems += boot.problems
        elif menus and menus[0].is_of(running):
            found.default, found.reason = _default_of(menus[0], located)
        elif running and not running.lower().startswith("grub"):
            found.reason = (
                f"{running} started this machine, and nothing is here that it reads: is its "
                "partition mounted?"
            )
        elif grub is not None:
            found.default = self._default_of_grub(grub, config.path, from_grub)
        elif config.problems:
            found.reason = config.problems[0]
        elif menus:
            found.default, found.reason = _default_of(menus[0], located)
        elif found.entries:
            found.reason = _unnamed(found.entries)
        return found

    def _default_of_grub(
        self, grub: GrubReading, path: str, entries: list[BootEntry]
    ) -> BootEntry | None:
        """Return what GRUB starts by itself, and note why, or why nobody can tell."""
        if self._tree.exists(PROXMOX):
            self._found.reason = (
                f"proxmox-boot-tool has boot loader and kernels on the partitions of {PROXMOX}, "
                f"and {path} may be older"
            )
            return None
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

    def _told_apart(
        self, path: str, entries: list[BootEntry], devices: list[Device]
    ) -> list[BootEntry]:
        """Return entries as they can be loaded where nothing tells of their kernels' devices.

        ``devices`` are those, one for each entry. One that no other device is beside is taken for
        the file system of the configuration ``path``, and has a note; of several, none is.
        """
        paths = PartitionPaths(self._tree, path, self._mounts)
        unknown = list(dict.fromkeys(item for item in devices if paths.is_assumed(item)))
        if not unknown:
            return entries
        names = ", ".join(map(str, unknown))
        why = "neither links in /dev/disk nor fstab tell"
        if len(unknown) == 1:
            note = f"nothing tells where {names} is: its files are taken from here"
            return [
                replace(entry, notes=(*entry.notes, note)) if device in unknown else entry
                for entry, device in zip(entries, devices, strict=True)
            ]
        self._found.problems.append(
            f"{path} has kernels on {names}: {why} which of them this is, and none is loaded"
        )
        obstacle = f"it is on one of {len(unknown)} file systems, and {why} which of them this is"
        return [
            replace(entry, obstacle=entry.obstacle or obstacle) if device in unknown else entry
            for entry, device in zip(entries, devices, strict=True)
        ]

    # Kernels with a usual name

    def _read_names(self, known: set[tuple[int, int] | None]) -> list[BootEntry]:
        """Return the kernels that no configuration names, the newest first."""
        cmdline, where = "", ""
        for path in _CMDLINES:
            if not cmdline:
                cmdline, where = " ".join((self._text(path) or "").split()), path
        variable = unexpanded(cmdline)
        obstacle = f"{variable} in {where} is for a boot loader to fill in" if variable else ""
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
                    obstacle=obstacle,
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

    def _located(self, entry: BootEntry, config: str) -> BootEntry:
        """Return the entry of the configuration ``config`` with the places of its files."""
        is_strict = entry.source in (Source.LIMINE, Source.REFIND)
        paths = PartitionPaths(self._tree, config, self._mounts, is_strict=is_strict)
        missing: list[MissingFile] = []
        no_fit: list[str] = []
        is_efi = entry.source in (Source.BLS, Source.UKI)
        names = (entry.kernel, *entry.initrds, *(module.path for module in entry.modules))
        references = [
            reference(_unhashed(n.replace("\\", "/") if is_efi else n, entry)[0]) for n in names
        ]
        paths.settle(references)
        guessed = dict.fromkeys(
            f"nothing tells where {item.device} is: its files are taken from here"
            for item in references
            if is_strict and not item.device.is_own and paths.is_guess(item.device)
        )

        def locate(name: str) -> str:
            plain, digest = _unhashed(name.replace("\\", "/") if is_efi else name, entry)
            path = paths.find_likely(reference(plain))
            if isinstance(path, str):
                place = self._above(path)
                if os.path.isdir(place):
                    missing.append(MissingFile(name, "it is a directory"))
                elif digest and (reason := self._hashed_otherwise(path, digest)):
                    missing.append(MissingFile(plain, reason))
                return place
            # U-Boot names a configuration of a FIT image so; here also a profile of a UKI.
            file, sign, configuration = name.rpartition("#")
            if sign and entry.source in (Source.EXTLINUX, Source.UKI):
                within = paths.find(reference(file))
                if isinstance(within, str):
                    if entry.source is Source.EXTLINUX and not self._is_fit(within):
                        no_fit.append(
                            f"{file} is no FIT image with the configuration #{configuration}"
                        )
                    return f"{self._above(within)}#{configuration}"
            missing.append(MissingFile(name, path.reason))
            return name

        kernel = locate(entry.kernel)
        return _with_version(
            replace(
                entry,
                kernel=kernel,
                initrds=tuple(map(locate, entry.initrds)),
                device_tree=None if entry.device_tree is None else locate(entry.device_tree),
                modules=tuple(replace(m, path=locate(m.path)) for m in entry.modules),
                missing=tuple(missing),
                obstacle=entry.obstacle or next(iter(no_fit), ""),
                notes=(*entry.notes, *guessed),
            )
        )

    def _hashed_otherwise(self, path: str, digest: str) -> str:
        """Return why a file is not the one that Limine wants, "" when it is."""
        try:
            found = blake2b(self._tree.mapped(path)).hexdigest()
        except OSError as error:
            return error.strerror or str(error)
        if found == digest.lower():
            return ""
        return (
            f"its BLAKE2B hash begins with {found[:16]}, that of the configuration with "
            f"{digest[:16].lower()}, and Limine starts nothing then"
        )

    def _is_fit(self, path: str) -> bool:
        """Tell whether a file is a FIT image, from which U-Boot takes a configuration."""
        from pykexec.formats import fit

        try:
            return fit.probe(self._tree.mapped(path)) is None
        except OSError:
            return False


def _unhashed(name: str, entry: BootEntry) -> tuple[str, str]:
    """Return a file's name without the hash that Limine has behind it, and the hash."""
    match = _HASH.fullmatch(name) if entry.source is Source.LIMINE else None
    return (name, "") if match is None else (match[1], match[2])


def _unnamed(entries: list[BootEntry]) -> str:
    """Say what there is where no configuration names a default."""
    counts = Counter(entry.source for entry in entries)
    what = {Source.FILES: "of bare files"}
    kinds = [f"{count} {what.get(kind, f'of {kind}')}" for kind, count in counts.items()]
    return f"no boot loader's configuration names one; there are entries: {', '.join(kinds)}"


def _default_of(menu: PlainMenu, located: dict[int, BootEntry]) -> tuple[BootEntry | None, str]:
    """Return what a boot loader without a script starts by itself, and what says so."""
    reading = menu.reading
    chosen = next((entry for entry in reading.entries if entry.id == reading.default), None)
    return None if chosen is None else located[id(chosen)], reading.reason


def _kernel_devices(grub: GrubReading) -> list[Device]:
    return [entry.kernel.device for entry in grub.menu.entries()]


def _with_version(entry: BootEntry) -> BootEntry:
    return replace(entry, version=entry.version or _version_of(entry.kernel))


def _version_of(kernel: str) -> str:
    match = _KERNEL_NAME.fullmatch(posixpath.basename(kernel))
    return match[1] if match else ""
