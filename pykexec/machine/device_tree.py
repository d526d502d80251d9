"""The running kernel's device tree: as firmware gave it, else flattened from its directories.

Linux Documentation/ABI/testing/sysfs-firmware-ofw. /sys/firmware/fdt is the very blob, and is
missing where the kernel was not booted with one, or where the blob has been written over
(drivers/of/fdt.c, "of_fdt_raw_init"). The directories show the tree as it is now, but neither
the order of nodes nor the memory reservations.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from pykexec.values.errors import ImageError, MachineError

if TYPE_CHECKING:
    from pykexec.formats.device_tree import Node
    from pykexec.machine.files import MachineFiles

BLOB = "sys/firmware/fdt"
DIRECTORIES = ("sys/firmware/devicetree/base", "proc/device-tree")
"""The second is a link to the first since Linux v3.15, and was the directory before."""

_PURPOSE = "the next kernel's device tree"
_LEVELS_MAX = 64
"""As many as a kernel makes of a blob; a recorded machine may come from anybody."""
_SEEDS = frozenset({"kaslr-seed", "rng-seed"})
_RENAMED = re.compile(r"(.+)#[0-9]+")


def read_device_tree(
    files: MachineFiles, *, flatten: bool, live: bool = False
) -> tuple[bytes, str] | None:
    """Return the flattened tree and what it was read from, None when the machine has none.

    That is a path of the machine, also when a record of it is read. ``flatten`` makes one of
    the directories where there is no blob; on machines that were booted without a tree these
    may be there and empty. ``live`` prefers them, where the tree of the boot does not stay true,
    and takes the memory reservations from the blob.

    Raises :class:`MachineError` naming the file that is unreadable, or cannot be part of a
    tree.
    """
    blob = files.read(BLOB, _PURPOSE)
    if blob is not None and not live:
        return blob, f"/{BLOB}"
    if not flatten:
        return None
    for directory in DIRECTORIES:
        # A link in a recorded machine would lead to the machine that reads it.
        if files.has_directory(directory) and (files.is_live or not files.is_link(directory)):
            reserved = f"with the memory reservations of /{BLOB}"
            if blob is None:
                reserved = "without firmware's memory reservations"
            return _flatten(files, directory, blob), f"/{directory}, flattened, {reserved}"
    return None if blob is None else (blob, f"/{BLOB}")


def _flatten(files: MachineFiles, directory: str, blob: bytes | None) -> bytes:
    from pykexec.formats.device_tree import (
        DeviceTree,
        Node,
        build_device_tree,
        parse_device_tree,
    )

    first = DeviceTree(Node(""))
    try:
        if blob is not None:
            first = parse_device_tree(blob)
    except ImageError as error:
        raise MachineError(f"{files.path(BLOB)}: {error.message}") from error
    try:
        root = _read_node(files, directory)
        return build_device_tree(DeviceTree(root, first.reservations, first.boot_cpuid))
    except ImageError as error:
        raise MachineError(f"{files.path(directory)}: {error.message}") from error


def _read_node(files: MachineFiles, directory: str, name: str = "", level: int = 1) -> Node:
    """Read a directory as a node, its files as properties; symbolic links are aliases."""
    from pykexec.formats.device_tree import Node

    if level > _LEVELS_MAX:
        raise MachineError(
            f"{files.path(directory)}: more than {_LEVELS_MAX} levels of directories"
        )
    listing = files.listing(directory, _PURPOSE)
    names = {entry for entry, _ in listing}
    properties: list[tuple[str, bytes]] = []
    children: list[Node] = []
    for entry, is_directory in sorted(listing, key=lambda item: _node_order(item[0])):
        path = f"{directory}/{entry}"
        original = _original_name(entry, names)
        if is_directory:
            children.append(_read_node(files, path, original, level + 1))
            continue
        value = files.read(path, _PURPOSE)
        # Made up by the kernel for every node: drivers/of/fdt.c, "populate_properties".
        made_up = original == "name" and value == name.split("@", 1)[0].encode() + b"\0"
        if value is not None and not made_up:
            properties.append((original, value))
    return Node(name, tuple(properties), tuple(children))


def _original_name(entry: str, siblings: set[str]) -> str:
    """Undo the kernel's ``cpus#1`` for a second ``cpus``: drivers/of/kobj.c, "safe_name"."""
    renamed = _RENAMED.fullmatch(entry)
    return renamed[1] if renamed is not None and renamed[1] in siblings else entry


def _node_order(name: str) -> tuple[str, int, str]:
    """Sort ``cpu@2`` before ``cpu@10``: kernels number processors in the tree's order."""
    base, _, unit = name.partition("@")
    number = unit.split(",", 1)[0]
    is_number = re.fullmatch("[0-9a-fA-F]{1,16}", number) is not None
    return base, int(number, 16) if is_number else -1, unit


def without_seeds(files: MachineFiles, name: str, data: bytes) -> bytes:
    """Return what may be recorded of ``data`` of file ``name``: seeds become zeros.

    They are wiped by the kernels that use them, but not by all of those that do not. Raises
    :class:`MachineError` when the tree cannot be read, since nobody knows what is in it then.
    """
    if name == BLOB:
        try:
            return _blank_seeds(data)
        except ImageError as error:
            raise MachineError(
                f"{files.path(BLOB)}: {error.message}; it may hold secrets, so it is not recorded"
            ) from error
    is_seed = name.startswith(DIRECTORIES) and posixpath.basename(name) in _SEEDS
    return bytes(len(data)) if is_seed else data


def _blank_seeds(blob: bytes) -> bytes:
    from pykexec.formats.device_tree import build_device_tree, parse_device_tree
    from pykexec.values.data_classes import replace

    tree = parse_device_tree(blob)
    root = tree.root
    for node in root.children:
        blank = node
        for name, value in node.properties:
            if name in _SEEDS:
                blank = blank.with_property(name, bytes(len(value)))
        if blank != node:
            root = root.with_child(blank)
    return blob if root is tree.root else build_device_tree(replace(tree, root=root))
