"""Which modules a file system here needs, from its own to that of the bus its device is on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pykexec.machine.mounts import read_mounts

if TYPE_CHECKING:
    from pykexec.machine.boot_tree import BootTree

_DEPTH_MAX = 8
"""Of devices on devices: LVM on a RAID on an encrypted disk is 3."""


def drivers_of(tree: BootTree, directory: str) -> frozenset[str]:
    """Return the modules that the file system of ``directory`` uses; not what is built in."""
    mount = read_mounts(tree).at(directory)
    if mount is None:
        return frozenset()
    found = set()
    if mount.kind and tree.exists(f"/sys/module/{mount.kind}/initstate"):
        found.add(mount.kind)
    device = mount.volume.device
    if device:
        _walk(tree, f"/sys/class/block/{device}", found, 0)
    return frozenset(found)


def _walk(tree: BootTree, path: str, found: set[str], depth: int) -> None:
    """Follow a block device to what it lies on, and each of those up its bus."""
    place = tree.place(path)
    if place is None or depth > _DEPTH_MAX:
        return
    real = os.path.realpath(place)
    for slave in tree.names(f"{path}/slaves"):
        _walk(tree, f"/sys/class/block/{slave}", found, depth + 1)
    if os.path.basename(real).startswith("dm-"):
        found |= {"dm_mod"} if tree.exists("/sys/module/dm_mod/initstate") else set()
    top = os.path.realpath(os.path.join(tree.root, "sys/devices"))
    while real.startswith(top) and real != top:
        link = os.path.join(real, "driver/module")
        # What is built in has no state of being loaded.
        if os.path.exists(os.path.join(link, "initstate")):
            found.add(os.path.basename(os.path.realpath(link)))
        real = os.path.dirname(real)
