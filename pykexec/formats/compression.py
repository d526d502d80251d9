"""Compressed data: kernels, initramfs members, pages of dumps. Pure.

gzip, xz, lzma and bzip2 come from Python's standard library, zstd and lz4 from the shared
libraries of :mod:`pykexec.formats.codec_libraries`, lzo from :mod:`pykexec.formats.lzop`.
Each expansion has a :mod:`~pykexec.formats.budget`, and what is cut or damaged is an
:class:`ImageError`, never part of a file.
"""

from __future__ import annotations

from contextlib import closing
from enum import StrEnum
from typing import TYPE_CHECKING

from pykexec.formats.budget import Budget
from pykexec.formats.codec_libraries import (
    LZ4_LEGACY_MAGIC,
    PIECE,
    Cut,
    Damaged,
    expand_lz4,
    expand_lz4_legacy,
    expand_zstd,
)
from pykexec.formats.lzop import MAGIC as LZOP_MAGIC
from pykexec.formats.lzop import expand_lzop
from pykexec.values.errors import ImageError, TrailingDataError
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from bz2 import BZ2Decompressor
    from collections.abc import Callable, Sequence
    from lzma import LZMADecompressor

    from pykexec.formats.budget import Meter
    from pykexec.formats.codec_libraries import Pieces
    from pykexec.values.buffers import Buffer

_INPUT = 1 << 16
"""Bytes of input at a time."""
_LZMA_MEMORY = 512 << 20
"""Bytes that a dictionary may take; kernels are built with 128 MiB at most."""
_SIZE_TRAILER = 4


class Codec(StrEnum):
    """The compressions that are known, by the names that people use."""

    GZIP = "gzip"
    XZ = "xz"
    LZMA = "lzma"
    """The ``.lzma`` format: a header of 13 bytes and no checksum."""
    BZIP2 = "bzip2"
    ZSTD = "zstd"
    LZ4 = "lz4"
    """The frame format."""
    LZ4_LEGACY = "lz4 -l"
    """The legacy frame format, which Linux uses; without a checksum."""
    LZO = "lzo"
    """What lzop makes."""


_MAGIC = {
    b"\x1f\x8b\x08": Codec.GZIP,
    b"\xfd7zXZ\0": Codec.XZ,
    b"BZh": Codec.BZIP2,
    b"\x28\xb5\x2f\xfd": Codec.ZSTD,
    b"\x04\x22\x4d\x18": Codec.LZ4,
    LZ4_LEGACY_MAGIC.to_bytes(4, "little"): Codec.LZ4_LEGACY,
    LZOP_MAGIC: Codec.LZO,
}
_SKIPPABLE_MAGIC = range(0x184D2A50, 0x184D2A60)
_SKIPPING = (Codec.ZSTD, Codec.LZ4, Codec.LZ4_LEGACY)
"""The formats between whose frames there may be skippable ones."""
_LEADING_SKIPPABLE = 16
_XZ_PADDING = 4
_BZIP2_BLOCK = b"1AY&SY"
_BZIP2_END = b"\x17\x72\x45\x38\x50\x90"


def probe(data: Buffer) -> Codec | None:
    """Return the compression that ``data`` begins with, by its magic alone.

    Skippable frames may come first, as pzstd(1) writes them.
    """
    view = memoryview(data)
    at = 0
    for _ in range(_LEADING_SKIPPABLE):
        if not (size := _skippable(view[at:])):
            break
        at += size
    codec = probe_member(view[at:])
    return codec if not at or codec in _SKIPPING else None


def probe_member(data: Buffer) -> Codec | None:
    """Return the compression of the member that ``data`` begin with, by its magic alone."""
    start = bytes(data[:13])
    codec = next((codec for magic, codec in _MAGIC.items() if start.startswith(magic)), None)
    if codec is Codec.BZIP2 and start[4:10] not in (_BZIP2_BLOCK, _BZIP2_END):
        return None
    return Codec.LZMA if codec is None and _is_lzma(start) else codec


def _skippable(data: memoryview) -> int:
    """Return the bytes that a skippable frame takes; 0 where there is none.

    RFC 8878, section 3.1.2, and the same in lz4_Frame_format.md, "Skippable Frames".
    """
    if int.from_bytes(data[:4], "little") not in _SKIPPABLE_MAGIC or len(data) < 8:
        return 0
    return 8 + int.from_bytes(data[4:8], "little")


