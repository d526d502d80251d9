"""JSON that somebody else wrote: read with limits, and each member by its name and type. Pure.

Nothing of a type of its own comes out of :class:`Fields`: a text is one that a path or a command
line can be, a number is one of 64 bits without a sign. Refusals name the member by its path.
"""

from __future__ import annotations

import json
import re
from enum import Enum
from reprlib import Repr
from typing import TYPE_CHECKING, Any, TypeVar

from pykexec.values.errors import MachineError, PykexecError
from pykexec.values.units import ADDRESS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

JSON_MAX = 4 << 20
"""Bytes of a JSON text: a plan for a machine of 10,000 memory regions has 1.5 MiB."""
DEPTH_MAX = 32
_DIGITS_MAX = 20
_HEXADECIMAL = re.compile(r"(?:0[xX])?[0-9a-fA-F]{1,16}")
_NESTING = re.compile(r'"(?:[^"\\]|\\.)*"?|[][{}]', re.DOTALL)
_OMITTED: Any = object()

_shorten = Repr()
_shorten.maxstring = _shorten.maxother = 60
_Choice = TypeVar("_Choice", bound=Enum)


def parse_json(
    data: bytes | str, where: str, error: type[PykexecError] = MachineError, hint: str | None = None
) -> Any:
    """Return what a JSON text says; raises ``error`` naming ``where`` for what is none.

    Also for more than JSON_MAX bytes, deeper nesting than DEPTH_MAX, numbers that no 64 bits
    hold, NaN, two members of one name, and text that is no UTF-8.
    """
    if len(data) > JSON_MAX:
        raise error(f"{where}: more than {JSON_MAX} bytes are no JSON of ours", hint=hint)
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        _check_depth(text)
        return json.loads(
            text,
            parse_int=_integer,
            parse_constant=_no_constant,
            object_pairs_hook=_unique,
        )
    except (ValueError, RecursionError) as reason:
        raise error(f"{where} is not JSON: {reason}", hint=hint) from reason


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return
    depth = 0
    for token in _NESTING.finditer(text):
        char = text[token.start()]
        if char in "[{":
            depth += 1
            if depth > DEPTH_MAX:
                raise ValueError(f"nested more than {DEPTH_MAX} deep")
        elif char in "]}":
            depth -= 1


def _integer(text: str) -> int:
    if len(text) > _DIGITS_MAX:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"two members {shorten(name)}")
        found[name] = value
    return found


def shorten(value: object) -> str:
    """Return a value for a message: short, whatever it is."""
    return _shorten.repr(value)


class Fields:
    """The members of a JSON object, each asked for by name and type.

    A member that is missing or null is the ``default`` where there is one. Everything raises
    ``error``, naming ``where`` and the member.
    """

    __slots__ = ("_error", "_hint", "_path", "_value", "_where")

    def __init__(
        self,
        value: object,
        where: str,
        *,
        error: type[PykexecError] = MachineError,
        hint: str | None = None,
        path: str = "",
    ) -> None:
        self._where, self._error, self._hint, self._path = where, error, hint, path
        self._value: dict[str, Any] = {}
        if not isinstance(value, dict):
            raise self._refusal(path or "all of it", value, "an object")
        self._value = value

    def is_given(self, name: str) -> bool:
        """Tell whether the object has a member of that name that is not null."""
        return self._value.get(name) is not None

    def names(self) -> list[str]:
        """Return the members' names, each one that is a text as :meth:`text` has it."""
        for name in self._value:
            if not _is_text(name):
                raise self._refusal(self._path or "a name", name, "a text")
        return list(self._value)

    def require_schema(
        self, schema: str, *, optional: bool = False, hint: str | None = None
    ) -> None:
        """Refuse an object of any other schema, or without one unless that is ``optional``."""
        found = self._value.get("schema", schema if optional else None)
        if found != schema:
            raise self._error(
                f"{self._where}: schema {shorten(found)} is unknown, this pykexec reads {schema!r}",
                hint=hint or self._hint,
            )

    def refuse(self, name: str, needed: str) -> PykexecError:
        """Return the refusal of a member, which is not what is ``needed``."""
        return self._refusal(self._at(name), self._value.get(name), needed)

    def text(self, name: str, default: Any = _OMITTED) -> Any:
        """Return a string without NUL; of surrogates only those for bytes that are no UTF-8."""
        return self._get(name, default, lambda v: isinstance(v, str) and _is_text(v), "a text")

    def natural(
        self, name: str, default: Any = _OMITTED, *, least: int = 0, most: int = ADDRESS_MAX
    ) -> Any:
        """Return an integer from ``least`` to ``most``."""

        def fits(value: object) -> bool:
            # bool is an int in Python, and true is no size.
            return type(value) is int and least <= value <= most

        return self._get(name, default, fits, f"an integer from {least} to {most}")

    def hexadecimal(self, name: str, default: Any = _OMITTED) -> Any:
        """Return the number of a string such as "0x1000", of at most 64 bits."""
        found = self._get(
            name,
            default,
            lambda v: isinstance(v, str) and _HEXADECIMAL.fullmatch(v) is not None,
            "a hexadecimal number of at most 64 bits",
        )
        return int(found, 16) if isinstance(found, str) else found

    def flag(self, name: str, default: Any = _OMITTED) -> Any:
        """Return true or false."""
        return self._get(name, default, lambda v: isinstance(v, bool), "true or false")

    def choice(self, name: str, kind: type[_Choice]) -> _Choice:
        """Return the member of an enumeration of strings."""
        values = [item.value for item in kind]
        return kind(self._get(name, _OMITTED, lambda v: v in values, f"one of {', '.join(values)}"))

    def texts(self, name: str, default: Any = _OMITTED) -> tuple[str, ...]:
        """Return a list of strings, each as :meth:`text` has it."""

        def fits(value: object) -> bool:
            return isinstance(value, list) and all(
                isinstance(item, str) and _is_text(item) for item in value
            )

        return tuple(self._get(name, default, fits, "a list of texts"))

    def list_of(self, name: str, default: Any = _OMITTED) -> list[Any]:
        """Return a list, of whatever JSON has."""
        found: list[Any] = self._get(name, default, lambda v: isinstance(v, list), "a list")
        return found

    def fields(self, name: str) -> Fields:
        """Return the members of an object in this one."""
        return self._inner(self._value.get(name), self._at(name))

    def fields_of_each(self, name: str, default: Any = _OMITTED) -> list[Fields]:
        """Return the members of each object of a list."""
        found = self._get(name, default, lambda v: isinstance(v, list), "a list of objects")
        at = self._at(name)
        return [self._inner(item, f"{at}[{index}]") for index, item in enumerate(found)]

    def _inner(self, value: object, path: str) -> Fields:
        return Fields(value, self._where, error=self._error, hint=self._hint, path=path)

    def _get(self, name: str, default: Any, fits: Callable[[Any], bool], needed: str) -> Any:
        value = self._value.get(name)
        if value is None and default is not _OMITTED:
            return default
        if not fits(value):
            raise self._refusal(self._at(name), value, needed)
        return value

    def _at(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _refusal(self, at: str, value: object, needed: str) -> PykexecError:
        found = "missing" if value is None else shorten(value)
        return self._error(f"{self._where}: {at} is {found}, {needed} is needed", hint=self._hint)


def _is_text(text: str) -> bool:
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
