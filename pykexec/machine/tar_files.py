"""A machine directory that is still in its tar: read there, never unpacked.

What comes from anybody is not written anywhere, and no link in it leads out.
"""

from __future__ import annotations

import errno
import os
import tarfile
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING

from pykexec.errors import MachineError
from pykexec.machine.description import FILE
from pykexec.machine.files import MachineFiles

if TYPE_CHECKING:
    from collections.abc import Callable

_FILE_MAX = 256 << 20
"""Bytes of one file; the largest that is recorded, IMA's list, has 64 MiB at most."""


class TarFiles(MachineFiles):
    """The files in a tar, below the directory that holds ``machine.json``."""

    def __init__(self, root: os.PathLike[str] | str) -> None:
        super().__init__(root)
        self.is_live = False
        self._files: dict[str, tuple[int, int]] = {}
        self._directories: dict[str, set[str]] = {".": set()}
        try:
            # Not compressed: nobody knows how large such a thing gets.
            with tarfile.open(self.root, "r:") as archive:
                members = archive.getmembers()
        except (tarfile.TarError, OSError) as error:
            raise MachineError(
                f"{self.root} is neither a machine directory nor a tar of one: {error}",
                hint="unpack a compressed one; make one with: pykexec machine record FILE.tar",
            ) from error
        top = _top_of(members)
        for member in members:
            name = os.path.normpath(member.name)
            if name.startswith(top) and (_is_plain(member) or member.isdir()):
                self._add(name[len(top) :], member)

    def _add(self, name: str, member: tarfile.TarInfo) -> None:
        if _is_plain(member):
            self._files[name] = member.offset_data, member.size
        else:
            self._directories.setdefault(name, set())
        while name:
            parent, base = os.path.split(name)
            self._directories.setdefault(parent or ".", set()).add(base)
            name = parent

    @property
    def exists(self) -> bool:
        """It is there: it has been opened."""
        return True

    def load(self, name: str) -> bytes:
        """Return a whole file; raises OSError."""
        _, size = self._place(name)
        if size > _FILE_MAX:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), self.path(name))
        return self.head(name, size)

    def head(self, name: str, size: int) -> bytes:
        """Return the first ``size`` bytes of a file, less when it ends before; raises OSError."""
        offset, length = self._place(name)
        with open(self.root, "rb") as file:
            file.seek(offset)
            return file.read(min(size, length))

    def entries(self, name: str) -> list[str]:
        """Return the names in a directory, in no order; raises OSError."""
        found = self._directories.get(os.path.normpath(name))
        if found is None:
            raise self._missing(name)
        return list(found)

    def members(self, name: str) -> list[tuple[str, bool]]:
        """Return name and "is a directory" of what is in a directory; raises OSError."""
        directory = os.path.normpath(name)
        return [
            (base, os.path.normpath(f"{directory}/{base}") in self._directories)
            for base in self.entries(name)
        ]

    def scan(self, name: str, wanted: Callable[[bytes], bool], limit: int) -> list[bytes]:
        """Return the first ``limit`` lines that are ``wanted``; raises OSError."""
        return list(islice(filter(wanted, BytesIO(self.load(name))), limit))

    def is_link(self, name: str) -> bool:
        """Tell whether there is a symbolic link of that name: links are passed over."""
        return False

    def _place(self, name: str) -> tuple[int, int]:
        """Return offset and size of a file's bytes in the tar."""
        place = self._files.get(os.path.normpath(name))
        if place is None:
            raise self._missing(name)
        return place

    def _missing(self, name: str) -> OSError:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path(name))


def _is_plain(member: tarfile.TarInfo) -> bool:
    """Tell whether the member is a file whose bytes stand in the tar as they are."""
    return member.isreg() and not member.issparse()


def _top_of(members: list[tarfile.TarInfo]) -> str:
    """Return what stands in front of the machine's own names, ``box/`` in most tars."""
    names = [os.path.normpath(member.name) for member in members]
    found = [name for name in names if os.path.basename(name) == FILE]
    return min(found, key=len).removesuffix(FILE) if found else ""
