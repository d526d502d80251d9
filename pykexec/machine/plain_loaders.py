"""Boot loaders whose configuration is a file without a script in it: where they look for it."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, TypeAlias

from pykexec.entries.extlinux import parse_extlinux
from pykexec.entries.grub_files import Device, FileReference, Search, SearchBy
from pykexec.entries.grub_legacy import parse_grub_legacy
from pykexec.entries.limine import parse_limine
from pykexec.entries.menu_reading import MenuReading, NestedReader, Surroundings
from pykexec.entries.raspberry_pi import parse_raspberry_pi
from pykexec.entries.refind import parse_refind, parse_refind_linux
from pykexec.entries.zipl import parse_zipl
from pykexec.machine.boot_paths import PARTITIONS, PartitionPaths
from pykexec.machine.grub_config import reference_of
from pykexec.values.data_classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.entries.file_systems import MountTable
    from pykexec.machine.boot_tree import BootTree

_Parser: TypeAlias = "Callable[[str, str, Surroundings], MenuReading]"
_MODEL = "/proc/device-tree/model"
_SEARCHED = re.compile(r"\((uuid|label|volume|hdd):([^)]*)\)(.*)", re.DOTALL)
"""What a parser has in front of a path for a file system that its loader looks for."""
_MARK = "\ufeff"
_UUID = re.compile(r"[0-9A-Fa-f]{4,8}(?:-[0-9A-Fa-f]{4,12})+")


@dataclass(frozen=True, slots=True)
class PlainLoader:
    """A boot loader, and what reads its configuration."""

    name: str
    places: tuple[str, ...]
    """Of the configuration, on each partition that may have one; the first is the one it reads."""
    parse: _Parser
    skips_mark: bool = False
    """A byte order mark at the beginning is none of the text."""


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
    PlainLoader(
        "Limine",
        tuple(
            f"{place}limine.{suffix}"
            for suffix in ("conf", "cfg")
            for place in ("", "limine/", "boot/", "boot/limine/", "EFI/BOOT/", "EFI/limine/")
        ),
        parse_limine,
    ),
    PlainLoader("rEFInd", ("EFI/refind/refind.conf", "EFI/BOOT/refind.conf"), parse_refind, True),
    # zipl.conf(5): the first that is found. Its package has one more, with no entry in it.
    PlainLoader("zipl", ("run/zipl/zipl.conf", "etc/zipl.conf"), parse_zipl),
    PlainLoader("the Raspberry Pi's firmware", ("config.txt",), parse_raspberry_pi),
    PlainLoader(
        "GRUB legacy",
        (
            "grub/menu.lst",
            "grub/grub.conf",
            "boot/grub/menu.lst",
            "boot/grub/grub.conf",
            "EFI/redhat/grub.conf",
            "EFI/fedora/grub.conf",
        ),
        parse_grub_legacy,
    ),
    # Last, as it is often left over, and never says what starts by itself.
    PlainLoader(
        "rEFInd", ("refind_linux.conf", "boot/refind_linux.conf"), parse_refind_linux, True
    ),
)
"""Those that are read, in the order in which one's default counts."""

PROXMOX = "/etc/kernel/proxmox-boot-uuids"
"""Where it is, the boot loader has its configuration and kernels on partitions of its own."""
NOT_READ = {
    "/etc/lilo.conf": "LILO",
    "/etc/elilo.conf": "ELILO",
    "/etc/yaboot.conf": "yaboot",
    "/etc/palo.conf": "PALO",
    "/etc/silo.conf": "SILO",
    "/etc/aboot.conf": "aboot",
    "/boot/boot.scr": "a script of U-Boot",
    "/boot/firmware/boot.scr": "a script of U-Boot",
    "/boot/uEnv.txt": "U-Boot's environment",
    PROXMOX: "proxmox-boot-tool",
    "/etc/petitboot/petitboot.conf": "petitboot",
}
"""Configurations that are told of, and say nothing here: whose they are, by their path."""


def reference(name: str) -> FileReference:
    """Return what a file name of an entry refers to: a path, with a device or a search in front."""
    match = _SEARCHED.fullmatch(name)
    if match is None:
        return reference_of(name)
    kind, value, path = match.groups()
    is_uuid = kind == "uuid" or (kind == "volume" and _UUID.fullmatch(value))
    by = SearchBy.UUID if is_uuid else SearchBy.LABEL
    if kind == "hdd":
        by = SearchBy.PARTITION
    return FileReference(Device(f"{kind}:{value}", Search(by, value)), path)


@dataclass(frozen=True, slots=True)
class PlainMenu:
    """What a boot loader's configuration says."""

    loader: str
    """Its name."""
    path: str
    """Of the configuration."""
    reading: MenuReading

    def is_of(self, running: str) -> bool:
        """Tell whether its loader is the one that calls itself ``running``, with its version."""
        return running.lower().startswith(self.loader.lower())


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
            if text is not None and _is_one(tree, loader, path):
                if text.startswith(_MARK) and not loader.skips_mark:
                    problems.append(
                        f"{path} begins with a byte order mark: {loader.name} may not "
                        "understand its first line"
                    )
                text = text.removeprefix(_MARK) if loader.skips_mark else text
                nested = _nested(tree, path, mounts)
                around = Surroundings(nested, _names(tree, path), _model(tree))
                menus.append(PlainMenu(loader.name, path, loader.parse(text, path, around)))
                read = True
    problems += [
        f"{path} is the configuration of {owner}, which is not read"
        for path, owner in NOT_READ.items()
        if tree.exists(path)
    ]
    return menus, problems


def _is_one(tree: BootTree, loader: PlainLoader, path: str) -> bool:
    """Tell whether a file with an everyday name is a loader's: the firmware's files are there."""
    if loader.parse is not parse_raspberry_pi:
        return True
    names = _names(tree, path)
    return "cmdline.txt" in names or any(
        re.fullmatch(r"start\w*\.elf|bootcode\.bin", name) for name in names
    )


def _names(tree: BootTree, path: str) -> tuple[str, ...]:
    try:
        return tuple(tree.names(posixpath.dirname(path)))
    except OSError:
        return ()


def _model(tree: BootTree) -> str:
    try:
        return (tree.text(_MODEL) or "").strip("\0\n ")
    except OSError:
        return ""


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
