"""A target as the capture kernel will find it: by what stays the same. Pure."""

from __future__ import annotations

import posixpath
import shlex
from typing import TYPE_CHECKING

from pykexec.crash_setup.settings import Kind, Target
from pykexec.values.data_classes import dataclass

if TYPE_CHECKING:
    from pykexec.crash_setup.settings import Settings
    from pykexec.entries.file_systems import MountTable

NO_DISK = frozenset(("tmpfs", "ramfs", "overlay", "squashfs", "erofs", "proc", "sysfs", "devtmpfs"))
"""File systems that are gone with the crash, or cannot be written to."""
OTHER_NETWORK = frozenset(("nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "ceph", "fuse.sshfs"))


@dataclass(frozen=True, slots=True)
class Link:
    """The way to a host: one interface, with the address that it has now."""

    interface: str
    mac: str
    peer: str
    """The host's address."""
    address: str
    """Its own, with its prefix: ``192.0.2.7/24``."""
    gateway: str = ""
    drivers: tuple[str, ...] | None = ()
    """Modules of the interface and of the buses it is on; None for one that other interfaces or
    programs make, and the capture kernel has not."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the saver puts a dump."""

    target: str
    """``local``, ``device``, ``nfs`` or ``ssh``: CAPTURE_TARGET of the saver."""
    device: str = ""
    """``UUID=…``, or a path below /dev."""
    fstype: str = ""
    options: str = ""
    directory: str = "/"
    """Within the file system, or on the host."""
    host: str = ""
    """``ADDRESS:/EXPORT`` or ``USER@ADDRESS``: nobody tells names there."""
    alias: str = ""
    """Of SSH: under which name the host's key is known."""
    mount: str = ""
    """Where the file system is mounted in the running system; "" for nowhere."""
    modules: tuple[str, ...] = ()
    link: Link | None = None
    key: str = ""

    @property
    def device_file(self) -> str:
        """The device's file."""
        uuid = self.device.removeprefix("UUID=")
        return self.device if uuid == self.device else f"/dev/disk/by-uuid/{uuid}"


def resolve(target: Target, mounts: MountTable, link: Link | None = None) -> Place | str:
    """Find how the capture kernel reaches ``target``; a text says why it cannot."""
    if target.kind is Kind.DIRECTORY:
        return _of_directory(target.directory, mounts)
    if target.kind is Kind.FILE_SYSTEM:
        device = target.source
        if not device.startswith(("UUID=", "/dev/")):
            return f"{device} does not name a device for good: write UUID=…"
        return Place("local", device, target.fstype, directory=target.directory,
                     modules=(target.fstype,))  # fmt: skip
    if target.kind is Kind.DEVICE:
        return Place("device", target.source)
    if link is None:
        return f"there is no way to {target.source} now, by a network interface with an address"
    if link.drivers is None:
        return (
            f"the way to {target.source} is {link.interface}: a tunnel, a VLAN, a radio or the "
            "like, which the capture kernel will not have"
        )
    if target.kind is Kind.NFS:
        options = "nolock,soft,timeo=600,retrans=5"
        return Place("nfs", fstype="nfs", options=options, directory=target.directory,
                     host=f"{_peer(link)}:{target.source.partition(':')[2]}",
                     modules=("nfs", "nfsv4", *link.drivers), link=link)  # fmt: skip
    user, at, name = target.source.rpartition("@")
    return Place("ssh", directory=target.directory, host=f"{user}{at}{link.peer}", alias=name,
                 modules=link.drivers, link=link, key=target.key)  # fmt: skip


def host_of(target: Target) -> str:
    """Return the name of the host that a target is on, "" for this one."""
    if target.kind is Kind.NFS:
        return target.source.rpartition(":")[0].strip("[]")
    return target.source.rpartition("@")[2] if target.kind is Kind.SSH else ""


def _peer(link: Link) -> str:
    return f"[{link.peer}]" if ":" in link.peer else link.peer


def _of_directory(directory: str, mounts: MountTable) -> Place | str:
    found = mounts.at(directory)
    if found is None:
        return f"nobody can tell which file system {directory} is on"
    if found.kind in NO_DISK:
        return f"{directory} is on {found.kind}, which is on no disk: name another target"
    if found.kind in OTHER_NETWORK or found.kind == "zfs":
        return f"{directory} is on {found.kind}, which a capture kernel does not mount by itself"
    if not found.volume.uuid:
        return f"the file system of {directory} has no UUID by which it could be found again"
    # Of Btrfs the top level, from where the path leads through the subvolumes.
    options = "subvolid=5" if found.kind == "btrfs" else ""
    return Place(
        "local",
        f"UUID={found.volume.uuid}",
        found.kind,
        options,
        posixpath.normpath(found.path_of(directory)),
        mount=found.place,
        modules=(found.kind,),
    )


def saver_config(place: Place, settings: Settings, makedumpfile: str, host_name: str) -> bytes:
    """Return /etc/pykexec-capture.conf, which the saver reads as a shell script."""
    link = place.link or Link("", "", "", "")
    values = {
        "TARGET": place.target,
        "DEVICE": place.device,
        "FSTYPE": place.fstype,
        "OPTIONS": place.options,
        "MODULES": " ".join(place.modules),
        "PATH": place.directory,
        "HOST": place.host,
        "ALIAS": place.alias,
        "HOST_NAME": "127.0.0.1" if place.target in ("local", "device") else host_name,
        "MAC": link.mac,
        "ADDRESS": link.address,
        "GATEWAY": link.gateway,
        "MAKEDUMPFILE": makedumpfile,
        "FINAL": settings.final,
        "FAILURE": settings.failure,
    }
    lines = ["# Written by pykexec crash setup, and read by /usr/lib/pykexec/capture/save."]
    lines += [f"CAPTURE_{name}={shlex.quote(value)}" for name, value in values.items()]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")
