"""What savers have left below the directory of dumps, as ``pykexec crash setup`` has named it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pykexec.crash.captured import (
    STATUS,
    STATUS_MAX,
    Captured,
    Dumps,
    LeftDump,
    State,
    panic_line,
    parse_status,
)
from pykexec.crash_setup import steps
from pykexec.machine.boot_tree import BootTree
from pykexec.machine.opening import load_regular, open_regular
from pykexec.values.data_classes import replace
from pykexec.values.errors import PykexecError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG_TAIL = 256 << 10
"""Bytes at the end of a log in which the panic is looked for."""


def read_dumps(root: str) -> Dumps | None:
    """Read of the machine at ``root``; None for one that is not set up to save dumps."""
    tree = BootTree(root)
    try:
        data = tree.data(steps.MANIFEST)
        if data is None:
            return None
        known = steps.parse_manifest(data)
    except OSError as error:
        return Dumps("", "", problem=f"cannot read {steps.MANIFEST}: {error.strerror}")
    except PykexecError as error:
        return Dumps("", "", problem=error.message)
    if not known.directory:
        return Dumps(known.target, "", problem="dumps are not kept on this machine")
    place = tree.place(known.directory)
    try:
        last = None if place is None else last_dump(place)
    except OSError as error:
        return Dumps(known.target, known.directory, None, _why(error))
    return Dumps(known.target, known.directory, last)


def last_dump(directory: str) -> LeftDump | None:
    """Return the youngest dump by the saver's own word, None for none; raises OSError."""
    known = [(os.stat(place).st_mtime, place, word) for place, word in _words(directory)]
    if not known:
        return None
    _, place, word = max(known, key=lambda item: item[0])
    try:
        size = os.stat(f"{place}/{word.core}").st_size
    except OSError:
        size = None
    return LeftDump(place, word, size, _panic_of(f"{place}/{word.log}"))


def saver_word(path: str) -> Captured | None:
    """Return what the saver says of a dump in its file; None for any other; raises OSError.

    What it was about to write when it was cut may not have come to the disk: then there is none.
    """
    found = parse_status(load_regular(path, STATUS_MAX))
    if found is None or found.state is State.COMPLETE:
        return found
    place = os.path.dirname(path)
    there = {name: os.path.exists(f"{place}/{name}") for name in (found.log, found.core)}
    log, core = (name if there[name] else "none" for name in (found.log, found.core))
    return replace(found, log=log, core=core)


def _words(directory: str) -> Iterator[tuple[str, Captured]]:
    for entry in os.scandir(directory):
        if not entry.is_dir():
            continue
        try:
            word = saver_word(f"{entry.path}/{STATUS}")
        except PermissionError:
            raise
        except OSError:  # Somebody else's directory.
            continue
        if word is not None:
            yield entry.path, word


def _panic_of(log: str) -> str:
    try:
        with os.fdopen(open_regular(log), "rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - LOG_TAIL, 0))
            return panic_line(file.read(LOG_TAIL))
    except OSError:
        return ""


def _why(error: OSError) -> str:
    return f"cannot read {error.filename}: {error.strerror}"
