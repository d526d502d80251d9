"""Where the files are that a boot loader's configuration names, below a root.

A path in a configuration is relative to a file system, which may be mounted anywhere.
:class:`PartitionPaths` looks for it in the places where the partition of the configuration may
be, and knows nothing else of devices: whatever device GRUB names is taken for that one.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from pykexec.entries.grub_files import Absent, Device, FileReference

if TYPE_CHECKING:
    from pykexec.machine.boot_tree import BootTree

PARTITIONS = ("/boot", "/efi", "/boot/efi", "/boot/firmware", "/")
"""Where the partitions are mounted that boot loaders read; "/": the root may be one itself."""


class PartitionPaths:
    """Finds files for the configuration ``config``; a :class:`Resolver`."""

    def __init__(self, tree: BootTree, config: str) -> None:
        self._tree = tree
        self._directory = posixpath.dirname(config)
        mounts = [p for p in PARTITIONS if config.startswith(p.rstrip("/") + "/")]
        # An ESP at /boot/efi goes before a boot partition at /boot.
        self._mounts = sorted(mounts, key=len, reverse=True)
        self._apart = [place for place in self._mounts if tree.is_mount_point(place)]

    def reference(self, path: str) -> FileReference:
        """Return how GRUB names ``path`` on its own device."""
        for place in self._apart:
            if place != "/" and (path + "/").startswith(place + "/"):
                return FileReference(Device(), path[len(place) :] or "/")
        return FileReference(Device(), path)

    def has(self, device: Device) -> bool | None:
        """Tell whether there is such a device: not known, save for the configuration's own."""
        return True if device.is_own else None

    def find(self, reference: FileReference) -> str | Absent:
        """Find a file: relative to the partition of the configuration, wherever that is."""
        path = reference.path
        if not path.startswith("/"):
            relative = posixpath.join(self._directory, path)
            if self._tree.exists(relative):
                return relative
        path = "/" + path.lstrip("/")
        tried = [posixpath.join(place, path[1:]) for place in self._apart]
        tried += [path]
        tried += [posixpath.join(place, path[1:]) for place in self._mounts]
        # With Btrfs the subvolume stands in front: /@/boot/vmlinuz.
        below = path.find("/boot/", 1)
        if below > 0:
            tried.append(path[below:])
        found = next((item for item in tried if self._tree.exists(item)), None)
        return Absent("there is no such file") if found is None else found
