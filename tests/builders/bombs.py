"""Compressed data that are made to cost time or memory, and no kernel."""

from __future__ import annotations

import struct
import zlib

from pykexec.formats.compression import Codec
from tests.builders.compressed import compress

MIB = 1 << 20

EMPTY_ZSTD = bytes.fromhex("28b52ffd2000010000")
SKIPPABLE = bytes.fromhex("502a4d1800000000")
EMPTY_LEGACY_BLOCK = bytes.fromhex("0100000000")
STORED_GZIP_BLOCK = bytes.fromhex("000000ffff")
"""A block of DEFLATE that is stored and has no bytes (RFC 1951, section 3.2.4)."""
EMPTY_ZSTD_BLOCK = bytes(3)
BYTE_IN_AN_LZ4_BLOCK = bytes.fromhex("0100008061")
"""A block that is not compressed (lz4_Frame_format.md, "Data Blocks")."""


def lzop_start() -> bytes:
    """Return the header of a file of lzop without checksums of blocks."""
    header = struct.pack(">HHHBBIIII", 0x1030, 0x2080, 0x0940, 1, 5, 0, 0o644, 0, 0) + b"\0"
    return b"\x89LZO\0\r\n\x1a\n" + header + struct.pack(">I", zlib.adler32(header))


def filled(start: bytes, piece: bytes, size: int) -> bytes:
    """Return ``start``, and ``piece`` over and over up to some ``size`` bytes."""
    return start + piece * (max(size - len(start), 0) // len(piece))


LZOP_BLOCK = struct.pack(">II", 2, 2) + b"ab"
LZOP_STEPS = struct.pack(">II", 256 << 10, 196613) + b"\x15abcd" + b"\x22\0\0" * 65535 + b"\x11\0\0"
"""A block of steps that copy a few bytes each."""


def busy(codec: Codec, size: int) -> dict[str, bytes]:
    """Return by name files of some ``size`` bytes that take long, and expand to hardly anything."""
    member = compress(codec, b"")
    found = {"empty members": filled(member, member, size)}
    match codec:
        case Codec.GZIP:
            found["empty blocks"] = filled(compress(codec, b"")[:10], STORED_GZIP_BLOCK, size)
            found["endless name"] = bytes.fromhex("1f8b0808000000000003") + b"n" * size
        case Codec.ZSTD:
            found["skippable frames"] = filled(EMPTY_ZSTD, SKIPPABLE, size)
            found["skippable first"] = filled(SKIPPABLE, SKIPPABLE, size)
            found["empty blocks"] = filled(bytes.fromhex("28b52ffd0058"), EMPTY_ZSTD_BLOCK, size)
        case Codec.LZ4:
            start = bytes.fromhex("04224d18604082")
            found["tiny blocks"] = filled(start, BYTE_IN_AN_LZ4_BLOCK, size)
            found["skippable frames"] = filled(member, SKIPPABLE, size)
        case Codec.LZ4_LEGACY:
            start = bytes.fromhex("02214c18")
            found["empty members"] = filled(b"", start + EMPTY_LEGACY_BLOCK, size)
            found["nothing but magics"] = filled(start, start, size)
            found["other frames"] = filled(
                start + EMPTY_LEGACY_BLOCK,
                compress(Codec.LZ4, b"") + start + EMPTY_LEGACY_BLOCK,
                size,
            )
        case Codec.LZO:
            found["tiny blocks"] = filled(lzop_start(), LZOP_BLOCK, size)
            found["tiny steps"] = filled(lzop_start(), LZOP_STEPS, size)
        case Codec.XZ:
            found["padded members"] = filled(member, bytes(4) + member, size)
        case _:
            pass
    return found


def expanding(codec: Codec, size: int) -> bytes:
    """Return what expands to ``size`` bytes, zeros nearly all."""
    # lzo as the tests write it wants some other bytes first in each block.
    block = bytes(range(1, 33)).ljust(256 << 10, b"\0")
    return compress(codec, block * (size // len(block)))


def nested(inner: bytes, codecs: tuple[Codec, ...]) -> bytes:
    """Compress ``inner`` with each codec, the last outermost."""
    for codec in codecs:
        inner = compress(codec, inner)
    return inner
