"""JSON Schemas (draft 2020-12) of all that pykexec prints as JSON: a file for each document.

Reads nothing but those files. What several documents have in common is in ``terms.json``, and
a document that is part of another is referred to by its file, as validators resolve it beside
that one. :func:`schema` makes one that stands alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pykexec.values.errors import MachineError, UsageError

DIRECTORY = Path(__file__).parent
_TERMS = "terms"


def names() -> tuple[str, ...]:
    """Return the names of all documents: that of ``pykexec.plan/1`` is ``plan``."""
    return tuple(
        sorted(path.stem for path in DIRECTORY.glob("*.json") if path.stem != _TERMS),
    )


def schema(name: str) -> dict[str, Any]:
    """Return the schema of a document, with all that it refers to among its ``$defs``.

    Raises :class:`UsageError` for a name that is none of :func:`names`.
    """
    if name not in names():
        raise UsageError(
            f"there is no schema {name!r}", hint="these are there: " + ", ".join(names())
        )
    found = _read(name)
    definitions: dict[str, Any] = {}
    document = _gathered(found, name, definitions)
    document.pop("$defs", None)
    return {**document, "$defs": definitions} if definitions else document


def _read(name: str) -> dict[str, Any]:
    path = DIRECTORY / f"{name}.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MachineError(
            f"cannot read {path}: {error.strerror}", hint="pykexec is damaged; install it again"
        ) from error
    return found


def _gathered(value: Any, file: str, definitions: dict[str, Any]) -> Any:
    """Return ``value``, which stands in ``file``, with references into ``definitions`` alone."""
    if isinstance(value, list):
        return [_gathered(item, file, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    found = {
        key: _gathered(item, file, definitions) for key, item in value.items() if key != "$defs"
    }
    if isinstance(found.get("$ref"), str):
        found["$ref"] = _definition(found["$ref"], file, definitions)
    return found


def _definition(reference: str, file: str, definitions: dict[str, Any]) -> str:
    """Put what is referred to among the definitions; returns the reference to it there."""
    target, _, pointer = reference.partition("#/$defs/")
    other = target.removesuffix(".json") or file
    name = pointer or other
    if name not in definitions:
        found = _read(other)
        definitions[name] = None  # its place, should it refer to itself
        value = _gathered(found["$defs"][pointer] if pointer else found, other, definitions)
        value.pop("$schema", None)
        definitions[name] = value
    return f"#/$defs/{name}"
