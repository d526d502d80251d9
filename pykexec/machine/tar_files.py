"""A machine directory that is still in its tar: read there, never unpacked.

What comes from anybody is not written anywhere, and no link in it leads out.
"""

from __future__ import annotations

import errno
import os
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING

from pykexec.machine.files import FILE, FILE_MAX, LINES_MAX, RECORD_HINT, MachineFiles
from pykexec.machine.opening import UnfitFileError, open_regular
from pykexec.machine.tar_headers import Kind, Member, NotTarError, members
from pykexec.values.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Callable


class TarFiles(MachineFiles):
    """The files in a tar, below the directory that holds ``machine.json``."""

    def __init__(self, root: os.PathLike[str] | str) -> None:
        super().__init__(root)
        self.is_live = False
        self._members: dict[str, Member] = {}
        self._directories: dict[str, set[str]] = {".": set()}
        try:
            found = self._read_headers()
        except (NotTarError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error.message
            raise MachineError(
                f"{self.root} is neither a machine directory nor a tar of one: {reason}",
                # Not compressed: nobody knows how large such a thing gets.
                hint="unpack a compressed one; make one with: pykexec machine record FILE.tar",
            ) from error
        except MachineError as error:
            raise MachineError(f"{self.root}: {error.message}", hint=RECORD_HINT) from error
        top = _top_of(found)
        for member in found:
            if member.name.startswith(top) and member.name != top:
                self._add(member.name[len(top) :], member)
        self._check_places()

    def _read_headers(self) -> list[Member]:
        descriptor = open_regular(self.root)
        try:
            end = os.fstat(descriptor).st_size
            return list(members(lambda offset, size: os.pread(descriptor, size, offset), end))
        finally:
            os.close(descriptor)

    def _add(self, name: str, member: Member) -> None:
        if member.kind is Kind.DIRECTORY:
            self._directories.setdefault(name, set())
        elif name in self._members:
            raise MachineError(f"{self.root} has two members {name!r}", hint=RECORD_HINT)
        else:
            self._members[name] = member
        while name != ".":
            parent, base = os.path.split(name)
            name = parent or "."
            known = self._directories.setdefault(name, set())
            if base in known:
                break
            known.add(base)

    def _check_places(self) -> None:
        both = sorted(self._members.keys() & self._directories.keys())
        if both:
            raise MachineError(
                f"{self.root} has {both[0]!r} as a directory and as something else",
                hint=RECORD_HINT,
            )

    @property
    def exists(self) -> bool:
        """It is there: it has been opened."""
        return True

    def open(self, name: str) -> int:
        """Nothing in a tar has a descriptor of its own; raises OSError."""
        raise self._missing(name)

    def load(self, name: str) -> bytes:
        """Return a whole file; raises OSError, or :class:`MachineError`."""
        size = self.size(name)
        with self._refusing():
            if size > FILE_MAX:
                raise UnfitFileError(f"larger than {FILE_MAX} bytes", self.path(name), errno.EFBIG)
        return self.head(name, size)

    def head(self, name: str, size: int) -> bytes:
        """Return the first ``size`` bytes of a file, less when it ends before; as :meth:`load`."""
        member = self._member(name)
        descriptor = open_regular(self.root)
        try:
            data = os.pread(descriptor, min(size, member.size), member.offset)
        finally:
            os.close(descriptor)
        self._count(name, len(data))
        return data

    def size(self, name: str) -> int:
        """Return the size of a file in bytes; as :meth:`load`."""
        return self._member(name).size

    def entries(self, name: str) -> list[str]:
        """Return the names in a directory, in no order; raises OSError."""
        found = self._directories.get(os.path.normpath(name))
        if found is None:
            raise self._missing(name)
        return list(found)

    def members(self, name: str) -> list[tuple[str, bool]]:
        """Return name and "is a directory" of what is in a directory and no link."""
        found = []
        for base in self.entries(name):
            path = os.path.normpath(f"{name}/{base}")
            member = self._members.get(path)
            if member is None or member.kind not in (Kind.LINK, Kind.HARD_LINK):
                found.append((base, member is None))
        return found

    def scan(self, name: str, wanted: Callable[[bytes], bool], limit: int) -> list[bytes]:
        """Return the first ``limit`` lines that are ``wanted``; as :meth:`load`."""
        data = self.load(name)
        if data.count(b"\n") > LINES_MAX:
            raise MachineError(f"{self.path(name)}: more than {LINES_MAX} lines", hint=RECORD_HINT)
        return list(islice(filter(wanted, BytesIO(data)), limit))

    def is_link(self, name: str) -> bool:
        """Tell whether there is a symbolic link of that name."""
        member = self._members.get(os.path.normpath(name))
        return member is not None and member.kind is Kind.LINK

    def _member(self, name: str) -> Member:
        """Return a file in the tar; raises OSError, and refuses what else has that name."""
        normal = at = os.path.normpath(name)
        while "/" in at and at not in self._members:
            at = at.rpartition("/")[0]
        member = self._members.get(at)
        if member is None or (member.kind is Kind.FILE and at != normal):
            raise self._missing(name)
        with self._refusing():
            if member.kind is not Kind.FILE:
                raise UnfitFileError(f"no regular file, but {member.kind.value}", self.path(at))
        return member

    def _missing(self, name: str) -> OSError:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path(name))


def _top_of(found: list[Member]) -> str:
    """Return what stands in front of the machine's own names, ``box/`` in most tars."""
    names = [member.name for member in found if os.path.basename(member.name) == FILE]
    return min(names, key=len).removesuffix(FILE) if names else ""