def _is_lzma(start: bytes) -> bool:
    """Tell whether this is the header of an ``.lzma`` file, which has no magic.

    xz doc/lzma-file-format.txt, section 1.1. As the ``file`` and ``xz`` tools do, only the
    usual properties (lc=3, lp=0, pb=2), dictionaries of 2^n or 2^n + 2^(n-1) bytes and sizes
    below 256 GiB are believed.
    """
    if len(start) < 13 or start[0] != 0x5D:
        return False
    dictionary = int.from_bytes(start[1:5], "little")
    size = int.from_bytes(start[5:13], "little")
    lowest = dictionary & -dictionary
    usual = dictionary in (lowest, lowest * 3)
    return usual and dictionary >= 1 << 12 and (size == (1 << 64) - 1 or size < 1 << 38)


def choose(data: Buffer, allowed: Sequence[Codec]) -> Codec:
    """Return which of ``allowed`` the data begin like; the first where it is none of them.

    For a container that names the compression, but not which of two formats it is in.
    """
    found = probe(data)
    return next((codec for codec in allowed if codec is found), allowed[0])


def decompress(data: Buffer, limit: int | Budget, what: str, codec: Codec | None = None) -> bytes:
    """Return what ``data`` expands to.

    ``limit`` is the most bytes that are taken, or the budget that the layers of a file share.
    ``what`` names the data in errors; ``codec`` None takes that of :func:`probe`. Members
    that follow each other are joined as the format's own tool joins them: of the same
    compression, with skippable frames of zstd and lz4 and padding of xz between them, an lz4
    frame of either kind behind the other. Behind the last there may be zeros, which pad to a
    block, and first of all the size of the whole as 4 little-endian bytes, as Linux builds
    append it. Anything else there is refused.

    Raises :class:`ImageError` for data that are cut, damaged, or cost more than their budget,
    :class:`TrailingDataError`, and :class:`MissingLibraryError`.
    """
    codec = codec or _require_probe(data, what)
    budget = limit if isinstance(limit, Budget) else Budget(limit)
    meter = budget.layer(what, codec)
    view = memoryview(data)
    pieces: list[bytes] = []
    at = _skip(codec, view, 0, meter, what)
    member: Codec | None = codec
    while member is not None:
        _, taken = _member(member, view[at:], what, meter, pieces.append)
        at = _skip(codec, view, at + taken, meter, what)
        member = _following(codec, view[at:])
    rest = view[at:]
    trailer = meter.given.to_bytes(8, "little")[:_SIZE_TRAILER]
    if bytes(rest[:_SIZE_TRAILER]) == trailer:
        rest = rest[_SIZE_TRAILER:]
    if _zeros(rest, 0) < len(rest):
        raise TrailingDataError(
            f"{what}: {counted(len(rest), 'byte')} follow the {codec} data, which end at "
            f"offset {at:#x}",
            offset=at,
            hint="the file is damaged, or holds more than one thing",
        )
    try:
        return b"".join(pieces)
    except MemoryError:
        raise _no_memory(what, meter.given) from None


def _no_memory(what: str, size: int) -> ImageError:
    return ImageError(
        f"{what} cannot be expanded: there is no memory for more than {format_size(size)}",
        hint="run it where there is more memory",
    )


def _forget(piece: bytes) -> None:
    """Keep nothing."""


def decompressed_size(
    data: Buffer,
    limit: int | Budget,
    what: str = "the data",
    keep: Callable[[bytes], object] = _forget,
) -> tuple[int, int]:
    """Return (what the first member of ``data`` expands to, what it takes up), in bytes.

    Each piece of the output is shown to ``keep``, and then forgotten. Made for an initramfs,
    where other archives may follow, which a budget as ``limit`` may be shared with: what comes
    behind the member is not looked at. Raises as :func:`decompress` does.
    """
    codec = _require_probe(data, what, probe_member)
    budget = limit if isinstance(limit, Budget) else Budget(limit)
    return _member(codec, memoryview(data), what, budget.beside(what, codec), keep)


def _require_probe(
    data: Buffer, what: str, find: Callable[[Buffer], Codec | None] = probe
) -> Codec:
    codec = find(data)
    if codec is None:
        start = bytes(data[:6]).hex(" ")
        raise ImageError(
            f"{what} has no known compression: it has {counted(len(data), 'byte')} and begins "
            f"with {start!r}",
            hint=f"known are {', '.join(Codec)}",
        )
    return codec


