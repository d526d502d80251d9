"""What is mounted where below a root, and which file system each is.

The running machine's mounts, where they reach below the root; those of a record of ``/proc`` in
it; else what fstab(5) says of a plain copy of a system. Who a file system is, udev's links in
``/dev/disk`` tell, ``/sys/fs/btrfs`` for one of several devices, and fstab.
"""

from __future__ import annotations

import os
import posixpath
import re

from pykexec.entries.file_systems import UNKNOWN, Mounted, MountTable, Volume, is_below
from pykexec.machine.boot_tree import BootTree
from pykexec.values.data_classes import dataclass, replace

MOUNTINFO = "/proc/self/mountinfo"
_FSTAB = "/etc/fstab"
_LINKS = {
    "uuid": "/dev/disk/by-uuid",
    "label": "/dev/disk/by-label",
    "partuuid": "/dev/disk/by-partuuid",
}
_ARRAYS = "/dev/md"
_BTRFS = "/sys/fs/btrfs"
_SUBVOLUME_INODE = 256
"""BTRFS_FIRST_FREE_OBJECTID: the root directory of every subvolume."""
_OCTAL = re.compile(r"\\([0-7]{3})")
_HEX = re.compile(r"\\x([0-9a-fA-F]{2})")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of mountinfo."""

    id: str
    parent: str
    number: str
    directory: str
    place: str
    kind: str
    source: str


def read_mounts(tree: BootTree) -> MountTable:
    """Read what is mounted below the root of ``tree``; what cannot be read is not known."""
    host = BootTree("/")
    recorded = tree.root != "/" and tree.exists(MOUNTINFO) and not _is_proc(tree)
    names = _Names(tree if recorded else host)
    lines = _reachable(_parse(_text(tree if recorded else host, MOUNTINFO)))
    if recorded or tree.root == "/":
        mounts = [names.mounted(line) for line in lines]
    else:
        mounts = _below(tree.root, lines, names)
    fstab = [_of_fstab(fields, names) for fields in _fstab_lines(_text(tree, _FSTAB))]
    if not any(mount.place == "/" for mount in mounts):
        # A copy: each file system of the original is where fstab puts it.
        known = {mount.place for mount in mounts}
        mounts += [item for item in fstab if item.place not in known and tree.exists(item.place)]
    mounts = [_completed(mount, fstab) for mount in mounts]
    unique = {mount.place: mount for mount in mounts}
    named = {item.volume: None for item in fstab if item.volume.uuid or item.volume.label}
    volumes = tuple({**dict.fromkeys(names.volumes()), **named})
    return MountTable(tuple(unique.values()), volumes, names.arrays())


def _text(tree: BootTree, path: str) -> str:
    try:
        return tree.text(path) or ""
    except OSError:
        return ""


def _is_proc(tree: BootTree) -> bool:
    """Tell whether the root's /proc is the running kernel's, as in a root for chroot(8)."""
    own, running = tree.identity("/proc"), BootTree("/").identity("/proc")
    return own is not None and own == running


def _plain(field: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), field)


def _parse(text: str) -> list[_Line]:
    found = []
    for line in text.splitlines():
        before, separator, behind = line.partition(" - ")
        first, last = before.split(" "), behind.split(" ")
        if separator and len(first) >= 5 and len(last) >= 2:
            numbers = first[:3]
            words = (first[3], first[4], last[0], last[1])
            found.append(_Line(*numbers, *map(_plain, words)))
    return found


def _reachable(lines: list[_Line]) -> list[_Line]:
    """Return the mounts that no other has covered: a path leads through the topmost ones."""
    ids = {line.id for line in lines}
    children: dict[str, list[_Line]] = {}
    for line in lines:
        children.setdefault(line.parent if line.parent != line.id else "", []).append(line)
    # The parent of the topmost mount is of another namespace.
    waiting = [line for line in lines if line.parent not in ids or line.parent == line.id]
    found: list[_Line] = []
    seen: set[str] = set()
    while waiting:
        line = waiting.pop()
        if line.id in seen:
            continue
        seen.add(line.id)
        below = children.get(line.id, [])
        on_top = [child for child in below if child.place == line.place]
        if on_top:
            waiting += on_top
            continue
        found.append(line)
        places = {child.place for child in below}
        waiting += [child for child in below if not places.intersection(_above(child.place))]
    return found


def _above(place: str) -> list[str]:
    """Return the directories that an absolute path is in, without the topmost one."""
    parts = place.strip("/").split("/")
    return ["/" + "/".join(parts[:count]) for count in range(1, len(parts))]


def _below(root: str, lines: list[_Line], names: _Names) -> list[Mounted]:
    """Return the mounts at and below ``root``, with their places as the system there has them."""
    real = os.path.realpath(root)
    mounts = [names.mounted(line) for line in lines]
    found = [
        replace(mount, place=mount.place[len(real) :] or "/")
        for mount in mounts
        if is_below(mount.place, real)
    ]
    if any(mount.place == "/" for mount in found):
        return found
    around = MountTable(tuple(mounts)).at(real)
    if around is not None and around.kind == "btrfs" and os.stat(real).st_ino == _SUBVOLUME_INODE:
        found.append(replace(around, place="/", directory=around.path_of(real)))
    return found


class _Names:
    """What udev and Btrfs tell of the file systems on block devices."""

    def __init__(self, tree: BootTree) -> None:
        self._tree = tree
        self._known: dict[str, Volume] = {}
        for kind, directory in _LINKS.items():
            for name, device in self._links(directory):
                known = self._known.get(device, Volume(device))
                plain = _HEX.sub(lambda match: chr(int(match[1], 16)), name)
                self._known[device] = replace(known, **{kind: plain})
        for uuid in self._names(_BTRFS):
            for device in self._names(f"{_BTRFS}/{uuid}/devices"):
                self._known[device] = replace(self._known.get(device, Volume(device)), uuid=uuid)

    def volumes(self) -> tuple[Volume, ...]:
        return tuple(self._known.values())

    def arrays(self) -> dict[str, str]:
        """Return the kernel's names of RAID arrays, by what they are called in ``/dev/md``."""
        return {name: device for name, device in self._links(_ARRAYS) if device}

    def mounted(self, line: _Line) -> Mounted:
        """Return a mount with what is known of its file system."""
        volume = self._of_pool(line.source) if line.kind == "zfs" else self._of(line)
        return Mounted(line.place, line.kind, line.source, line.directory, volume)

    def of_source(self, source: str) -> Volume:
        """Return the file system that fstab(5) names."""
        kind, equals, value = source.partition("=")
        value = value.strip('"')
        field = {"UUID": "uuid", "LABEL": "label", "PARTUUID": "partuuid"}.get(kind)
        if equals and field is not None:
            same = (v for v in self._known.values() if getattr(v, field) == value)
            return next(same, Volume(**{field: value}))
        if not source.startswith("/dev/"):
            return UNKNOWN
        device = self._device(source)
        return self._known.get(device, Volume(device))

    def _of(self, line: _Line) -> Volume:
        link = f"/sys/dev/block/{line.number}"
        device = self._target(link) or (
            self._device(line.source) if line.source.startswith("/dev/") else ""
        )
        known = self._known.get(device)
        if known is None:
            return Volume(device)
        # One name for a file system of several devices: of those, udev links one only.
        same = (v for v in self._known.values() if v.uuid and v.uuid == known.uuid)
        return next(same, known) if line.kind == "btrfs" else known

    def _of_pool(self, dataset: str) -> Volume:
        """Return a pool: its name is its label; GRUB has its number in hexadecimal."""
        pool = re.split("[/@]", dataset)[0]
        member = next((v for v in self._known.values() if v.label == pool), Volume(label=pool))
        uuid = f"{int(member.uuid):016x}" if member.uuid.isdecimal() else ""
        return replace(member, uuid=uuid)

    def _device(self, path: str) -> str:
        """Return the kernel's name of a device, or what is behind ``/dev/`` where none is."""
        return self._target(path) or path.removeprefix("/dev/")

    def _target(self, path: str) -> str:
        """Return what a link's target is called, "" for what is no link."""
        place = self._tree.place(posixpath.dirname(path))
        if place is None or "\0" in path:
            return ""
        try:
            link = os.readlink(os.path.join(place, posixpath.basename(path)))
        except OSError:
            return ""
        return posixpath.basename(link)

    def _names(self, directory: str) -> list[str]:
        try:
            return self._tree.names(directory)
        except OSError:
            return []

    def _links(self, directory: str) -> list[tuple[str, str]]:
        return [(name, self._target(f"{directory}/{name}")) for name in self._names(directory)]


def _fstab_lines(text: str) -> list[list[str]]:
    lines = [line.split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [fields for fields in lines if len(fields) >= 3 and fields[1].startswith("/")]


def _of_fstab(fields: list[str], names: _Names) -> Mounted:
    source, place, kind = map(_plain, fields[:3])
    options = fields[3].split(",") if len(fields) > 3 else []
    subvolume = next((o.removeprefix("subvol=") for o in options if o.startswith("subvol=")), "")
    directory = posixpath.join("/", subvolume) if kind == "btrfs" else "/"
    return Mounted(posixpath.normpath(place), kind, source, directory, names.of_source(source))


def _completed(mount: Mounted, fstab: list[Mounted]) -> Mounted:
    """Return a mount with the names that fstab has for it, where nothing else tells any."""
    said = next((item for item in fstab if item.place == mount.place), None)
    if said is None or said.kind != mount.kind or mount.volume.uuid or mount.volume.label:
        return mount
    return replace(mount, volume=replace(said.volume, device=mount.volume.device))
