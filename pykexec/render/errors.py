"""A refusal for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pykexec.values.errors import PykexecError


def error_value(error: PykexecError, hint: str | None) -> dict[str, Any]:
    """Return a refusal as what JSON can say: schema ``pykexec.error/1``.

    ``hint`` is what the front door says, which may know one where the error has none.
    """
    return {
        "schema": "pykexec.error/1",
        "error": type(error).__name__,
        "message": error.message,
        "details": list(error.details),
        "hint": hint or None,
        "aftermath": error.aftermath or None,
        "exit_code": error.exit_code,
    }
