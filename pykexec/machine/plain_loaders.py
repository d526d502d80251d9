"""Boot loaders whose configuration is a file without a script in it: where they look for it."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from pykexec.entries.extlinux import parse_extlinux
from pykexec.entries.menu_reading import MenuReading, NestedReader
from pykexec.machine.boot_paths import PARTITIONS, PartitionPaths
from pykexec.machine.grub_config import reference_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.entries.file_systems import MountTable
    from pykexec.machine.boot_tree import BootTree

_Parser: TypeAlias = "Callable[[str, str, NestedReader], MenuReading]"


@dataclass(frozen=True, slots=True)
class PlainLoader:
    """A boot loader, and what reads its configuration."""

    name: str
    places: tuple[str, ...]
    """Of the configuration, on each partition that may have one; the first is the one it reads."""
    parse: _Parser


LOADERS = (
    PlainLoader(
        "Syslinux or U-Boot",
        (
            "extlinux/extlinux.conf",
            "boot/extlinux/extlinux.conf",
            "extlinux.conf",
            "syslinux/extlinux.conf",
            "boot/syslinux/extlinux.conf",
            "syslinux/syslinux.cfg",
            "boot/syslinux/syslinux.cfg",
            "syslinux.cfg",
            "EFI/syslinux/syslinux.cfg",
            "EFI/BOOT/syslinux.cfg",
            "isolinux/isolinux.cfg",
            "boot/isolinux/isolinux.cfg",
            "isolinux.cfg",
        ),
        parse_extlinux,
    ),
)
"""Those that are read, in the order in which one's default counts."""


@dataclass(frozen=True, slots=True)
class PlainMenu:
    """What a boot loader's configuration says."""

    path: str
    """Of the configuration."""
    reading: MenuReading


def read_plain_loaders(tree: BootTree, mounts: MountTable) -> tuple[list[PlainMenu], list[str]]:
    """Return the menus below a root, and what could not be read.

    Of a loader's configurations the first counts; of another one it is told that it does not.
    """
    menus: list[PlainMenu] = []
    problems: list[str] = []
    for loader in LOADERS:
        read = False
        for path in _existing(tree, loader.places):
            if read:
                problems.append(f"{path} is not read: {menus[-1].path} goes before it")
                continue
            try:
                text = tree.text(path)
            except OSError as error:
                problems.append(f"cannot read {path}: {error.strerror or error}")
                continue
            if text is not None:
                menus.append(PlainMenu(path, loader.parse(text, path, _nested(tree, path, mounts))))
                read = True
    return menus, problems


def _existing(tree: BootTree, places: tuple[str, ...]) -> list[str]:
    """Return the configurations that there are, each file once."""
    found: dict[tuple[int, int], str] = {}
    for partition in PARTITIONS:
        for place in places:
            path = posixpath.join(partition, place)
            if (identity := tree.identity(path)) is not None:
                found.setdefault(identity, path)
    return list(found.values())


def _nested(tree: BootTree, config: str, mounts: MountTable) -> NestedReader:
    """Return what reads a file that ``config`` takes in.

    A name is relative to the directory of ``config``, as for the boot loaders, else to that of the
    file which has it.
    """

    def read(name: str, where: str) -> tuple[str, str] | str:
        for base in (config, where):
            path = PartitionPaths(tree, base, mounts).find(reference_of(name))
            if not isinstance(path, str):
                reason = path.reason
                continue
            try:
                text = tree.text(path)
            except OSError as error:
                return error.strerror or str(error)
            return "it is a directory" if text is None else (text, path)
        return reason

    return read
