"""The files that loads leave below /run: written whole, with a mode of their own, under a lock."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import contextmanager, suppress

from pykexec.values.errors import PykexecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pykexec.machine.files import MachineFiles

ROOT = "/"
"""The machine that records are left on; tests have another one."""
DIRECTORY = "run/pykexec"
LOCK = "lock"
PATIENCE = 300.0
"""Seconds that a load waits for another one. Loads that take four minutes have been seen."""
_POLL = 0.1

_DIRECTORY_MODE = 0o755
_FILE_MODE = 0o644
_LOCK_MODE = 0o600
"""Not to be opened, and so not to be locked, by anybody else."""


def this_machine() -> MachineFiles:
    """Return the files of the machine that loads are made on."""
    from pykexec.machine.files import MachineFiles

    files = MachineFiles(ROOT)
    files.is_live = True  # also where tests have put a directory in its place
    return files


def open_directory() -> int:
    """Return a descriptor of the directory, made where it is missing; raises OSError.

    Its mode does not depend on the umask. One that was open to others is closed to them: what
    they may have put there is not believed (:mod:`pykexec.machine.left_records`).
    """
    path = os.path.join(ROOT, DIRECTORY)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with suppress(FileExistsError):
        os.mkdir(path, _DIRECTORY_MODE)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) != _DIRECTORY_MODE:
            os.fchmod(descriptor, _DIRECTORY_MODE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def locked(directory: int, warn: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of all loads and unloads; it goes with the process that holds it.

    Another one that is under way is waited for, and ``warn`` told. Raises
    :class:`PykexecError` after :data:`PATIENCE`, OSError where there can be no lock.
    """
    descriptor = _open_lock(directory)
    try:
        deadline = None
        while not _try_lock(descriptor):
            if deadline is None:
                warn("another load or unload is under way: waiting for it")
                deadline = time.monotonic() + PATIENCE
            if time.monotonic() > deadline:
                place = os.path.join(ROOT, DIRECTORY, LOCK)
                raise PykexecError(
                    f"another load or unload is under way, and has not ended in {PATIENCE:.0f} s",
                    hint=f"'fuser {place}' names the process that holds the lock",
                )
            time.sleep(_POLL)
        yield
    finally:
        os.close(descriptor)


def _open_lock(directory: int) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(FileNotFoundError):
        found = os.stat(LOCK, dir_fd=directory, follow_symlinks=False)
        own = found.st_uid == os.geteuid() and found.st_nlink == 1
        if not stat.S_ISREG(found.st_mode) or not own or found.st_mode & 0o077:
            # Put there by somebody else, while the directory was open to all.
            os.unlink(LOCK, dir_fd=directory)
    descriptor = os.open(LOCK, flags, _LOCK_MODE, dir_fd=directory)
    with suppress(OSError):
        os.fchmod(descriptor, _LOCK_MODE)
    return descriptor


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write(directory: int, name: str, data: bytes) -> None:
    """Write a file that is there whole or not at all, and readable by all; raises OSError.

    Two at once want a lock. What one that was killed leaves beside it, the next one removes.
    """
    temporary = f".{name}.new"
    remove(directory, temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, _FILE_MODE, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, _FILE_MODE)
            os.fsync(descriptor)
        os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        remove(directory, temporary)
        raise


def remove(directory: int, name: str) -> None:
    """Remove a file, if it is there; raises OSError."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def write_in(path: str, data: bytes) -> None:
    """Write a file anywhere else, as :func:`write` does, making its directory; raises OSError."""
    parent, name = os.path.split(path)
    os.makedirs(parent, mode=_DIRECTORY_MODE, exist_ok=True)
    directory = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        write(directory, name, data)
    finally:
        os.close(directory)
