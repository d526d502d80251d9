"""What a run of GRUB's scripts needs from the machine, and what comes out of it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pykexec.values.data_classes import dataclass

if TYPE_CHECKING:
    from pykexec.entries.grub_files import Absent, Device, FileReference


@dataclass(frozen=True, slots=True)
class Node:
    """A file or a directory."""

    is_directory: bool
    size: int
    """Bytes; 0 for a directory."""
    mtime: int
    """Seconds since 1970."""


@dataclass(frozen=True, slots=True)
class SourceText:
    """A configuration file."""

    text: str
    path: str
    """Below the root, for messages."""


@dataclass(frozen=True, slots=True)
class UkiFacts:
    """What a unified kernel image says of itself."""

    title: str
    """PRETTY_NAME of its os-release, "" without."""
    cmdline: str
    """Of its first profile, "" without."""


class GrubFiles(Protocol):
    """The files that GRUB would see."""

    def node(self, reference: FileReference) -> Node | Absent:
        """Return what a path leads to."""

    def names(self, reference: FileReference) -> list[str] | Absent:
        """Return the names in a directory, sorted."""

    def text(self, reference: FileReference) -> SourceText | Absent:
        """Return the text of a file."""

    def uki(self, reference: FileReference) -> UkiFacts | str:
        """Return what a UKI says of itself, or why the file is none, in words behind "it"."""

    def has(self, device: Device) -> bool | None:
        """Tell whether there is such a device; None when only GRUB knows."""


@dataclass(frozen=True, slots=True)
class GrubModule:
    """A module of a multiboot kernel."""

    file: FileReference
    cmdline: str
    is_unpacked: bool = True
    """GRUB takes off what it is compressed with."""


@dataclass(frozen=True, slots=True)
class GrubEntry:
    """A line of the menu that starts a kernel, and how."""

    id: str
    """With the submenus that it is in."""
    title: str
    where: str
    kernel: FileReference
    cmdline: str = ""
    initrds: tuple[FileReference, ...] = ()
    device_tree: FileReference | None = None
    multiboot: int = 0
    """The version by which a multiboot kernel is started, 0 for others."""
    modules: tuple[GrubModule, ...] = ()
    obstacle: str = ""
    """Why it cannot be started as it is, "" when it can."""


@dataclass(frozen=True, slots=True)
class Item:
    """A line of the menu."""

    title: str
    id: str
    entry: GrubEntry | None = None
    """None: it starts no kernel that we know of."""
    submenu: GrubMenu | None = None
    starts: str = ""
    """What it does instead, in words behind "which"."""
    is_snippet: bool = False
    """It comes from ``blscfg`` or ``uki``."""


@dataclass(frozen=True, slots=True)
class GrubMenu:
    """A menu, and what it starts by itself."""

    items: tuple[Item, ...]
    wanted: str = ""
    """What ``default`` is set to; in its absence, ``saved_entry``."""
    wanted_by: str = "default"
    """The variable that says so."""
    fallback: str = ""
    """What GRUB tries when that fails."""
    doubts: tuple[str, ...] = ()
    """Why nobody can tell before GRUB runs what the default is."""
    lost: tuple[str, ...] = ()
    """What could not be read, so that the lines may not be counted."""

    def entries(self) -> tuple[GrubEntry, ...]:
        """Return the entries in the menu's order, those of submenus in their place."""
        found: list[GrubEntry] = []
        for item in self.items:
            if item.entry is not None:
                found.append(item.entry)
            if item.submenu is not None:
                found += item.submenu.entries()
        return tuple(found)
