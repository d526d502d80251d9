"""Structures of fixed size: bytes to named fields, and back.

They are declared with ``construct``, in ``tools/structures.py``. What is read at run time are the
tables that ``tools/generate_structures.py`` makes of it, ``_structures.py`` here, in ``boot/x86/``
and in ``crash/fadump/``, by the standard library's ``struct``: importing construct takes longer
than planning a load.
"""

from __future__ import annotations

import struct
from types import SimpleNamespace

from pykexec.values.errors import ImageError
from pykexec.values.units import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pykexec.values.buffers import Buffer


class Field:
    """A field of a structure: a number, bytes or a structure, or a list of ``count`` of them."""

    __slots__ = ("_format", "_inner", "count", "name", "offset", "size")

    def __init__(
        self, name: str, offset: int, kind: str | Structure, count: int | None = None
    ) -> None:
        """Take what is at ``offset`` bytes: a format of ``struct`` with one value, or a structure.

        ``size`` is that of one of ``count``, in bytes.
        """
        self.name, self.offset, self.count = name, offset, count
        self._format = struct.Struct(kind) if isinstance(kind, str) else None
        self._inner = None if isinstance(kind, str) else kind
        self.size = struct.calcsize(kind) if isinstance(kind, str) else kind.size

    def read(self, data: bytes) -> Any:
        """Decode the field of the structure in ``data``."""
        if self.count is None:
            return self._read_at(data, self.offset)
        return [self._read_at(data, self.offset + self.size * i) for i in range(self.count)]

    def write(self, data: bytearray, value: Any) -> None:
        """Encode the field into ``data``; raises :class:`struct.error` for what does not fit."""
        if self.count is None:
            self._write_at(data, self.offset, value)
            return
        if len(value) != self.count:
            raise struct.error(f"{self.name} has {self.count} entries, given are {len(value)}")
        for index, item in enumerate(value):
            self._write_at(data, self.offset + self.size * index, item)

    def _read_at(self, data: bytes, offset: int) -> Any:
        if self._format is not None:
            return self._format.unpack_from(data, offset)[0]
        assert self._inner is not None
        return self._inner.parse(data[offset : offset + self.size])

    def _write_at(self, data: bytearray, offset: int, value: Any) -> None:
        if self._inner is not None:
            value = self._inner.build(value)
        if isinstance(value, bytes):
            # struct would cut what is too long, and fill up what is too short.
            if len(value) != self.size:
                raise struct.error(
                    f"{self.name} has {counted(self.size, 'byte')}, given are {len(value)}"
                )
            data[offset : offset + self.size] = value
            return
        assert self._format is not None
        self._format.pack_into(data, offset, value)


class Structure:
    """Fields in a fixed number of bytes.

    What no field covers is padding: it is not read, and written as zeros.
    """

    __slots__ = ("fields", "size")

    def __init__(self, size: int, *fields: Field) -> None:
        """Take the size in bytes."""
        self.size = size
        self.fields = fields

    def parse(self, data: bytes) -> SimpleNamespace:
        """Decode the first ``size`` bytes; raises :class:`struct.error` where there are fewer."""
        if len(data) < self.size:
            raise struct.error(f"{counted(self.size, 'byte')} are needed, there are {len(data)}")
        return SimpleNamespace(**{field.name: field.read(data) for field in self.fields})

    def build(self, values: Mapping[str, Any]) -> bytes:
        """Encode ``values``; those that are no fields are left out.

        Raises :class:`KeyError` for a field without a value, and :class:`struct.error` for a
        value that does not fit.
        """
        data = bytearray(self.size)
        for field in self.fields:
            field.write(data, values[field.name])
        return bytes(data)


def parse_at(structure: Structure, data: Buffer, offset: int, what: str) -> SimpleNamespace:
    """Parse a structure at ``offset`` bytes into ``data``.

    Raises :class:`ImageError` naming ``what``, the bytes needed and the bytes found.
    """
    size = structure.size
    window = bytes(data[offset : offset + size])
    if len(window) < size:
        raise ImageError(
            f"truncated: {what} needs {counted(size, 'byte')} at offset {offset:#x}, "
            f"the file has {max(len(data) - offset, 0)} there",
            offset=offset,
            field=what,
        )
    return structure.parse(window)
