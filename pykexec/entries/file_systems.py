"""Which file system is meant, and where a path of it is. Pure.

A boot loader's path is one of a file system, whatever is mounted where: a kernel of another disk,
of a snapshot that is not mounted, or one that a mount has covered, is not the file that has the
same name in the running system. proc_pid_mountinfo(5), fstab(5), btrfs(5), zfsprops(7); what GRUB
writes in front of a path on Btrfs and ZFS: GNU GRUB Manual, "Filesystem syntax".
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from pykexec.entries.grub_files import SearchBy
from pykexec.values.data_classes import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ZFS_PATH = re.compile(r"/([^@]*)@([^/]*)(/.*)?", re.DOTALL)
_PARTITION = re.compile(r"(?:[a-z]+[0-9]+(?:n[0-9]+)?p|[a-z]+d[a-z]+)([0-9]+)")
"""Of ``nvme0n1p2``, ``mmcblk0p2``, ``sda2``, ``vda2``."""
_DISK = re.compile(r"(?:[a-z]+[0-9]+(?:n[0-9]+)?(?=p[0-9])|[a-z]+d[a-z]+(?=[0-9]))")
_GRUB_DRIVE = re.compile(r"(?:hd|ahci|ata|usb|scsi)([0-9]{1,4}),")
_GRUB_PARTITION = re.compile(r"(?:hd|ahci|ata|usb|scsi)[0-9]+,(?:[a-z]+)?([0-9]+)")


@dataclass(frozen=True, slots=True)
class Volume:
    """What identifies a file system; "" for what is not known of it."""

    device: str = ""
    """The kernel's name of its device, ``sda2`` or ``dm-0``; of one in several devices, any."""
    uuid: str = ""
    label: str = ""
    partuuid: str = ""

    def is_called(self, by: SearchBy, value: str) -> bool | None:
        """Tell whether ``search`` finds it by that name; None where that is not known."""
        if by is SearchBy.LABEL:
            return self.label == value if self.label else None
        if by is SearchBy.PARTITION:
            return None
        owns = [self.uuid, self.partuuid] if by is SearchBy.UUID else [self.uuid]
        if value.lower() in (own.lower() for own in owns if own):
            return True
        return False if all(owns) else None


UNKNOWN = Volume()


@dataclass(frozen=True, slots=True)
class Mounted:
    """A file system, or a part of one, that is at hand below the root."""

    place: str
    """Where, an absolute path below the root."""
    kind: str = ""
    """As mount(8) names it: ``ext4``, ``btrfs``, ``zfs``; "" where that is not known."""
    source: str = ""
    """As it was mounted: ``/dev/sda2``, ``UUID=…``, or the dataset's name with ZFS."""
    directory: str = "/"
    """The directory of the file system that is there: with Btrfs, the subvolume's path from the
    top level on; with ZFS and others "/"."""
    volume: Volume = UNKNOWN

    def __str__(self) -> str:
        """Describe it in words."""
        return f"what is mounted on {self.place}"

    def path_of(self, place: str) -> str:
        """Return how a boot loader names a file below :attr:`place`."""
        below = place[len(self.place.rstrip("/")) :].lstrip("/")
        if self.kind == "zfs":
            dataset, _, snapshot = self.source.partition("@")
            return posixpath.join(f"/{dataset.partition('/')[2]}@{snapshot}", below)
        return posixpath.join(self.directory, below)


def is_below(path: str, directory: str) -> bool:
    """Tell whether an absolute path is a directory, or of something in it."""
    return (path + "/").startswith(directory.rstrip("/") + "/")


def split_zfs(path: str) -> tuple[str, str, str] | None:
    """Take ``/DATASET@SNAPSHOT/PATH`` apart; the dataset is without its pool.

    None for a path without ``@``. The snapshot is "" for the dataset as it is now.
    """
    match = _ZFS_PATH.fullmatch(path)
    return None if match is None else (match[1], match[2], match[3] or "/")


