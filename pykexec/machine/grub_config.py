"""GRUB's menu, from the configuration files of a system below a root.

Which file a name in a script means, a :class:`Resolver` finds out: :mod:`entries.grub_files`
says what it is asked and may answer.
"""

from __future__ import annotations

import os
import posixpath
import re
from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of, family_of
from pykexec.entries import BootEntry, EntryModule, MissingFile, Source
from pykexec.entries.grub import GrubReading, read_grub
from pykexec.entries.grub_files import Absent, Device, FileReference, Resolver
from pykexec.entries.grub_values import GrubEntry, Node, SourceText, UkiFacts
from pykexec.machine.boot_paths import PartitionPaths
from pykexec.values.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.machine.boot_tree import BootTree

_DIRECTORIES = ("/boot/grub", "/boot/grub2", "/grub", "/grub2")
_ESPS = ("/boot/efi", "/efi", "/boot", "/boot/EFI", "/")
"""Where a system mounts its EFI system partition; "/": the root may be one itself."""
_EFI_VARIABLE = "/sys/firmware/efi/efivars/{}-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_PROGRAM = re.compile(r"\\EFI\\([^\\\0]+)\\[^\\\0]+\.efi", re.IGNORECASE)
_GRUB_PROGRAM = re.compile(r"(?:grub|gcd).*\.efi", re.IGNORECASE)
_DEVICE = re.compile(r"\(([^)]*)\)")


def reference_of(name: str) -> FileReference:
    """Return what a file name refers to: ``(DEVICE)PATH``, or a path."""
    match = _DEVICE.match(name)
    if match is None:
        return FileReference(Device(), name)
    return FileReference(Device(match[1]), name[match.end() :])


def grub_configs(tree: BootTree) -> list[str]:
    """Return the configuration files that a GRUB may start with, the likeliest first.

    On EFI each vendor has a directory of its own on the ESP, with the whole configuration or a
    stub that leads to it. That goes first on a machine that runs on EFI, else GRUB's own.
    """
    found: dict[tuple[int, int], str] = {}
    own = [f"{directory}/grub.cfg" for directory in _DIRECTORIES]
    paths: list[str] = []
    for esp in _ESPS:
        vendors = posixpath.join(esp, "EFI")
        try:
            names = tree.names(vendors)
        except OSError:
            continue
        # BOOT is the fallback's, a copy of a vendor's.
        started = _started_by(tree).upper()
        names.sort(key=lambda name: (name.upper() != started, name.upper() == "BOOT", name))
        paths += [f"{vendors}/{name}/grub.cfg" for name in names]
    efi = tree.exists("/sys/firmware/efi")
    for path in paths + own if efi else own + paths:
        if (identity := tree.identity(path)) is not None:
            found.setdefault(identity, path)
    return list(found.values())


def _has_grub_on_esp(tree: BootTree) -> bool:
    """Tell whether an ESP has GRUB as a program for EFI."""
    for esp in _ESPS:
        vendors = posixpath.join(esp, "EFI")
        try:
            for vendor in tree.names(vendors):
                if any(map(_GRUB_PROGRAM.fullmatch, tree.names(posixpath.join(vendors, vendor)))):
                    return True
        except OSError:
            continue
    return False


def _is_of_vendor(path: str) -> bool:
    return "/EFI/" in path and not path.upper().endswith("/BOOT/GRUB.CFG")


def _started_by(tree: BootTree) -> str:
    """Return the vendor's directory of the program that EFI firmware started, "" if not known.

    UEFI 2.10, sections 3.1.3, "Load Options", and 10.3.5.4, "File Path Media Device Path".
    """
    current = _variable(tree, "BootCurrent")
    option = _variable(tree, f"Boot{int.from_bytes(current[:2], 'little'):04X}") if current else b""
    # Device paths hold the file's name in UTF-16, wherever in them it begins.
    for text in (option.decode("utf-16-le", "ignore"), option[1:].decode("utf-16-le", "ignore")):
        match = _PROGRAM.search(text)
        if match is not None:
            return match[1]
    return ""


def _variable(tree: BootTree, name: str) -> bytes:
    """Return a global variable of EFI without the attributes in front; empty without it."""
    try:
        return (tree.data(_EFI_VARIABLE.format(name)) or b"")[4:]
    except OSError:
        return b""


