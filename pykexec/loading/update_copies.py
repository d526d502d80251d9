"""From a file to a memfd that goes over, and from one that came over to a file."""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from pykexec.formats.session_index import name_fault
from pykexec.loading.running_kernel import read_state
from pykexec.values.errors import SessionError
from pykexec.values.live_update import PreservedFile
from pykexec.values.units import format_size

if TYPE_CHECKING:
    from hashlib import _Hash

_PIECE = 4 << 20
"""Bytes that are copied at a time."""
_MEMFD = "/memfd:"
_DELETED = " (deleted)"
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_HINT = "files are preserved by their contents, and memfds as they are (/proc/PID/fd/N)"


def to_preserve(path: str) -> tuple[int, PreservedFile]:
    """Return a descriptor of a memfd with what the file ``path`` has, and what is told of it.

    One that is a memfd itself, as /proc/PID/fd/N, is taken as it is. The token is yet to come,
    and 1 until then. Raises :class:`SessionError`.
    """
    descriptor = _open(path)
    try:
        found = os.fstat(descriptor)
        kind = next((text for is_it, text in _KINDS if is_it(found.st_mode)), None)
        if kind is not None:
            raise SessionError(f"{path!r} is {kind}, which cannot be preserved", hint=_HINT)
        if _is_memfd(descriptor, found):
            return os.dup(descriptor), _described(_memfd_name(descriptor, path), found.st_size)
        _check_memory(path, found.st_size)
        name = os.path.basename(path)
        memory = os.memfd_create(name[-200:], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            size, digest = _copy(descriptor, memory, path)
            return memory, _described(name, size, stat.S_IMODE(found.st_mode) & 0o777, digest)
        except BaseException:
            os.close(memory)
            raise
    finally:
        os.close(descriptor)


def _open(path: str) -> int:
    flags = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        # A memfd is opened for writing too, as it will be in the next kernel.
        is_memory = stat.S_ISREG((found := os.stat(path)).st_mode) and found.st_nlink == 0
        return os.open(path, flags | (os.O_RDWR if is_memory else os.O_RDONLY))
    except OSError as error:
        raise SessionError(f"cannot open {path!r}: {error.strerror}") from error


def _is_memfd(descriptor: int, found: os.stat_result) -> bool:
    """Tell whether it is a memfd, of which fcntl(2) has seals and no directory has a name."""
    if found.st_nlink != 0:
        return False
    try:
        fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    except OSError:
        return False
    return True


def _memfd_name(descriptor: int, path: str) -> str:
    """Return what a memfd is called; one that came over has lost its name."""
    link = ""
    with suppress(OSError):
        link = os.readlink(f"/proc/self/fd/{descriptor}")
    name = link.removeprefix(_MEMFD).removesuffix(_DELETED) if link.startswith(_MEMFD) else ""
    return name if name_fault(name) is None else os.path.basename(path)


def _described(name: str, size: int, mode: int = 0o600, sha256: str | None = None) -> PreservedFile:
    fault = name_fault(name)
    if fault is not None:
        raise SessionError(f"{name!r} cannot be preserved by this name: {fault}", hint=_HINT)
    return PreservedFile(1, name, size, mode, sha256)


def _check_memory(path: str, size: int) -> None:
    available = read_state().memory_available
    if available is not None and size > available:
        raise SessionError(
            f"{path!r} has {format_size(size)}, and {format_size(available)} of memory are to be "
            "had (MemAvailable)",
            hint="what is preserved is in memory as a whole until the next kernel has it",
        )


def _copy(source: int, target: int, path: str) -> tuple[int, str]:
    """Copy to the end; returns the number of bytes and their SHA-256."""
    import hashlib

    digest = hashlib.sha256()
    size = 0
    while True:
        try:
            piece = os.read(source, _PIECE)
        except OSError as error:
            raise SessionError(f"cannot read {path!r}: {error.strerror}") from error
        if not piece:
            return size, digest.hexdigest()
        _write(target, piece, digest, f"the memory for {path!r}")
        size += len(piece)


def _write(target: int, piece: bytes, digest: _Hash, what: str) -> None:
    digest.update(piece)
    rest = memoryview(piece)
    while rest:
        try:
            rest = rest[os.write(target, rest) :]
        except OSError as error:
            raise SessionError(f"cannot write {what}: {error.strerror}") from error


def open_target(path: str) -> int:
    """Return a descriptor of the directory to write to, made where it is missing."""
    try:
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SessionError(f"cannot use {path!r} as a directory: {error.strerror}") from error


def refuse_existing(directory: int, path: str, name: str) -> None:
    """Refuse a name that is taken: nothing is written over."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SessionError(f"cannot look at {name!r} in {path!r}: {error.strerror}") from error
    raise SessionError(
        f"{os.path.join(path, name)!r} is there already, and nothing is written over",
        hint="give another directory",
    )


def store(memory: int, directory: int, path: str, file: PreservedFile) -> str:
    """Write what came over to a new file in ``directory``, which is ``path``; whole or not at all.

    Returns its SHA-256. Raises :class:`SessionError`, also for contents that are not what was
    preserved; the memory is as it was.
    """
    where = os.path.join(path, file.name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(file.name, flags, 0o600, dir_fd=directory)
    except OSError as error:
        raise SessionError(f"cannot make {where!r}: {error.strerror}") from error
    try:
        try:
            digest = _store(memory, descriptor, where, file)
        finally:
            os.close(descriptor)
    except BaseException:
        with suppress(OSError):
            os.unlink(file.name, dir_fd=directory)
        raise
    return digest


def _store(memory: int, descriptor: int, where: str, file: PreservedFile) -> str:
    import hashlib

    digest = hashlib.sha256()
    size, at = os.fstat(memory).st_size, 0
    while at < size:
        try:
            piece = os.pread(memory, min(_PIECE, size - at), at)
        except OSError as error:
            raise SessionError(f"cannot read what came over: {error.strerror}") from error
        if not piece:
            break
        _write(descriptor, piece, digest, repr(where))
        at += len(piece)
    found = digest.hexdigest()
    if at != file.size or file.sha256 not in (None, found):
        raise SessionError(
            f"{file.name!r} is not what was preserved: {at} bytes with the SHA-256 {found}, and "
            f"{file.size} with {file.sha256 or 'any'} were",
            hint="--unchecked writes it all the same",
        )
    try:
        os.fchmod(descriptor, file.mode)
        os.fsync(descriptor)
    except OSError as error:
        raise SessionError(f"cannot write {where!r}: {error.strerror}") from error
    return found
