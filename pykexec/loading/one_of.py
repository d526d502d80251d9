"""What a keyword of the library may be, where that is one of some words."""

from __future__ import annotations

from pykexec.values.errors import UsageError


def require_one_of(name: str, value: object, known: tuple[str | None, ...]) -> None:
    """Refuse what is none of the values that ``name`` may have, with :class:`UsageError`."""
    if value not in known:
        raise UsageError(
            f"{name}: {value!r} is not known",
            hint=f"give {', '.join(repr(item) for item in known if item is not None)}",
        )
