"""The small files that crash verbs leave for one another: JSON objects with a schema. Pure."""

from __future__ import annotations

import json
from typing import Any

from pykexec.errors import MachineError


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
        raise MachineError(f"{where}: schema {found!r} is unknown, this pykexec reads {schema!r}")
    return dict(value)


def member(value: dict[str, Any], name: str, kind: type, where: str) -> Any:
    """Return a member of the type ``kind``; raises :class:`MachineError` for any other."""
    found = value.get(name)
    if not isinstance(found, kind):
        raise MachineError(f"{where}: {name!r} is {found!r}, not of type {kind.__name__}")
    return found
