"""Where the files are that a boot loader's configuration names, below a root.

A path in a configuration is one of a file system. Where it is known what is mounted
(:mod:`pykexec.machine.mounts`), it is looked for there and nowhere else. Of a copy of a system
that says nothing of its file systems, all that is there is taken for one, as it may have been
mounted.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from pykexec.entries.file_systems import (
    Mounted,
    MountTable,
    grub_drive,
    grub_partition,
    partition_number,
    places_of,
    split_zfs,
)
from pykexec.entries.grub_files import Absent, Device, FileReference, Search, SearchBy
from pykexec.machine.mounts import read_mounts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykexec.machine.boot_tree import BootTree

PARTITIONS = ("/boot", "/efi", "/boot/efi", "/boot/firmware", "/")
"""Where the partitions are mounted that boot loaders read; "/": the root may be one itself."""
_DRIVE_AND_PARTITION = re.compile(r"([1-9][0-9]{0,3}):([1-9][0-9]{0,3})")
_NO_FILE = Absent("there is no such file")
_BTRFS_RELATIVE = "btrfs_relative_path"
"""The variable by which SUSE's GRUB takes paths for those of the default subvolume."""

_ROOT_SUBVOLUMES = ("@", "@rootfs", "@root", "root", "rootfs")
"""As Ubuntu, Arch and SUSE, Debian, and Fedora name the one that is mounted as the root."""


