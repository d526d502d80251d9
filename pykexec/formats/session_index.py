"""The index of a session that ``pykexec live-update`` makes: which file each token is. Pure.

A session of the live update orchestrator has numbers for its files, and no names (Linux
include/uapi/linux/liveupdate.h, "token"). So the first of them, :data:`TOKEN`, is a list of the
others. It has one size from the beginning, because what is preserved keeps its size, and is
written anew with each file that is added; what follows the text are zeros.

An index is data from another kernel, and may be damaged or meant to do harm: a name in it is that
of a file in one directory, or the index is refused.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pykexec.values.errors import ImageError
from pykexec.values.json_fields import Fields, parse_json
from pykexec.values.live_update import PreservedFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykexec.values.buffers import Buffer

TOKEN = 0
"""By which the index itself goes over; the files have those from 1 on."""
SIZE = 64 << 10
"""Bytes of an index, whatever is in it."""
SCHEMA = "pykexec.session-index/1"
NAME_MAX = 255
"""Bytes: NAME_MAX of Linux include/uapi/linux/limits.h."""
_SHA256 = 64
_MODE = 0o777
"""Nothing that gives rights to who executes it."""


def name_fault(name: str) -> str | None:
    """Return why ``name`` cannot be that of a file in a directory; None where it can."""
    if name in ("", ".", ".."):
        return "it is no name of a file"
    if "/" in name or "\0" in name:
        return "it has a slash or a zero in it"
    if len(name.encode("utf-8", "surrogateescape")) > NAME_MAX:
        return f"it has more than {NAME_MAX} bytes"
    return None


def build_index(files: Iterable[PreservedFile]) -> bytes:
    """Encode an index, with the zeros behind it; raises :class:`ImageError` for too many files."""
    value = {"schema": SCHEMA, "files": [file_value(file) for file in files]}
    text = json.dumps(value, separators=(",", ":")).encode("ascii")
    if len(text) >= SIZE:
        raise ImageError(
            f"an index of {len(text)} bytes is more than a session has room for ({SIZE})",
            hint="preserve the other files in another session, or in an archive",
        )
    return text.ljust(SIZE, b"\0")


def parse_index(data: Buffer) -> tuple[PreservedFile, ...]:
    """Decode an index; raises :class:`ImageError` for what is none, or names what it must not."""
    where = "the session's index"
    text = bytes(data).rstrip(b"\0")
    fields = Fields(parse_json(text, where, ImageError), where, error=ImageError)
    fields.require_schema(SCHEMA)
    files = tuple(file_of(item) for item in fields.fields_of_each("files"))
    for kind, seen in (
        ("name", [file.name for file in files]),
        ("token", [file.token for file in files]),
    ):
        twice = next((item for at, item in enumerate(seen) if item in seen[:at]), None)
        if twice is not None:
            raise ImageError(f"{where} has the {kind} {twice!r} twice")
    return files


def file_value(file: PreservedFile) -> dict[str, Any]:
    """Return what JSON can say of a file."""
    return {
        "token": file.token,
        "name": file.name,
        "size": file.size,
        "mode": file.mode,
        "sha256": file.sha256,
    }


def file_of(fields: Fields) -> PreservedFile:
    """Return what JSON says of a file; raises what ``fields`` do for what cannot be."""
    name = fields.text("name")
    fault = name_fault(name)
    if fault is not None:
        raise fields.refuse("name", f"the name of a file ({fault})")
    sha256 = fields.text("sha256", None)
    if sha256 is not None and (len(sha256) != _SHA256 or set(sha256) - set("0123456789abcdef")):
        raise fields.refuse("sha256", "a SHA-256 in hexadecimal")
    return PreservedFile(
        token=fields.natural("token", least=TOKEN + 1),
        name=name,
        size=fields.natural("size", most=(1 << 63) - 1),
        mode=fields.natural("mode", most=_MODE),
        sha256=sha256,
    )
