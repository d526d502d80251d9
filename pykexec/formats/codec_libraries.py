"""Zstandard and LZ4, which Python's standard library has not, by libzstd and liblz4.

The one module of the core that opens something: a shared library, by the name of its ABI
and nothing else. The libraries compute; they read and write no files. The layouts and calls
are those that zstd.h, lz4frame.h and lz4.h document as stable.

Each generator yields what one member expands to, in pieces, each with how many bytes of input
have been taken by then. It raises :class:`Cut` or :class:`Damaged`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from pykexec.values.errors import MissingLibraryError

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import TypeAlias

    Pieces: TypeAlias = Generator[tuple[int, bytes], None, None]
    """(bytes of input taken so far, piece of output)"""

PIECE = 1 << 18
"""Bytes of output at a time."""

LZ4_LEGACY_MAGIC = 0x184C2102
_LZ4_LEGACY_BLOCK = 8 << 20
"""What each block but the last expands to (lz4_Frame_format.md, "Legacy frame")."""
_LZ4F_VERSION = 100
_PACKAGES = {
    "libzstd.so.1": "libzstd1 (Debian, Ubuntu), libzstd (Fedora) or zstd (Arch)",
    "liblz4.so.1": "liblz4-1 (Debian, Ubuntu), lz4-libs (Fedora) or lz4 (Arch)",
}


class Cut(Exception):
    """The input ends before its own end mark."""


class Damaged(Exception):
    """The input is not what its format allows; the text says what."""


@functools.cache
def library(name: str) -> tuple[Any, Any]:
    """Return (cffi's door, the library); raises :class:`MissingLibraryError`."""
    from pykexec.formats._codec_abi import ffi

    try:
        return ffi, ffi.dlopen(name)
    except OSError as error:
        raise MissingLibraryError(
            f"{name} is needed to expand this and cannot be loaded: {error}",
            hint=f"install {_PACKAGES[name]}",
        ) from error


def _uncleared(ffi: Any, size: int) -> Any:
    """Return room for output: clearing it for each of many small members would take seconds."""
    return ffi.new_allocator(should_clear_after_alloc=False)("char[]", size)


def expand_zstd(data: memoryview) -> Pieces:
    """Expand one frame (RFC 8878, section 3.1.1)."""
    ffi, zstd = library("libzstd.so.1")
    stream = zstd.ZSTD_createDStream()
    if stream == ffi.NULL:
        raise MemoryError("libzstd has no memory for a stream")
    try:
        # What C holds is given back in order, and is nothing that the garbage collector meets.
        with ffi.from_buffer(data) as held:
            source = ffi.new("ZSTD_inBuffer *", (held, len(data), 0))
            room = _uncleared(ffi, PIECE)
            target = ffi.new("ZSTD_outBuffer *")
            while True:
                before = source.pos
                target.dst, target.size, target.pos = room, PIECE, 0
                left = zstd.ZSTD_decompressStream(stream, target, source)
                if zstd.ZSTD_isError(left):
                    raise Damaged(ffi.string(zstd.ZSTD_getErrorName(left)).decode())
                yield int(source.pos), bytes(ffi.buffer(room, target.pos))
                if not left:
                    return
                if source.pos == before and not target.pos:
                    raise Cut
    finally:
        zstd.ZSTD_freeDStream(stream)


def expand_lz4(data: memoryview) -> Pieces:
    """Expand one frame (lz4_Frame_format.md, "General Structure of LZ4 Frame format")."""
    ffi, lz4 = library("liblz4.so.1")
    place = ffi.new("void **")
    if lz4.LZ4F_isError(lz4.LZ4F_createDecompressionContext(place, _LZ4F_VERSION)):
        raise MemoryError("liblz4 has no memory for a stream")
    try:
        with ffi.from_buffer("char[]", data) as held:
            room = _uncleared(ffi, PIECE)
            given, taken = ffi.new("size_t *"), ffi.new("size_t *")
            at = 0
            while True:
                given[0], taken[0] = PIECE, len(data) - at
                left = lz4.LZ4F_decompress(place[0], room, given, held + at, taken, ffi.NULL)
                if lz4.LZ4F_isError(left):
                    raise Damaged(ffi.string(lz4.LZ4F_getErrorName(left)).decode())
                at += taken[0]
                yield at, bytes(ffi.buffer(room, given[0]))
                if not left:
                    return
                if not taken[0] and not given[0]:
                    raise Cut
    finally:
        lz4.LZ4F_freeDecompressionContext(place[0])


def expand_lz4_legacy(data: memoryview) -> Pieces:
    """Expand one legacy frame, the format of ``lz4 -l`` (lz4_Frame_format.md, "Legacy frame").

    It has no end mark and no checksum: it ends with the input, with a block that is not full,
    or where a word follows that is no block's size.
    """
    ffi, lz4 = library("liblz4.so.1")
    room = _uncleared(ffi, _LZ4_LEGACY_BLOCK)
    at = 4
    if len(data) < at + 4:
        raise Cut
    while len(data) - at >= 4:
        size = int.from_bytes(data[at : at + 4], "little")
        # No block is larger than what it expands to, but for the room that the format grants.
        if not 0 < size <= _LZ4_LEGACY_BLOCK + _LZ4_LEGACY_BLOCK // 255 + 16:
            break
        if size > len(data) - at - 4:
            if at > 4 and len(data) - at == 4:
                break  # the size of the whole, as Linux builds before v5.18 append it
            raise Cut
        with ffi.from_buffer("char[]", data[at + 4 : at + 4 + size]) as held:
            got = lz4.LZ4_decompress_safe(held, room, size, _LZ4_LEGACY_BLOCK)
        if got < 0:
            raise Damaged(f"block at offset {at:#x} is malformed")
        at += 4 + size
        yield at, bytes(ffi.buffer(room, got))
        if got < _LZ4_LEGACY_BLOCK:
            return
    yield at, b""
