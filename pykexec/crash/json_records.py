"""The small files that crash verbs leave for one another: JSON objects with a schema. Pure."""

from __future__ import annotations

import json
from reprlib import repr as shorten
from typing import Any

from pykexec.errors import MachineError
from pykexec.units import ADDRESS_MAX


def build_object(schema: str, members: dict[str, Any]) -> bytes:
    """Encode an object under its schema; :func:`parse_object` reads it back."""
    return json.dumps({"schema": schema, **members}, indent=2).encode() + b"\n"


def parse_object(data: bytes, schema: str, where: str) -> dict[str, Any]:
    """Decode an object; raises :class:`MachineError` naming ``where`` for any other schema."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MachineError(f"{where} is not JSON: {error}") from error
    found = value.get("schema") if isinstance(value, dict) else None
    if found != schema:
        raise MachineError(
            f"{where}: schema {shorten(found)} is unknown, this pykexec reads {schema!r}"
        )
    return dict(value)


def member(value: dict[str, Any], name: str, kind: type, where: str) -> Any:
    """Return a member of the type ``kind``; raises :class:`MachineError` for any other.

    An int is one of 64 bits without a sign. A str is what a path or a command line can be:
    without NUL, and of surrogates only those that stand for bytes which are no UTF-8.
    """
    found = value.get(name)
    # bool is an int in Python, and true is no size.
    if not isinstance(found, kind) or isinstance(found, bool):
        raise MachineError(f"{where}: {name!r} is {shorten(found)}, not of type {kind.__name__}")
    if isinstance(found, int) and not 0 <= found <= ADDRESS_MAX:
        raise MachineError(f"{where}: {name!r} is {shorten(found)}, which is no size")
    if isinstance(found, str) and not _is_text(found):
        raise MachineError(f"{where}: {name!r} is {shorten(found)}, which is no text")
    return found


def _is_text(text: str) -> bool:
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
