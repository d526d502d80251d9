"""What loads have left below /run: read only where nobody else can have written it.

The record of a load says what the image that is loaded was made from. A mark beside it says
that a load or an unload has begun, and goes when the record is right again. A mark is a line
with the boot's id and a line of text.
"""

from __future__ import annotations

import os
import stat

from pykexec.values.data_classes import dataclass
from pykexec.values.units import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

BOOT_ID = "proc/sys/kernel/random/boot_id"
SIZE_MAX = 256 << 10
"""Bytes; a command line has 64 KiB at most, a path 4 KiB."""


@dataclass(frozen=True, slots=True)
class Names:
    """Where the record and the mark of an image lie, in a file system that a reboot empties."""

    record: str
    mark: str


NORMAL = Names("run/pykexec/normal.json", "run/pykexec/normal.unfinished")
CRASH = Names("run/pykexec/crash.json", "run/pykexec/crash.unfinished")


@dataclass(frozen=True, slots=True)
class Left:
    """A file that was left, or why there is nothing to be had from it."""

    data: bytes | None = None
    problem: str = ""
    """"" where there is simply no file."""


def read_boot_id(files: MachineFiles) -> str:
    """Return what tells this boot from every other; "" when the kernel does not say."""
    return files.peek(BOOT_ID) or ""


def read_left(files: MachineFiles, name: str) -> Left:
    """Read a record or a mark; of a machine that was recorded as any other file there."""
    if files.is_live:
        try:
            problem = _distrust(files.path(name))
        except (FileNotFoundError, NotADirectoryError):
            return Left()
        except OSError as error:
            problem = error.strerror or "it cannot be read"
        if problem:
            return Left(problem=f"{files.path(name)} is not believed: {problem}")
    try:
        return Left(files.load(name))
    except OSError:
        return Left()


def _distrust(path: str) -> str:
    """Return why nothing is to be believed that stands in ``path``; raises OSError."""
    for place in (os.path.dirname(path), path):
        status = os.lstat(place)
        kinds = {path: (stat.S_ISREG, "regular file")}
        is_right, kind = kinds.get(place, (stat.S_ISDIR, "directory"))
        if not is_right(status.st_mode):
            return f"{place} is no {kind}"
        if status.st_uid not in (0, os.geteuid()):
            return f"{place} belongs to user {status.st_uid}"
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"others may write {place}"
    if status.st_size > SIZE_MAX:
        return f"it has {counted(status.st_size, 'byte')}, and a record has {SIZE_MAX} at most"
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        return "its file system is read-only now, and a later load could not have written it"
    return ""


def build_mark(files: MachineFiles, text: str) -> bytes:
    """Encode a mark of this boot."""
    line = " ".join(text.split())
    return f"{read_boot_id(files)}\n{line}\n".encode("utf-8", "surrogateescape")


def read_mark(files: MachineFiles, name: str) -> str:
    """Return what has begun in this boot and not come to its end; "" for nothing."""
    left = read_left(files, name)
    if left.data is None:
        return left.problem
    boot_id, _, text = left.data.decode("utf-8", "surrogateescape").partition("\n")
    return (text.strip() or "something") if boot_id == read_boot_id(files) else ""