class GrubConfig:
    """Reads the GRUB configuration of a system."""

    def __init__(
        self,
        tree: BootTree,
        arch: str,
        resolver: Callable[[BootTree, str], Resolver] = PartitionPaths,
    ) -> None:
        """``arch`` is the machine's, as :attr:`MachineFacts.arch` has it."""
        self._tree = tree
        self._arch = arch
        self.problems: list[str] = []
        self.path = ""
        """The configuration file that is read, "" without any."""
        self.read_paths: set[str] = set()
        """Files that had a part in it."""
        self._resolver = resolver
        self._finds = resolver(tree, "/")

    def read(self) -> GrubReading | None:
        """Run the first configuration that has a menu; None without any that can be read."""
        first: GrubReading | None = None
        paths = grub_configs(self._tree)
        for at, path in enumerate(paths):
            reading = self._reading(path)
            if isinstance(reading, Absent):
                self.problems.append(f"cannot read {path}: {reading.reason}")
            elif reading.menu.items:
                self.path = path
                self._tell_of_others(paths[at + 1 :])
                return reading
            elif first is None:
                first, self.path = reading, path
        return first

    def _reading(self, path: str) -> GrubReading | Absent:
        self._finds = self._resolver(self._tree, path)
        found = self._text(path)
        if isinstance(found, Absent):
            return found
        return read_grub(found, self._finds.reference(path), self, *self._variables(path))

    def _tell_of_others(self, paths: list[str]) -> None:
        """Tell of configurations that lead to other menus: a firmware may start their GRUBs."""
        read, finds = self.read_paths, self._finds
        for path in paths:
            if path in read:
                continue
            self.read_paths = set()
            reading = self._reading(path)
            leads_here = self.path in self.read_paths
            if not isinstance(reading, Absent) and not leads_here and _is_of_vendor(path):
                self.problems.append(
                    f"{path} is another GRUB's, and is not asked: which one starts, only the "
                    "firmware knows"
                )
        self.read_paths, self._finds = read, finds

    def _variables(self, path: str) -> tuple[dict[str, str], dict[str, str] | None]:
        """Return what GRUB says of its firmware, and what it may say where nothing tells."""
        here = architecture_of(self._arch)
        efi = {"grub_platform": "efi", "grub_cpu": here.grub_cpu or here.name}
        if not here.grub_bios_cpu:
            return efi, None
        bios = {"grub_platform": "pc", "grub_cpu": here.grub_bios_cpu}
        if self._tree.exists("/sys/firmware/efi"):
            return efi, None
        if self._tree.exists("/sys/firmware"):
            return bios, None
        # Of a copy, GRUB's own files tell, unless it was made for both.
        own = [f"{place}/{{}}" for place in _DIRECTORIES]
        has_efi = (
            "/EFI/" in path.upper()
            or any(
                self._tree.exists(place.format(name))
                for place in own
                for name in sorted(f"{item.grub_cpu}-efi" for item in family_of(here))
            )
            or _has_grub_on_esp(self._tree)
        )
        has_bios = any(self._tree.exists(place.format(f"{here.grub_bios_cpu}-pc")) for place in own)
        if has_efi != has_bios:
            return (efi if has_efi else bios), None
        return bios, efi

    def located(self, entry: GrubEntry) -> BootEntry:
        """Return an entry with the places of its files on this machine."""
        missing: list[MissingFile] = []

        def locate(reference: FileReference) -> str:
            found = self._find_likely(reference)
            place = self._tree.place(found) if isinstance(found, str) else None
            name = str(reference)
            if place is None or not isinstance(found, str):
                reason = found.reason if isinstance(found, Absent) else "there is no such file"
                missing.append(MissingFile(name, reason))
                return name
            if os.path.isdir(place):
                missing.append(MissingFile(name, "it is a directory"))
            return place

        kernel = locate(entry.kernel)
        return BootEntry(
            source=Source.GRUB,
            id=entry.id,
            title=entry.title,
            where=entry.where,
            kernel=kernel,
            initrds=tuple(map(locate, entry.initrds)),
            cmdline=entry.cmdline,
            device_tree=None if entry.device_tree is None else locate(entry.device_tree),
            multiboot=entry.multiboot,
            modules=tuple(
                EntryModule(locate(module.file), module.cmdline, module.is_unpacked)
                for module in entry.modules
            ),
            missing=tuple(missing),
            obstacle=entry.obstacle,
        )

    # What a script sees: entries.grub_values.GrubFiles

    def _find(self, reference: FileReference) -> str | Absent:
        if not reference.path.startswith("/"):
            return Absent("it names no file")
        return self._finds.find(reference)

    def _find_likely(self, reference: FileReference) -> str | Absent:
        if not reference.path.startswith("/"):
            return Absent("it names no file")
        return self._finds.find_likely(reference)

    def node(self, reference: FileReference) -> Node | Absent:
        """Return what a path leads to."""
        found = self._find(reference)
        place = self._tree.place(found) if isinstance(found, str) else None
        if isinstance(found, Absent) or place is None:
            return found if isinstance(found, Absent) else Absent("there is no such file")
        try:
            status = os.stat(place)
        except OSError as error:
            return Absent(error.strerror or str(error), certain=False)
        is_directory = os.path.isdir(place)
        return Node(is_directory, 0 if is_directory else status.st_size, int(status.st_mtime))

    def names(self, reference: FileReference) -> list[str] | Absent:
        """Return the names in a directory, sorted."""
        found = self._find(reference)
        if isinstance(found, Absent):
            return found
        place = self._tree.place(found)
        if place is None or not os.path.isdir(place):
            return Absent("it is no directory")
        try:
            return self._tree.names(found)
        except OSError as error:
            return Absent(error.strerror or str(error), certain=False)

    def text(self, reference: FileReference) -> SourceText | Absent:
        """Return the text of a file."""
        found = self._find_likely(reference)
        return found if isinstance(found, Absent) else self._text(found)

    def _text(self, path: str) -> SourceText | Absent:
        try:
            text = self._tree.text(path)
        except OSError as error:
            return Absent(error.strerror or str(error), certain=False)
        if text is None:
            return Absent("it is no regular file")
        self.read_paths.add(path)
        return SourceText(text, path)

    def uki(self, reference: FileReference) -> UkiFacts | str:
        """Return what a UKI says of itself, or why the file is none."""
        from pykexec.machine.uki_files import read_uki

        found = self._find_likely(reference)
        if isinstance(found, Absent):
            return found.reason
        try:
            facts = read_uki(self._tree, found)
        except (ImageError, OSError) as error:
            return f"it is no UKI: {error}"
        self.read_paths.add(found)
        return UkiFacts(facts.title, facts.cmdline)

    def has(self, device: Device) -> bool | None:
        """Tell whether there is such a device; None when only GRUB knows."""
        return self._finds.has(device)
