"""A live update orchestrator of files and locks, which answers ioctls as Linux 7.2 does."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

_NAMED = struct.Struct("=Ii64s")
_FILE = struct.Struct("=IiQ")


def _fail(number: int) -> OSError:
    return OSError(number, os.strerror(number))


class Orchestrator:
    """Sessions are files with a lock: open in whatever process, and closed with the last one.

    What a session has preserved lies below ``out``; :meth:`jump` makes it what came over.
    """

    def __init__(self, root: Path) -> None:
        """Keep everything below ``root``."""
        self.root = root
        self.device = root / "liveupdate"
        self.device.touch()
        for name in ("out", "in"):
            (root / name).mkdir()

    def jump(self) -> None:
        """Let the next kernel have what is held now."""
        (self.root / "in").rename(self.root / "gone")
        (self.root / "out").rename(self.root / "in")
        (self.root / "out").mkdir()
        for session in (self.root / "in").iterdir():
            if not self._is_held(session):
                (session / "finished").touch()
            else:
                (session / "lock").rename(session / "lock before")
                (session / "lock").touch()

    @staticmethod
    def _is_held(session: Path) -> bool:
        with (session / "lock").open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def ioctl(self, descriptor: int, number: int, argument: bytes) -> bytes:
        """Answer one."""
        call = {
            0xBA00: self._create,
            0xBA01: self._retrieve,
            0xBA40: self._preserve_fd,
            0xBA41: self._retrieve_fd,
            0xBA42: self._finish,
        }[number]
        return call(descriptor, argument)

    def _create(self, _: int, argument: bytes) -> bytes:
        size, _, name = _NAMED.unpack(argument)
        session = self.root / "out" / name.rstrip(b"\0").hex()
        if session.exists() and self._is_held(session):
            raise _fail(errno.EEXIST)
        if session.exists():
            session.rename(self.root / f"closed {len(list(self.root.iterdir()))}")
        session.mkdir()
        (session / "lock").touch()
        return _NAMED.pack(size, self._locked(session), name)

    def _retrieve(self, _: int, argument: bytes) -> bytes:
        size, _, name = _NAMED.unpack(argument)
        session = self.root / "in" / name.rstrip(b"\0").hex()
        if not session.exists() or (session / "finished").exists():
            raise _fail(errno.ENOENT)
        if self._is_held(session):
            raise _fail(errno.EINVAL)
        return _NAMED.pack(size, self._locked(session), name)

    @staticmethod
    def _locked(session: Path) -> int:
        descriptor = os.open(session / "lock", os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return descriptor

    @staticmethod
    def _session(descriptor: int) -> Path:
        return Path(os.readlink(f"/proc/self/fd/{descriptor}")).parent

    def _preserve_fd(self, descriptor: int, argument: bytes) -> bytes:
        _, file, token = _FILE.unpack(argument)
        session = self._session(descriptor)
        if session.parent.name != "out":
            raise _fail(errno.EINVAL)
        try:
            fcntl.fcntl(file, fcntl.F_GET_SEALS)
        except OSError:
            raise _fail(errno.ENOENT) from None
        if (session / str(token)).is_symlink():
            raise _fail(errno.EEXIST)
        # What is in it is what is in it at the jump: whoever holds the session holds this, too.
        os.symlink(f"/proc/{os.getpid()}/fd/{os.dup(file)}", session / str(token))
        return argument

    def _retrieve_fd(self, descriptor: int, argument: bytes) -> bytes:
        size, _, token = _FILE.unpack(argument)
        session = self._session(descriptor)
        if session.parent.name != "in":
            raise _fail(errno.EINVAL)
        if not (session / str(token)).exists():
            raise _fail(errno.ENOENT)
        return _FILE.pack(size, os.open(session / str(token), os.O_RDWR | os.O_CLOEXEC), token)

    def _finish(self, descriptor: int, argument: bytes) -> bytes:
        session = self._session(descriptor)
        if session.parent.name != "in":
            raise _fail(errno.EINVAL)
        (session / "finished").touch()
        return argument

    def hand_over(self, name: str, files: dict[int, bytes]) -> None:
        """Let the kernel before have handed a session over."""
        session = self.root / "in" / name.encode().hex()
        session.mkdir()
        (session / "lock").touch()
        for token, data in files.items():
            (session / str(token)).write_bytes(data)
