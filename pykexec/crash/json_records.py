"""The small files that crash verbs leave for one another: JSON objects with a schema. Pure."""

from __future__ import annotations

import json
from typing import Any

from pykexec.values.json_fields import Fields, parse_json


def build_object(schema: str, members: dict[str, Any]) -> bytes:
    """Encode an object under its schema; :func:`parse_object` reads it back."""
    return json.dumps({"schema": schema, **members}, indent=2).encode() + b"\n"


def parse_object(data: bytes, schema: str, where: str) -> Fields:
    """Decode an object; raises :class:`MachineError` naming ``where`` for any other schema."""
    value = Fields(parse_json(data, where), where)
    value.require_schema(schema)
    return value