def _member(
    codec: Codec, data: memoryview, what: str, meter: Meter, keep: Callable[[bytes], object]
) -> tuple[int, int]:
    """Expand one member and give each piece to ``keep``; returns (its size, bytes taken)."""
    size = at = 0
    meter.step()
    try:
        with closing(_EXPAND[codec](data)) as pieces:
            for taken, piece in pieces:
                if codec in _IN_BLOCKS:
                    meter.step()
                meter.count(taken - at, piece)
                at = taken
                size += len(piece)
                keep(piece)
        return size, at
    except Cut:
        raise ImageError(
            f"{what} is truncated: the {codec} data need an end mark and have none in "
            f"{counted(len(data), 'byte')} ({format_size(size)} expanded so far)",
            offset=len(data),
            hint="copy the file again",
        ) from None
    except Damaged as error:
        raise ImageError(
            f"{what} is damaged: {codec}: {error} ({format_size(size)} expanded so far)",
            hint="copy the file again",
        ) from error
    except MemoryError:
        raise _no_memory(what, size) from None


def _skip(codec: Codec, data: memoryview, at: int, meter: Meter, what: str) -> int:
    """Return the offset behind what the format allows between two members."""
    if codec is Codec.XZ:
        zeros = _zeros(data, at)
        follows = zeros % _XZ_PADDING == 0 and probe_member(data[at + zeros :]) is Codec.XZ
        return at + zeros if follows else at
    while codec in _SKIPPING and (size := _skippable(data[at:])):
        meter.step()
        if size > len(data) - at:
            raise ImageError(
                f"{what} is truncated: a skippable frame at offset {at:#x} needs "
                f"{counted(size, 'byte')}, "
                f"{len(data) - at} are there",
                offset=len(data),
                hint="copy the file again",
            )
        at += size
    return at


def _zeros(data: memoryview, at: int) -> int:
    """Return how many bytes from ``at`` on are zeros."""
    start = at
    while at < len(data):
        piece = bytes(data[at : at + _INPUT])
        rest = len(piece.lstrip(b"\0"))
        at += len(piece) - rest
        if rest:
            break
    return at - start


def _following(codec: Codec, rest: memoryview) -> Codec | None:
    """Return the compression of a member that goes on where one of ``codec`` ended."""
    found = probe_member(rest)
    lz4 = (Codec.LZ4, Codec.LZ4_LEGACY)
    return found if found is codec or (codec in lz4 and found in lz4) else None


def _gzip(data: memoryview) -> Pieces:
    """RFC 1952. zlib checks the CRC32 and the size."""
    import zlib

    engine = zlib.decompressobj(16 + zlib.MAX_WBITS)
    at = 0
    while not engine.eof:
        chunk: Buffer = engine.unconsumed_tail
        if not chunk:
            chunk = data[at : at + _INPUT]
            at += len(chunk)
        try:
            piece = engine.decompress(chunk, PIECE)
        except zlib.error as error:
            raise Damaged(str(error)) from error
        yield at - len(engine.unconsumed_tail) - len(engine.unused_data), piece
        if not piece and not chunk and not engine.eof:
            raise Cut


def _xz(data: memoryview) -> Pieces:
    """One .xz stream."""
    import lzma

    engine = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY)
    return _standard(engine, lzma.LZMAError, data)


def _lzma(data: memoryview) -> Pieces:
    """One .lzma file."""
    import lzma

    engine = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY)
    return _standard(engine, lzma.LZMAError, data)


def _bzip2(data: memoryview) -> Pieces:
    import bz2

    return _standard(bz2.BZ2Decompressor(), OSError, data)


def _standard(
    engine: LZMADecompressor | BZ2Decompressor, failure: type[Exception], data: memoryview
) -> Pieces:
    """Run a decompressor of the standard library's common kind over one member."""
    at = 0
    while not engine.eof:
        chunk: Buffer = b""
        if engine.needs_input:
            chunk = data[at : at + _INPUT]
            at += len(chunk)
            if not chunk:
                raise Cut
        try:
            piece = engine.decompress(chunk, PIECE)
        except failure as error:
            raise Damaged(str(error)) from error
        yield at - len(engine.unused_data), piece


_IN_BLOCKS = (Codec.LZ4_LEGACY, Codec.LZO)
"""Each piece is a block, which costs more here than in a library."""
_EXPAND: dict[Codec, Callable[[memoryview], Pieces]] = {
    Codec.GZIP: _gzip,
    Codec.XZ: _xz,
    Codec.LZMA: _lzma,
    Codec.BZIP2: _bzip2,
    Codec.ZSTD: expand_zstd,
    Codec.LZ4: expand_lz4,
    Codec.LZ4_LEGACY: expand_lz4_legacy,
    Codec.LZO: expand_lzop,
}
