"""The file format of lzop(1), which Linux and U-Boot use for LZO. Pure.

All numbers are big-endian. A header with a checksum of its own, then blocks, each with the
checksums that the header announces, then a block of no bytes. Linux lib/decompress_unlzo.c
reads the same layout, without the checksums.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from pykexec.formats.codec_libraries import Cut, Damaged
from pykexec.formats.lzo import LzoError, decompress
from pykexec.values.units import counted

if TYPE_CHECKING:
    from pykexec.formats.codec_libraries import Pieces

MAGIC = b"\x89LZO\0\r\n\x1a\n"

_BLOCK_MAX = 64 << 20
"""Bytes that a block may expand to; lzop makes blocks of 256 KiB."""
_OLDEST = 0x0940
"""The version since which the header has the fields that are read here (1997)."""
_METHODS = (1, 2, 3)
"""LZO1X by the compressors 1, 1(15) and 999, which one decompressor expands."""

_ADLER32_OUT = 0x1
_ADLER32_IN = 0x2
_EXTRA_FIELD = 0x40
_CRC32_OUT = 0x100
_CRC32_IN = 0x200
_FILTER = 0x800
_HEADER_CRC32 = 0x1000


class _Reader:
    """The input, and how much of it has been read."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes; raises :class:`Cut`."""
        if size > len(self._data) - self.at:
            raise Cut
        self.at += size
        return bytes(self._data[self.at - size : self.at])

    def number(self, size: int = 4) -> int:
        return int.from_bytes(self.take(size), "big")

    def since(self, start: int) -> bytes:
        return bytes(self._data[start : self.at])


def expand_lzop(data: memoryview) -> Pieces:
    """Expand one file, a block at a time, as the generators of ``codec_libraries`` do.

    Raises :class:`Cut` or :class:`Damaged`.
    """
    reader = _Reader(data)
    flags = _read_header(reader)
    while size := reader.number():
        block = _read_block(reader, size, flags)
        yield reader.at, block
    yield reader.at, b""


def _read_header(reader: _Reader) -> int:
    """Check the header and return its flags."""
    if (magic := reader.take(len(MAGIC))) != MAGIC:
        raise Damaged(f"it begins with {magic.hex(' ')}, not as lzop writes it")
    start = reader.at
    version = reader.number(2)
    if version < _OLDEST:
        raise Damaged(f"written by lzop {version:#06x}; {_OLDEST:#06x} or later is needed")
    reader.take(2 + 2)  # the library's version, the version that is needed to read it
    method = reader.number(1)
    if method not in _METHODS:
        raise Damaged(f"compression method {method}; known are 1 to 3, which are LZO1X")
    reader.take(1)  # the level
    flags = reader.number()
    if flags & _FILTER:
        raise Damaged("the data went through a filter, which cannot be undone")
    reader.take(4 + 8)  # the packed file's mode and time
    reader.take(reader.number(1))  # its name
    _check(reader.since(start), reader.number(), crc=bool(flags & _HEADER_CRC32), what="header")
    if flags & _EXTRA_FIELD:
        reader.take(reader.number())
        reader.take(4)
    return flags


def _read_block(reader: _Reader, size: int, flags: int) -> bytes:
    start = reader.at - 4
    packed_size = reader.number()
    if size > _BLOCK_MAX or not 0 < packed_size <= size:
        raise Damaged(
            f"block at offset {start:#x} says that {counted(packed_size, 'byte')} expand to "
            f"{size}, of which "
            f"{_BLOCK_MAX} are allowed"
        )
    sums_out = _sums(reader, flags & _ADLER32_OUT, flags & _CRC32_OUT)
    # What would have grown is stored as it is, and has one set of checksums.
    stored = packed_size == size
    sums_in = [] if stored else _sums(reader, flags & _ADLER32_IN, flags & _CRC32_IN)
    block = reader.take(packed_size)
    what = f"block at offset {start:#x}"
    for crc, announced in sums_in:
        _check(block, announced, crc=crc, what=what)
    if not stored:
        try:
            block = decompress(block, size)
        except LzoError as error:
            raise Damaged(f"{what}: {error}") from error
    if len(block) != size:
        raise Damaged(f"{what} expands to {counted(len(block), 'byte')}, {size} are announced")
    for crc, announced in sums_out:
        _check(block, announced, crc=crc, what=f"{what}, expanded")
    return block


def _sums(reader: _Reader, adler: int, crc: int) -> list[tuple[bool, int]]:
    """Read the checksums that are announced, each with whether it is a CRC32."""
    return [(is_crc, reader.number()) for is_crc, there in ((False, adler), (True, crc)) if there]


def _check(data: bytes, announced: int, *, crc: bool, what: str) -> None:
    found = zlib.crc32(data) if crc else zlib.adler32(data)
    if found != announced:
        name = "CRC32" if crc else "Adler-32"
        raise Damaged(f"the {name} of the {what} is {found:#010x}, announced is {announced:#010x}")
