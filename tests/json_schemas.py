"""Holds what pykexec prints as JSON to the schemas that it comes with."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from pykexec import schemas


@cache
def _validator(document: str) -> Draft202012Validator:
    by_title = {schemas.schema(name)["title"]: name for name in schemas.names()}
    schema = schemas.schema(by_title[document])
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def validate(value: Any) -> None:
    """Raise jsonschema.ValidationError unless the document is what its own schema says."""
    _validator(value["schema"]).validate(value)


def checked(text: str) -> dict[str, Any]:
    """Return the one document that ``text`` is, after :func:`validate`."""
    value: dict[str, Any] = json.loads(text)
    validate(value)
    return value
