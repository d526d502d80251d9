"""What GRUB means by a file: a device as GRUB knows it, and a path on it. Pure.

GNU GRUB Manual, "Device syntax", "File name syntax", and "search". The contract between GRUB's
script and the machine below a root:

* The interpreter makes a :class:`FileReference` of every file name that it comes across, and
  knows nothing of mounts. A path in it is relative to the file system of its device, with what
  GRUB has in front on Btrfs (``/@/boot``) and ZFS (``/BOOT/x@/``).
* A :class:`Resolver` is made for one configuration file, whose file system is GRUB's own device
  at the start. It answers with an absolute path below the root that exists, or with
  :class:`Absent`, which says why in words that end a sentence.
* "Not there" and "not to be known" differ. :attr:`Absent.certain` is true when the file system
  that GRUB means is at hand and has no such file; then ``[ -f FILE ]`` is false for GRUB too. It
  is false when that file system is not mounted, or nothing tells which one it is; then nobody
  can answer before GRUB does.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from pykexec.values.data_classes import dataclass


class SearchBy(StrEnum):
    """What ``search`` looks for."""

    FS_UUID = "fs-uuid"
    LABEL = "label"
    FILE = "file"
    UUID = "uuid"
    """Of the file system or of its partition: Limine's and rEFInd's."""
    PARTITION = "drive and partition"
    """Both by their numbers from 1 on, ``2:1``: Limine's."""


@dataclass(frozen=True, slots=True)
class Search:
    """The file system that ``search --set`` finds."""

    by: SearchBy
    value: str
    hints: tuple[str, ...] = ()
    """Devices to try first, as GRUB knows them: ``hd0,gpt2``."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device of GRUB's; without any name, the one that its configuration is on."""

    name: str = ""
    """As in parentheses: ``hd0,gpt2``, ``lvm/vg-boot``, ``cryptouuid/…``."""
    search: Search | None = None
    """Given where the name comes from a search, which is all that is known of it."""

    @property
    def is_own(self) -> bool:
        """Tell whether this is the device that the configuration itself is on."""
        return not self.name and self.search is None

    def __str__(self) -> str:
        """Describe the device in words that follow "on"."""
        if self.search is not None:
            return f"the file system with {self.search.by} {self.search.value}"
        return f"GRUB's device ({self.name})" if self.name else "the file system of grub.cfg"


@dataclass(frozen=True, slots=True)
class FileReference:
    """A file, or a directory, as GRUB's script names it."""

    device: Device
    path: str
    """Absolute on that device's file system."""
    subvolume: str = ""
    """Of Btrfs, from the top level on: what the path is in, where SUSE's GRUB was told; "" is the
    default one."""

    def __str__(self) -> str:
        """Return the name as a script has it, without what a search stands for."""
        return f"({self.device.name}){self.path}" if self.device.name else self.path


@dataclass(frozen=True, slots=True)
class Absent:
    """A file that cannot be had, and why."""

    reason: str
    """Begins in lower case, has no full stop: ``the file system … is not mounted``."""
    certain: bool = True
    """GRUB would not find it either."""


class Resolver(Protocol):
    """Finds on this machine what GRUB's file names mean; made for one configuration file."""

    def reference(self, path: str) -> FileReference:
        """Return how GRUB names ``path``, absolute below the root, on its own device."""

    def find(self, reference: FileReference) -> str | Absent:
        """Return the absolute path below the root of an existing file or directory."""

    def find_likely(self, reference: FileReference) -> str | Absent:
        """Return it also where only the files that there are tell of the device."""

    def has(self, device: Device) -> bool | None:
        """Tell whether there is such a device; None when only GRUB knows."""
