"""Which modules a target needs here, from its own to those of the buses its device is on."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from pykexec.machine.mounts import read_mounts

if TYPE_CHECKING:
    from pykexec.machine.boot_tree import BootTree

_DEPTH_MAX = 8
"""Of devices on devices: LVM on a RAID on an encrypted disk is 3."""
_SUMS = ("bridge", "bond", "team")
"""Interfaces (DEVTYPE) without a device of their own, of which a port does as well."""
_PORTS_MAX = 64


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


def interface_drivers(tree: BootTree, name: str) -> frozenset[str] | None:
    """Return the modules of a network interface, or of those that a bridge or bond is made of.

    None when no device is behind it that would be one alone: a tunnel, a VLAN, a radio.
    """
    path = f"/sys/class/net/{name}"
    kind = re.search(r"^DEVTYPE=(.*)$", tree.text(f"{path}/uevent") or "", re.MULTILINE)
    if kind is not None and kind[1] not in _SUMS:
        return None
    if tree.exists(f"{path}/device"):
        found: set[str] = set()
        _climb(tree, tree.place(f"{path}/device"), found)
        return frozenset(found)
    prefix = "lower_"
    lower = [entry.removeprefix(prefix) for entry in tree.names(path) if entry.startswith(prefix)]
    parts = [interface_drivers(tree, each) for each in lower[:_PORTS_MAX]]
    known = [part for part in parts if part is not None]
    return frozenset().union(*known) if known else None


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
    _climb(tree, real, found)


def _climb(tree: BootTree, path: str | None, found: set[str]) -> None:
    """Add the drivers of a device, and of each bus that it is on."""
    real = os.path.realpath(path) if path is not None else ""
    top = os.path.realpath(os.path.join(tree.root, "sys/devices"))
    while real.startswith(top) and real != top:
        link = os.path.join(real, "driver/module")
        # What is built in has no state of being loaded.
        if os.path.exists(os.path.join(link, "initstate")):
            found.add(os.path.basename(os.path.realpath(link)))
        real = os.path.dirname(real)
