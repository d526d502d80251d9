"""The one door between ``construct`` and the rest: short input becomes an ImageError."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from construct import ConstructError, Container, Struct

from pykexec.values.errors import ImageError
from pykexec.values.units import counted

if TYPE_CHECKING:
    from pykexec.values.buffers import Buffer


def parse_at(struct: Struct, data: Buffer, offset: int, what: str) -> Container[Any]:
    """Parse ``struct`` of fixed size at ``offset`` bytes into ``data``.

    Raises :class:`ImageError` naming ``what``, the bytes needed and the bytes found.
    """
    size = struct.sizeof()
    window = bytes(data[offset : offset + size])
    if len(window) < size:
        raise ImageError(
            f"truncated: {what} needs {counted(size, 'byte')} at offset {offset:#x}, "
            f"the file has {max(len(data) - offset, 0)} there",
            offset=offset,
            field=what,
        )
    try:
        return struct.parse(window)
    except ConstructError as error:  # a constant that differs, a length that points outside
        raise ImageError(f"malformed {what}: {error}", offset=offset, field=what) from error
