"""Which files an initramfs has, by their names: what is packed is not looked at. Pure.

Linux Documentation/driver-api/early-userspace/buffer-format.rst. Of compressed archives those by
gzip, which is what :mod:`pykexec.crash_setup.image` has both generators make.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from pykexec.values.errors import ImageError
from pykexec.values.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAGICS = (b"070701", b"070702")
_HEADER = 110
_LIMIT = 2 * GIB
_GZIP = b"\x1f\x8b"


def initramfs_names(data: bytes) -> frozenset[str]:
    """Return the paths of all files, without a leading slash; raises :class:`ImageError`."""
    at, found = 0, set()
    while at < len(data):
        if data[at : at + 1] == b"\0":
            at += 1
            continue
        if data[at : at + 2] == _GZIP:
            inner = zlib.decompressobj(wbits=31)
            try:
                plain = inner.decompress(data[at:], _LIMIT)
            except zlib.error as error:
                raise ImageError(f"the initramfs is damaged: {error}", offset=at) from error
            if not inner.eof:
                raise ImageError("the initramfs is cut, or too large", offset=at)
            found |= {name for name, _ in _entries(plain, 0)}
            at = len(data) - len(inner.unused_data)
            continue
        last = at
        for name, end in _entries(data, at):
            found.add(name)
            last = end
        if last == at:
            raise ImageError("the initramfs has something else than cpio and gzip", offset=at)
        at = last
    return frozenset(found)


def _entries(data: bytes, at: int) -> Iterator[tuple[str, int]]:
    """Yield the names of an archive's entries, each with where it ends."""
    while data[at : at + 6] in _MAGICS:
        try:
            size, length = int(data[at + 54 : at + 62], 16), int(data[at + 94 : at + 102], 16)
        except ValueError as error:
            raise ImageError("the initramfs is damaged", offset=at) from error
        name = data[at + _HEADER : at + _HEADER + length - 1].decode("utf-8", "surrogateescape")
        start = at + _HEADER + length + 3 & -4
        at = start + size + 3 & -4
        if at > len(data) + 3:
            raise ImageError("the initramfs is cut", offset=start)
        yield name.removeprefix("./").lstrip("/"), at
        if name == "TRAILER!!!":
            return
