"""Guests' archives, and directories with the same in them, from files of the host."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Protocol

from pykexec.initramfs import cpio


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


class CpioWriter(cpio.CpioWriter):
    """Writes one archive, of the host's files too."""

    def file(self, name: str, data: bytes | str | Path, mode: int | None = None) -> None:
        """Add a file: its contents, or the host's file that has them (and its mode)."""
        contents, mode = _contents(data, mode)
        self.entry(name, stat.S_IFREG | mode, contents)
