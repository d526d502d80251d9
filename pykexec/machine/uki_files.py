"""What unified kernel images and their addons say: UAPI.5 Unified Kernel Image, systemd-stub(7)."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING

from pykexec.entries.bls import split_counter
from pykexec.values.data_classes import dataclass, field
from pykexec.values.errors import ImageError

if TYPE_CHECKING:
    from pykexec.formats.layers import Layer
    from pykexec.formats.pe import Section
    from pykexec.machine.boot_tree import BootTree

_PROFILES_MAX = 64
_ADDON = ".addon.efi"
_COMPANIONS = (".cred", ".raw")
"""Of ``*.extra.d`` and ``loader/credentials``: systemd-stub makes an initrd of them."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a profile of an image says."""

    said: dict[str, str]
    """Of itself: ID and TITLE."""
    cmdline: str


@dataclass(frozen=True, slots=True)
class UkiDescription:
    """The sections that a menu is made of."""

    title: str
    """PRETTY_NAME, "" without."""
    cmdline: str
    """As :func:`os.fsdecode` makes it of the section's bytes."""
    system: dict[str, str]
    """os-release(5)."""
    uname: str = ""
    """The kernel's release, "" without the section."""
    profiles: tuple[Profile, ...] = ()
    """The first is what starts without a choice."""


def read_uki(tree: BootTree, path: str) -> UkiDescription:
    """Read an image's sections; raises :class:`ImageError` with the path, and OSError."""
    from pykexec.formats import pe, uki

    data = tree.mapped(path)
    try:
        found = uki.unwrap(data).brought
        file = pe.parse_pe(data, "the UKI")
        profiles = [
            Profile(_assignments(bytes(section.data)), _cmdline(uki.unwrap(data, str(n))))
            for n, section in enumerate(file.named(".profile")[:_PROFILES_MAX])
        ]
    except ImageError as error:
        error.message = f"{path}: {error.message}"
        raise
    assert isinstance(found, uki.Uki)
    sections = file.named(".osrel")
    return UkiDescription(
        found.os_release or "",
        os.fsdecode(found.cmdline or b""),
        _assignments(bytes(sections[0].data) if sections else b""),
        found.uname,
        tuple(profiles),
    )


def _cmdline(layer: Layer) -> str:
    assert layer.brought is not None
    return os.fsdecode(layer.brought.cmdline or b"")


def _assignments(data: bytes) -> dict[str, str]:
    """Parse os-release(5), as far as names and versions go; ``.profile`` is written like it."""
    lines = data.decode("utf-8", "replace").strip("\0").splitlines()
    pairs = (line.partition("=") for line in lines if not line.startswith("#"))
    return {name: value.strip("\"'") for name, _, value in pairs}


@dataclass(slots=True)
class Addons:
    """What systemd-stub adds to an image from files beside it."""

    words: list[str] = field(default_factory=list)
    """Of the command line, in their order, each of one addon."""
    notes: list[str] = field(default_factory=list)
    """What is added besides, and a load does not add."""
    obstacle: str = ""
    """What of it an image cannot be started without, in words that end a sentence."""
    problems: list[str] = field(default_factory=list)
    """Addons that cannot be read."""


def read_addons(tree: BootTree, partition: str, path: str, uname: str) -> Addons:
    """Read the addons of the image ``path`` on the file system mounted at ``partition``.

    Those of ``loader/addons`` come first, then those of the image itself, each by name; one for
    another kernel, by ``.uname``, does not count. Raises :class:`OSError` for a directory.
    """
    found = Addons()
    plain = posixpath.join(posixpath.dirname(path), split_counter(posixpath.basename(path))[0])
    directories = [posixpath.join(partition, "loader/addons")]
    directories += [f"{name}.extra.d" for name in dict.fromkeys((path, plain))]
    for directory in directories:
        for name in tree.names(directory):
            place = posixpath.join(directory, name)
            if name.lower().endswith(_ADDON):
                _take_addon(tree, place, uname, found)
            elif name.lower().endswith(_COMPANIONS):
                found.notes.append(f"systemd-stub hands {place} to the initrd, which is left out")
    return found


def _take_addon(tree: BootTree, path: str, uname: str, found: Addons) -> None:
    from pykexec.formats import pe

    try:
        sections = pe.parse_pe(tree.mapped(path), "the addon").sections
    except ImageError as error:
        found.problems.append(f"{path}: {error.message}")
        return
    except OSError as error:
        found.problems.append(f"cannot read {path}: {error.strerror or error}")
        return
    first: dict[str, Section] = {}
    for section in sections:
        first.setdefault(section.name, section)

    def text(name: str) -> str:
        return os.fsdecode(bytes(first[name].data).strip(b"\0 \t\r\n")) if name in first else ""

    if uname and text(".uname") and text(".uname") != uname:
        found.notes.append(f"{path} is for {text('.uname')}, and left out")
        return
    if words := text(".cmdline"):
        found.words.append(words)
    if ".initrd" in first:
        found.obstacle = f"its addon {path} has an initrd, which is not taken out of it"
    found.notes += [
        f"{path} has {name}, which is left out" for name in (".dtb", ".ucode") if name in first
    ]
