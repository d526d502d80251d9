"""Where holders of sessions are found: a socket and a record for each, below /run.

A record outlives a holder that is killed, and says then what was lost. It is of one boot.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import stat
import struct
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pykexec.formats.session_index import file_of, file_value
from pykexec.loading import run_files
from pykexec.machine.left_records import read_boot_id, read_left
from pykexec.values.errors import DeniedError, PykexecError, SessionError
from pykexec.values.json_fields import Fields, parse_json
from pykexec.values.live_update import INCOMING, OUTGOING, Held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.machine.files import MachineFiles

SUBDIRECTORY = "live-update"
DIRECTORY = f"{run_files.DIRECTORY}/{SUBDIRECTORY}"
SCHEMA = "pykexec.session/1"
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_DIRECTORY_MODE = 0o700
_CREDENTIALS = struct.Struct("=iII")
"""struct ucred: process, user, group."""


def base_of(name: str, direction: str) -> str:
    """Return what the files of a session are called: its name, if that can be part of one."""
    if _PLAIN.fullmatch(name):
        return f"{direction}-{name}"
    return f"{direction}-%{hashlib.sha256(os.fsencode(name)).hexdigest()[:40]}"


@contextmanager
def directory() -> Iterator[int]:
    """Give a descriptor of the directory, made where it is missing, and only root's to use.

    Raises :class:`DeniedError` or :class:`SessionError` where it cannot be had.
    """
    try:
        parent = run_files.open_directory()
        try:
            with suppress(FileExistsError):
                os.mkdir(SUBDIRECTORY, _DIRECTORY_MODE, dir_fd=parent)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(SUBDIRECTORY, flags, dir_fd=parent)
        finally:
            os.close(parent)
    except PermissionError as error:
        raise DeniedError(
            f"/{DIRECTORY} is not to be used: {error.strerror}", hint="run it as root"
        ) from error
    except OSError as error:
        raise SessionError(f"/{DIRECTORY} is not to be used: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != _DIRECTORY_MODE:
            raise DeniedError(
                f"/{DIRECTORY} is of user {found.st_uid} and mode {found.st_mode & 0o7777:o}",
                hint=f"run it as root; it is to be of mode {_DIRECTORY_MODE:o}",
            )
        yield descriptor
    finally:
        os.close(descriptor)


def socket_path(directory: int, base: str) -> str:
    """Return an address of a socket that fits into one, wherever the directory is."""
    return f"/proc/self/fd/{directory}/{base}.sock"


def answering(directory: int, base: str) -> int | None:
    """Return the process that listens on a socket; None where nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(socket_path(directory, base))
        except BlockingIOError:
            return 0  # its queue is full
        except OSError:
            return None
        return peer_of(connection)[0]


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return process and user at the other end (socket(7), SO_PEERCRED)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(raw)
    return process, user


def write_record(directory: int, base: str, held: Held) -> None:
    """Leave what a holder has; raises OSError."""
    value = {
        "schema": SCHEMA,
        "name": held.name,
        "direction": held.direction,
        "pid": held.pid,
        "boot_id": read_boot_id(run_files.this_machine()),
        "files": None if held.files is None else [file_value(file) for file in held.files],
        "retrieved": sorted(held.retrieved),
    }
    run_files.write(directory, f"{base}.json", json.dumps(value).encode("ascii"))


def forget(directory: int, base: str) -> None:
    """Remove socket and record."""
    for suffix in ("sock", "json"):
        with suppress(OSError):
            run_files.remove(directory, f"{base}.{suffix}")


def parse_held(fields: Fields) -> tuple[Held, str]:
    """Return what a record or a holder tells, and the boot that it is of; raises MachineError."""
    fields.require_schema(SCHEMA)
    given = fields.is_given("files")
    files = tuple(file_of(item) for item in fields.fields_of_each("files", []))
    direction = fields.text("direction")
    if direction not in (OUTGOING, INCOMING):
        raise fields.refuse("direction", f"{OUTGOING} or {INCOMING}")
    held = Held(
        name=fields.text("name"),
        direction=direction,
        pid=fields.natural("pid"),
        files=files if given else None,
        retrieved=frozenset(_tokens(fields)),
        by_pykexec=True,
    )
    return held, fields.text("boot_id")


def _tokens(fields: Fields) -> Iterator[int]:
    for item in fields.list_of("retrieved"):
        if type(item) is not int:
            raise fields.refuse("retrieved", "a list of tokens")
        yield item


def recorded(files: MachineFiles) -> list[Held]:
    """Return what the records of this boot tell, in order; what cannot be read is left out."""
    try:
        names = sorted(name for name in files.entries(DIRECTORY) if name.endswith(".json"))
    except OSError:
        return []
    found = []
    for name in names:
        left = read_left(files, f"{DIRECTORY}/{name}")
        if left.data is None:
            continue
        try:
            held, boot_id = parse_held(Fields(parse_json(left.data, name), name))
        except PykexecError:
            continue
        if boot_id == read_boot_id(files):
            found.append(held)
    return found
