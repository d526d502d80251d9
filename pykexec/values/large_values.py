"""What values that hold whole files do otherwise than other dataclasses. Pure.

Python's ``repr`` of them would be every byte of a kernel, and a ``memoryview`` of a mapped file
cannot be pickled.
"""

from __future__ import annotations

from collections.abc import Sized
from enum import Enum, Flag

from pykexec.values.data_classes import MISSING, fields, is_dataclass
from pykexec.values.units import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SHORT = 60
"""Characters, or bytes, that are shown as they are."""
_FEW = 4
"""Items of a collection that are looked at."""
_ADDRESS = 0x1000
"""From here on numbers are hexadecimal: most are addresses."""


def short_repr(value: Any) -> str:
    """Return a ``repr`` of a dataclass in one line: what is large by its size, no defaults."""
    shown = (
        f"{field.name}={_shown(item)}"
        for field in fields(value)
        if field.repr and not _is_default(item := getattr(value, field.name), field)
    )
    return f"{type(value).__name__}({', '.join(shown)})"


def _is_default(item: object, field: Any) -> bool:
    if field.default is not MISSING:
        return bool(item == field.default)
    return field.default_factory is not MISSING and bool(item == field.default_factory())


def _shown(item: object) -> str:
    if isinstance(item, Enum) and not isinstance(item, Flag):
        return f"{type(item).__name__}.{item.name}"
    if isinstance(item, bytes | memoryview):
        is_short = len(item) <= _SHORT and bytes(item).isascii()
        is_text = is_short and bytes(item).decode().isprintable()
        return repr(bytes(item)) if is_text else f"<{counted(len(item), 'byte')}>"
    if isinstance(item, str):
        return repr(item if len(item) <= _SHORT else f"{item[: _SHORT - 1]}…")
    if isinstance(item, int) and not isinstance(item, bool):
        return hex(item) if item >= _ADDRESS else str(int(item))
    if isinstance(item, Sized) and len(item) > _FEW:
        return f"<{len(item)} items>"
    text = repr(item)
    if len(text) <= _SHORT:
        return text
    if isinstance(item, Sized) and not is_dataclass(item):
        return f"<{counted(len(item), 'item')}>"
    return f"<{type(item).__name__}>"


def reduce_to_copies(value: Any) -> tuple[type, tuple[object, ...]]:
    """Return how a dataclass is made again, for pickling: views of files become copies.

    For ``__reduce__``, since Python before 3.11.4 replaces a ``__getstate__`` in slotted classes.
    """
    return type(value), tuple(_copied(getattr(value, field.name)) for field in fields(value))


def _copied(item: object) -> object:
    if isinstance(item, memoryview):
        return bytes(item)
    if isinstance(item, tuple):
        return tuple(_copied(one) for one in item)
    return item
