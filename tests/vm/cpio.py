"""A writer of initramfs archives: cpio in the "newc" format, without root.

Device nodes are entries like any other, so no file system has to hold them first.
Linux Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
ALIGN = 4
ARCHIVE_ALIGN = 512
"""Archives may be put one behind the other when each starts at a multiple of four."""


class Writer(Protocol):
    """What files can be added to."""

    def directory(self, name: str, mode: int = 0o755) -> None:
        """Add a directory, unless it is there already."""

    def file(self, name: str, data: bytes | str | Path, mode: int | None = None) -> None:
        """Add a file: its contents, or the host's file that has them (and its mode)."""

    def symlink(self, name: str, target: str) -> None:
        """Add a symbolic link."""

    def device(self, name: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a character device."""


class DirectoryWriter:
    """Writes what would be an archive's below a directory; devices are left out."""

    def __init__(self, root: Path) -> None:
        """Write below ``root``."""
        self._root = root

    def directory(self, name: str, mode: int = 0o755) -> None:
        """Make a directory, unless it is there already."""
        self._place(name).mkdir(mode, exist_ok=True)

    def file(self, name: str, data: bytes | str | Path, mode: int | None = None) -> None:
        """Write a file; see :meth:`Writer.file`."""
        contents, mode = _contents(data, mode)
        place = self._place(name)
        place.write_bytes(contents)
        place.chmod(mode)

    def symlink(self, name: str, target: str) -> None:
        """Make a symbolic link."""
        self._place(name).symlink_to(target)

    def device(self, name: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Make nothing: that needs root."""

    def _place(self, name: str) -> Path:
        place = self._root / name.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        return place


def _contents(data: bytes | str | Path, mode: int | None) -> tuple[bytes, int]:
    """Return what a file is to hold, and its mode: that of the host's file, or 0644."""
    if isinstance(data, Path):
        mode = data.stat().st_mode & 0o777 if mode is None else mode
        data = data.read_bytes()
    return data.encode() if isinstance(data, str) else data, 0o644 if mode is None else mode


class CpioWriter:
    """Writes one archive; directories on the way to an entry are made when missing.

    Owner, group and times are zero, so equal input gives equal bytes.
    """

    def __init__(self, out: BinaryIO) -> None:
        """Write to ``out``, from its current position on; :meth:`close` ends the archive."""
        self._out = out
        self._written = 0
        self._inode = 0
        self._seen: set[PurePosixPath] = {PurePosixPath()}

    def directory(self, name: str, mode: int = 0o755) -> None:
        """Add a directory, unless it is there already."""
        path = self._normal(name)
        if path not in self._seen:
            self._entry(path, stat.S_IFDIR | mode, b"")

    def file(self, name: str, data: bytes | str | Path, mode: int | None = None) -> None:
        """Add a file: its contents, or the host's file that has them (and its mode)."""
        contents, mode = _contents(data, mode)
        self._entry(self._normal(name), stat.S_IFREG | mode, contents)

    def symlink(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self._entry(self._normal(name), stat.S_IFLNK | 0o777, target.encode())

    def device(self, name: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a character device."""
        self._entry(self._normal(name), stat.S_IFCHR | mode, b"", (major, minor))

    def close(self) -> None:
        """Write the trailer; the underlying file stays open."""
        self._record(TRAILER, 0, b"", (0, 0))
        self._write(bytes(-self._written % ARCHIVE_ALIGN))

    @staticmethod
    def _normal(name: str) -> PurePosixPath:
        return PurePosixPath(name.lstrip("/"))

    def _entry(
        self, path: PurePosixPath, mode: int, data: bytes, device: tuple[int, int] = (0, 0)
    ) -> None:
        for parent in reversed(path.parents):
            if parent not in self._seen:
                self._entry(parent, stat.S_IFDIR | 0o755, b"")
        self._seen.add(path)
        self._record(str(path), mode, data, device)

    def _record(self, name: str, mode: int, data: bytes, device: tuple[int, int]) -> None:
        self._inode += 1
        encoded = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (self._inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(encoded), 0)
        self._write(MAGIC + b"".join(b"%08x" % field for field in fields) + encoded)
        self._write(bytes(-self._written % ALIGN))
        self._write(data)
        self._write(bytes(-self._written % ALIGN))

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._written += len(data)