def places_of(path: str, mounts: Iterable[Mounted]) -> list[tuple[Mounted, str]]:
    """Return where a path of one file system may be, the deepest mount first.

    ``mounts`` are those of that file system. A place counts only if nothing else is mounted there.
    """
    found: list[tuple[int, Mounted, str]] = []
    for mount in mounts:
        if mount.kind == "zfs":
            place = _zfs_place(path, mount)
            if place is not None:
                found.append((len(mount.source), mount, place))
        elif is_below(path, mount.directory):
            below = path[len(mount.directory.rstrip("/")) :].lstrip("/")
            found.append((len(mount.directory), mount, posixpath.join(mount.place, below)))
    found.sort(key=lambda item: item[0], reverse=True)
    return [(mount, place.rstrip("/") or "/") for _, mount, place in found]


def _zfs_place(path: str, mount: Mounted) -> str | None:
    parts = split_zfs(path)
    if parts is None:
        return None
    dataset, snapshot, below = parts
    own, _, own_snapshot = mount.source.partition("@")
    if own.partition("/")[2] != dataset:
        return None
    if own_snapshot:
        return posixpath.join(mount.place, below[1:]) if own_snapshot == snapshot else None
    start = mount.place if not snapshot else f"{mount.place.rstrip('/')}/.zfs/snapshot/{snapshot}"
    return posixpath.join(start, below[1:])


def partition_number(device: str) -> int | None:
    """Return which partition of its disk a device of the kernel's is; None where it is none."""
    match = _PARTITION.fullmatch(device)
    return int(match[1]) if match else None


def grub_partition(name: str) -> int | None:
    """Return the number of the partition in GRUB's ``hd0,gpt2``; None for other devices."""
    match = _GRUB_PARTITION.fullmatch(name)
    return int(match[1]) if match else None


def grub_drive(name: str) -> int:
    """Return the number of the disk in GRUB's ``hd0,gpt2``, from 0 on; 0 for other devices."""
    match = _GRUB_DRIVE.match(name)
    return int(match[1]) if match else 0


def _identity(mount: Mounted) -> Volume | str:
    """Return what two mounts of one file system have in common."""
    if mount.kind == "zfs":
        return mount.source.partition("/")[0].partition("@")[0]
    return mount.volume if mount.volume != UNKNOWN else mount.place


@dataclass(frozen=True, slots=True)
class MountTable:
    """What is mounted where below a root, and which file systems there are besides."""

    mounts: tuple[Mounted, ...] = ()
    """Those that can be reached; no two on one place."""
    volumes: tuple[Volume, ...] = ()
    """Of all file systems that are known, mounted or not."""
    arrays: Mapping[str, str] = field(default_factory=dict)
    """The kernel's names of RAID arrays, by their own name or number."""

    def at(self, place: str) -> Mounted | None:
        """Return what covers a place, None where nobody can tell."""
        covering = [mount for mount in self.mounts if is_below(place, mount.place)]
        return max(covering, key=lambda mount: len(mount.place), default=None)

    def systems(self) -> list[tuple[Mounted, ...]]:
        """Return the mounts of each file system; with ZFS, of each pool."""
        found: dict[Volume | str, list[Mounted]] = {}
        for mount in self.mounts:
            found.setdefault(_identity(mount), []).append(mount)
        return [tuple(mounts) for mounts in found.values()]

    def same_as(self, mount: Mounted) -> tuple[Mounted, ...]:
        """Return all mounts of the file system, or pool, that ``mount`` is of."""
        identity = _identity(mount)
        return tuple(item for item in self.mounts if _identity(item) == identity)

    def called(self, by: SearchBy, value: str) -> tuple[Mounted, ...]:
        """Return the mounts of the file system that ``search`` finds by uuid or label."""
        found = [mount for mount in self.mounts if mount.volume.is_called(by, value)]
        return self.same_as(found[0]) if found else ()

    def volume_called(self, by: SearchBy, value: str) -> Volume | None:
        """Return a file system, mounted or not; None for one that nothing tells of."""
        return next((volume for volume in self.volumes if volume.is_called(by, value)), None)

    def devices(self) -> set[str]:
        """Return the kernel's names of all devices with a file system that are known."""
        volumes = (*self.volumes, *(mount.volume for mount in self.mounts))
        return {volume.device for volume in volumes if volume.device}

    def on_partition(self, number: int) -> set[str]:
        """Return the devices that are partition ``number`` of some disk."""
        return {device for device in self.devices() if partition_number(device) == number}

    def disks(self) -> int:
        """Return how many disks are known to have a partition with a file system."""
        return len({match[0] for match in map(_DISK.match, self.devices()) if match})
