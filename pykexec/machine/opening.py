"""Opening files that may be anything: only regular ones, never waited for, read up to a limit.

A FIFO would be waited for, a device may act when it is opened, and /dev/zero has no end. So what
a name stands for is looked at before it is opened, and again when it is open.
"""

from __future__ import annotations

import errno
import os
import stat

from pykexec.values.units import counted

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_DIRECTORY_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1 << 20
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory",
}


class UnfitFileError(OSError):
    """It is there, and is nothing that may be read: no regular file, a link, or too large."""

    def __init__(self, reason: str, path: str, number: int = errno.EINVAL) -> None:
        super().__init__(number, reason, path)


def open_regular(path: str) -> int:
    """Return a descriptor of a regular file; links are followed. Raises OSError.

    Of those :class:`UnfitFileError` says what else it is.
    """
    _require_regular(os.stat(path), path)
    descriptor = os.open(path, _FLAGS)
    return _checked(descriptor, path)


def open_below(root: str, name: str) -> int:
    """Return a descriptor of a regular file below ``root``, following no link in ``name``.

    Raises OSError; :class:`UnfitFileError` for a link or ``..`` anywhere in ``name`` too.
    """
    path = os.path.join(root, name)
    directory, last = _open_parent(root, name)
    try:
        status = os.stat(last, dir_fd=directory, follow_symlinks=False)
        _require_regular(status, path)
        descriptor = os.open(last, _FLAGS | os.O_NOFOLLOW, dir_fd=directory)
    finally:
        os.close(directory)
    return _checked(descriptor, path)


def open_directory_below(root: str, name: str) -> int:
    """Return a descriptor of a directory below ``root``, for os.scandir; as :func:`open_below`."""
    directory, last = _open_parent(root, name)
    try:
        _refuse_link(directory, last, os.path.join(root, name))
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(last, flags, dir_fd=directory)
    finally:
        os.close(directory)


def kind_of(status: os.stat_result) -> str:
    """Say what something is that is no regular file: ``a FIFO``."""
    return _KINDS.get(stat.S_IFMT(status.st_mode), "something else")


def read_up_to(descriptor: int, size: int) -> bytes:
    """Return the first ``size`` bytes of a file, less when it ends before; raises OSError.

    Not a byte more is read: a device's configuration space may mind. In pieces, because the
    kernel gives some files a few pages at a time.
    """
    pieces = []
    while size > 0 and (piece := os.read(descriptor, min(size, _PIECE))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def read_whole(descriptor: int, path: str, limit: int) -> bytes:
    """Return a file's bytes; raises OSError, :class:`UnfitFileError` for more than ``limit``."""
    data = read_up_to(descriptor, limit + 1)
    if len(data) > limit:
        raise UnfitFileError(f"larger than {counted(limit, 'byte')}", path, errno.EFBIG)
    return data


def load_regular(path: str, limit: int) -> bytes:
    """Open and read a regular file, of at most ``limit`` bytes; raises OSError."""
    descriptor = open_regular(path)
    try:
        return read_whole(descriptor, path, limit)
    finally:
        os.close(descriptor)


def _open_parent(root: str, name: str) -> tuple[int, str]:
    """Return a descriptor of the directory that ``name`` is in, and its last part, or ``.``."""
    parts = [part for part in name.split("/") if part not in ("", ".")] or ["."]
    if ".." in parts or "\0" in name:
        raise UnfitFileError("no name of a file below it", os.path.join(root, name))
    path = root
    # The root itself is the user's word, and may be a link.
    descriptor = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            path = os.path.join(path, part)
            _refuse_link(descriptor, part, path)
            child = os.open(part, _DIRECTORY_FLAGS, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = child
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, parts[-1]


def _refuse_link(directory: int, part: str, path: str) -> None:
    """Refuse a link, which open(2) would call no directory."""
    status = os.stat(part, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        raise UnfitFileError("a symbolic link, which is not followed", path, errno.ELOOP)


def _checked(descriptor: int, path: str) -> int:
    """Return the descriptor if it is of a regular file: the name may be another's by now."""
    try:
        _require_regular(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise UnfitFileError(f"no regular file, but {kind_of(status)}", path)
