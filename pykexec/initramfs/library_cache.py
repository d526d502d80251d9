"""The cache of the dynamic linker: which file a shared library's name stands for. Pure.

glibc elf/cache.c and sysdeps/generic/dl-cache.h: the format that begins with
``glibc-ld.so.cache1.1``, alone or behind a cache of the older format.
"""

from __future__ import annotations

from struct import Struct
from struct import error as struct_error

_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = Struct("=20sIIB3xI12x")
_ENTRY = Struct("=iIIIQ")
_BIG_ENDIAN = 3
"""Of the flags' low two bits; 2 is little endian, 0 is not told."""


def library_paths(cache: bytes) -> dict[str, list[str]]:
    """Return every library's files by its name, in the order in which they are preferred.

    Those for processors of a certain kind are left out: an image may be started on another.
    A cache that is damaged, or of a format that is not known, gives what can be read of it.
    """
    start = cache.find(_MAGIC)
    found: dict[str, list[str]] = {}
    if start < 0:
        return found
    try:
        _, count, _, flags, _ = _HEADER.unpack_from(cache, start)
        if flags & 3 == _BIG_ENDIAN:
            return found
        for index in range(count):
            at = start + _HEADER.size + index * _ENTRY.size
            _, key, value, _, capabilities = _ENTRY.unpack_from(cache, at)
            if not capabilities:
                found.setdefault(_text(cache, start + key), []).append(_text(cache, start + value))
    except (struct_error, ValueError):
        pass
    return found


def _text(cache: bytes, at: int) -> str:
    """Return the string at an offset; raises ValueError without an end."""
    return cache[at : cache.index(b"\0", at)].decode("utf-8", "surrogateescape")