class PartitionPaths:
    """Finds files for the configuration ``config``; a :class:`Resolver`."""

    def __init__(
        self,
        tree: BootTree,
        config: str,
        table: MountTable | None = None,
        *,
        is_strict: bool = False,
    ) -> None:
        """``table`` is what :func:`read_mounts` reads, where that is at hand.

        ``is_strict``: a device with a name is the configuration's own only where something tells
        so. GRUB's configurations name their own one in front of each path.
        """
        self._is_strict = is_strict
        self._settled: dict[Device, str] = {}
        self._tree = tree
        self._directory = posixpath.dirname(config)
        self._table = read_mounts(tree) if table is None else table
        self._own = self._table.at(config)
        mounts = [p for p in PARTITIONS if config.startswith(p.rstrip("/") + "/")]
        # An ESP at /boot/efi goes before a boot partition at /boot.
        self._guesses = sorted(mounts, key=len, reverse=True)
        self._is_relative = _is_relative(tree, config)

    def reference(self, path: str) -> FileReference:
        """Return how GRUB names ``path`` on its own device."""
        mount = self._table.at(path)
        if self._own is None or mount is None or mount not in self._table.same_as(self._own):
            return FileReference(Device(), path)
        if self._is_relative and mount.kind == "btrfs":
            return FileReference(Device(), path)
        return FileReference(Device(), mount.path_of(path))

    def has(self, device: Device) -> bool | None:
        """Tell whether there is such a device; None when only GRUB knows."""
        if device.is_own:
            return True
        found = self._mounts(device)
        if not isinstance(found, Absent) and found:
            return True
        search = device.search
        if search is not None and search.by is not SearchBy.FILE:
            known = self._table.volume_called(search.by, search.value)
            return True if known is not None and known.device else None
        return None

    def find(self, reference: FileReference) -> str | Absent:
        """Find a file on the file system that GRUB means."""
        beside = self._beside(reference)
        if beside is not None:
            return beside
        path = _absolute(reference)
        mounts = self._mounts(reference.device)
        if isinstance(mounts, Absent):
            return mounts
        if not mounts:
            inside = posixpath.join("/", reference.subvolume, path[1:])
            return self._guess(reference.device, inside)
        return self._on(reference.device, path, mounts, reference.subvolume)

    def find_likely(self, reference: FileReference) -> str | Absent:
        """Find a file also where nothing tells which mounted file system its device is.

        Then the only one that has the file counts; for an answer to a script that is not enough.
        """
        found = self.find(reference)
        device = reference.device
        if not isinstance(found, Absent) or self._is_strict or not self._is_not_told(device):
            return found
        path = _absolute(reference)
        places = [self._on(device, path, mounts) for mounts in self._candidates(device)]
        files = [place for place in places if isinstance(place, str)]
        return files[0] if len(files) == 1 else found

    def _beside(self, reference: FileReference) -> str | None:
        """Return the file that a relative path names from the configuration's directory on."""
        if not reference.device.is_own or reference.path.startswith("/"):
            return None
        relative = posixpath.join(self._directory, reference.path)
        return relative if self._tree.exists(relative) else None

    def is_guess(self, device: Device) -> bool:
        """Tell whether nothing says where a device's file system is: it may be any."""
        return self._mounts(device) == ()

    def settle(self, references: Iterable[FileReference]) -> None:
        """Have the files of one entry, its kernel first, all from one place.

        That is for where places can only be guessed: a kernel and the initrd of another system
        may be called as one entry has it.
        """
        groups: dict[Device, list[list[str]]] = {}
        for reference in references:
            if self.is_guess(reference.device) and self._beside(reference) is None:
                tried = self._tried(_absolute(reference)).items()
                having = [place for place, file in tried if self._tree.exists(file)]
                groups.setdefault(reference.device, []).append(having)
        for device, files in groups.items():
            first = next((having for having in files if having), None)
            if first is not None:
                self._settled[device] = max(
                    first, key=lambda place: sum(place in having for having in files)
                )

    def _mounts(self, device: Device) -> tuple[Mounted, ...] | Absent:
        """Return the mounts of a device's file system.

        None at all where nothing is known of the configuration's own either, and it may be that.
        """
        own = self._table.same_as(self._own) if self._own is not None else ()
        if device.is_own:
            return own
        found = self._told(device, own)
        return self._assumed(device, own) if found is None else found

    def _told(
        self, device: Device, own: tuple[Mounted, ...]
    ) -> tuple[Mounted, ...] | Absent | None:
        """Return the mounts of a device's file system; None where nothing tells of it."""
        if device.search is not None:
            return self._found_by(device, device.search, own)
        if device.name.startswith("lvm/"):
            source = f"/dev/mapper/{device.name.removeprefix('lvm/')}"
            found = [mount for mount in self._table.mounts if mount.source == source]
            if found:
                return self._table.same_as(found[0])
            return self._not_mounted(device) if own else None
        if device.name.startswith("md/"):
            return self._array(device, own)
        return self._numbered(device, grub_partition(device.name), own)

    def is_assumed(self, device: Device) -> bool:
        """Tell whether a device with a name is taken for the configuration's own file system only
        since nothing tells of another one.
        """
        return not self._is_strict and self._is_not_told(device)

    def _is_not_told(self, device: Device) -> bool:
        own = self._table.same_as(self._own) if self._own is not None else ()
        return not device.is_own and self._told(device, own) is None

    def _candidates(self, device: Device) -> list[tuple[Mounted, ...]]:
        """Return the mounted file systems that a device may be of which nothing tells."""
        own = self._table.same_as(self._own) if self._own is not None else ()
        systems = self._table.systems()
        return [one for one in systems if one == own or self._may_be(device, one[0])]

    def _assumed(self, device: Device, own: tuple[Mounted, ...]) -> tuple[Mounted, ...] | Absent:
        """Return the mounts that a device may be where nothing tells: the configuration's own."""
        if not own:
            return ()
        others = [mounts for mounts in self._candidates(device) if mounts != own]
        if self._is_strict:
            return self._not_known(device)
        if others:
            places = ", ".join(sorted(mounts[0].place for mounts in (own, *others)))
            return Absent(
                f"neither links in /dev/disk nor fstab tell which of those on {places} is {device}",
                certain=False,
            )
        return own

    def _may_be(self, device: Device, mount: Mounted) -> bool:
        """Tell whether a mounted file system may be a device that nothing tells of."""
        if not (mount.volume.device or mount.volume.uuid or mount.volume.label):
            return False
        if device.search is not None:
            return mount.volume.is_called(device.search.by, device.search.value) is None
        number = grub_partition(device.name)
        return not mount.volume.device or partition_number(mount.volume.device) == number

    def _array(
        self, device: Device, own: tuple[Mounted, ...]
    ) -> tuple[Mounted, ...] | Absent | None:
        """Return the mounts of a RAID array, ``md/NAME`` or ``md/NUMBER``."""
        array = self._table.arrays.get(device.name.removeprefix("md/"), "")
        found = [mount for mount in self._table.mounts if array and mount.volume.device == array]
        if found:
            return self._table.same_as(found[0])
        if not any(mount.volume.device for mount in own):
            return None
        is_there = bool(array) or any(name.startswith("md") for name in self._table.devices())
        return self._not_mounted(device) if is_there else Absent(f"there is no {device}")

    def _numbered(
        self, device: Device, number: int | None, own: tuple[Mounted, ...]
    ) -> tuple[Mounted, ...] | Absent | None:
        """Return the mounts of the partition of that number, on whatever disk."""
        devices = self._table.on_partition(number) if number is not None else set()
        if not devices:
            is_known = number is None or any(mount.volume.device for mount in own)
            return self._not_mounted(device) if own and is_known else None
        drive = grub_drive(device.name)
        if drive >= self._table.disks():
            return Absent(
                f"{device} is on disk {drive + 1}, and there are {self._table.disks()} as far as "
                "fstab and links in /dev/disk tell",
                certain=False,
            )
        if len(devices) > 1:
            return Absent(
                f"{device} is one of {', '.join(sorted(devices))}, and only GRUB knows which",
                certain=False,
            )
        found = [mount for mount in self._table.mounts if mount.volume.device in devices]
        return self._table.same_as(found[0]) if found else self._not_mounted(device)

    def _found_by(
        self, device: Device, search: Search, own: tuple[Mounted, ...]
    ) -> tuple[Mounted, ...] | Absent | None:
        if search.by is SearchBy.FILE:
            return self._having(device, search.value, own)
        if search.by is SearchBy.PARTITION:
            numbers = _DRIVE_AND_PARTITION.fullmatch(search.value)
            number = int(numbers[2]) if numbers else 0
            # Of the only disk that there is, none is on a second drive.
            is_other = numbers is None or numbers[1] != "1"
            if own and is_other and len(self._table.on_partition(number)) < 2:
                return self._not_known(device)
            return self._numbered(device, number, own)
        found = self._table.called(search.by, search.value)
        if found:
            return found
        if any(mount.volume.is_called(search.by, search.value) is False for mount in own):
            return self._not_mounted(device)
        if self._table.volume_called(search.by, search.value) is not None:
            return self._not_mounted(device)
        return None

    def _having(
        self, device: Device, path: str, own: tuple[Mounted, ...]
    ) -> tuple[Mounted, ...] | Absent | None:
        """Return the mounts of the file system that has a file."""
        systems = [
            mounts
            for mounts in self._table.systems()
            if any(self._tree.exists(place) for _, place in places_of(path, mounts))
            and isinstance(self._on(device, path, mounts), str)
        ]
        if len(systems) > 1:
            places = ", ".join(sorted(system[0].place for system in systems))
            return Absent(
                f"{device} is one of those on {places}, and only GRUB knows which", certain=False
            )
        if systems:
            return systems[0]
        return self._not_mounted(device) if self._table.mounts else None

    def _not_known(self, device: Device) -> Absent:
        return Absent(
            f"{device} is not mounted, as far as fstab and links in /dev/disk tell", certain=False
        )

    def _not_mounted(self, device: Device) -> Absent:
        search = device.search
        known = self._table.volume_called(search.by, search.value) if search is not None else None
        at = f" (/dev/{known.device})" if known is not None and known.device else ""
        return Absent(f"{device}{at} is not mounted", certain=False)

    def _on(
        self, device: Device, path: str, mounts: tuple[Mounted, ...], subvolume: str = ""
    ) -> str | Absent:
        """Find a path of one file system, of which parts are mounted."""
        whole = path
        if subvolume and mounts[0].kind == "btrfs":
            whole = posixpath.join("/", subvolume, path[1:])
        elif self._is_relative and mounts[0].kind == "btrfs":
            default = next((mount for mount in mounts if mount.place == "/"), mounts[0])
            whole = posixpath.join(default.directory, path[1:])
        places = places_of(whole, mounts)
        covered: Mounted | None = None
        for mount, place in places:
            covering = self._table.at(place)
            is_within = covering in (None, mount) or place == covering.place
            # SUSE's GRUB mounts the subvolumes below the default one too.
            if not is_within and not (self._is_relative and covering in mounts):
                covered = covering
            elif self._tree.exists(place):
                behind = self._table.at(self._behind_links(place))
                if behind is None or behind in mounts:
                    return place
                return Absent(f"it is a link to {behind}, which no boot loader follows")
        if covered is not None:
            return Absent(f"{covered} covers it", certain=False)
        # Whether there is such a snapshot, only a look into its own directory tells.
        if not places or (mounts[0].kind == "zfs" and "@/" not in path):
            return Absent(
                f"{_part_of(device, mounts[0])} that has it is not mounted", certain=False
            )
        return _NO_FILE

    def _behind_links(self, path: str) -> str:
        """Return what an existing path leads to, absolute below the root."""
        place = self._tree.place(path)
        return path if place is None else f"/{posixpath.relpath(place, self._tree.root)}"

    def _guess(self, device: Device, path: str) -> str | Absent:
        """Find a path in a copy of a system: relative to where its partition may be."""
        tried = self._tried(path)
        settled = self._settled.get(device)
        files = [file for place, file in tried.items() if settled in (None, place)]
        return next((file for file in files if self._tree.exists(file)), _NO_FILE)

    def _tried(self, path: str) -> dict[str, str]:
        """Return where a path may be, by what is taken for its file system."""
        tried = {"": path}
        tried |= {place: posixpath.join(place, path[1:]) for place in self._guesses}
        parts = split_zfs(path)
        if parts is not None:
            dataset, snapshot, below = parts
            inside = f".zfs/snapshot/{snapshot}" if snapshot else ""
            if dataset or not snapshot:
                tried |= {
                    f"{place}@": posixpath.join(place, inside, below[1:]) for place in self._guesses
                }
        # With Btrfs the subvolume of the root stands in front, as in /@/boot/vmlinuz.
        subvolume, _, below = path[1:].partition("/")
        if subvolume in _ROOT_SUBVOLUMES:
            tried[subvolume] = f"/{below}"
        return tried


def _absolute(reference: FileReference) -> str:
    # No boot loader leaves a file system upwards.
    return posixpath.normpath("/" + reference.path.lstrip("/"))


def _part_of(device: Device, mount: Mounted) -> str:
    """Return what a path may be in, of a file system that is not mounted as a whole."""
    if mount.kind == "zfs":
        return f"the dataset or snapshot of the pool {mount.source.partition('/')[0]}"
    return f"the {'subvolume' if mount.kind == 'btrfs' else 'part'} of {device}"


def _is_relative(tree: BootTree, config: str) -> bool:
    try:
        return _BTRFS_RELATIVE in (tree.text(config) or "")
    except OSError:
        return False
