"""A writer of initramfs archives: cpio in the "newc" format. Pure.

Linux Documentation/driver-api/early-userspace/buffer-format.rst. Device nodes are entries like
any other, so no file system has to hold them first. Owner and group are zero, and so are times
unless they are given: equal input gives equal bytes.
"""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Protocol

from pykexec.initramfs.tree import directories, in_order

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykexec.initramfs.tree import Entry

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
ALIGN = 4
ARCHIVE_ALIGN = 512
"""Archives may be put one behind the other when each starts at a multiple of four."""


class Sink(Protocol):
    """What takes the archive's bytes."""

    def write(self, data: bytes, /) -> object:
        """Take some more."""


class CpioWriter:
    """Writes one archive; directories on the way to an entry are made when missing."""

    def __init__(self, out: Sink, mtime: int = 0) -> None:
        """Write to ``out``; ``mtime``, in seconds, is that of every entry.

        :meth:`close` ends the archive.
        """
        self._out = out
        self._mtime = mtime
        self._written = 0
        self._inode = 0
        self._seen: set[str] = {""}

    def directory(self, name: str, mode: int = 0o755) -> None:
        """Add a directory, unless it is there already."""
        name = _normal(name)
        if name not in self._seen:
            self.entry(name, stat.S_IFDIR | mode, b"")

    def symlink(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self.entry(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a character device."""
        self.entry(name, stat.S_IFCHR | mode, b"", (major, minor))

    def entry(
        self, name: str, mode: int, contents: bytes, device: tuple[int, int] = (0, 0)
    ) -> None:
        """Add what ``mode``, type and permissions, says that it is."""
        name = _normal(name)
        parent = name.rpartition("/")[0]
        if parent not in self._seen:
            self.directory(parent)
        self._seen.add(name)
        self._inode += 1
        self._record(name, mode, contents, device)

    def close(self) -> None:
        """Write the trailer; what takes the bytes stays open."""
        self._record(TRAILER, 0, b"", (0, 0))
        self._write(bytes(-self._written % ARCHIVE_ALIGN))

    def _record(self, name: str, mode: int, data: bytes, device: tuple[int, int]) -> None:
        encoded = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        mtime = self._mtime if mode else 0
        fields = (self._inode, mode, 0, 0, links, mtime, len(data), 0, 0, *device)
        header = b"".join(b"%08x" % field for field in (*fields, len(encoded), 0))
        self._write(MAGIC + header + encoded)
        self._write(bytes(-self._written % ALIGN))
        self._write(data)
        self._write(bytes(-self._written % ALIGN))

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._written += len(data)


def _normal(name: str) -> str:
    return name.strip("/")


def write_archive(out: Sink, entries: Iterable[Entry], mtime: int = 0) -> None:
    """Write an archive of ``entries``, in the same order whatever theirs is."""
    ordered = in_order(entries)
    writer = CpioWriter(out, mtime)
    for place in directories(ordered):
        writer.directory(place)
    for entry in ordered:
        writer.entry(entry.place, entry.mode, entry.data)
    writer.close()
