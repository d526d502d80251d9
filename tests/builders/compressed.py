"""Compressed data as people compress kernels: with a checksum where the format has one."""

from __future__ import annotations

import bz2
import ctypes
import gzip
import lzma
import re
import struct
import zlib
from collections.abc import Iterator

from pykexec.formats.compression import Codec

CODECS = list(Codec)
WITHOUT_CHECKSUM = frozenset({Codec.LZMA, Codec.LZ4_LEGACY})
"""Damage to these can pass unnoticed by the decompressor."""

_ZSTD_C_CHECKSUM_FLAG = 201
_LZ4_LEGACY_BLOCK = 8 << 20
_LZOP_BLOCK = 256 << 10
_ZEROS = re.compile(rb"\0{40,}")


class _Lz4Preferences(ctypes.Structure):
    """``LZ4F_preferences_t`` of lz4frame.h, with its ``LZ4F_frameInfo_t`` in place."""

    _fields_ = [
        ("block_size_id", ctypes.c_uint32),
        ("block_mode", ctypes.c_uint32),
        ("content_checksum_flag", ctypes.c_uint32),
        ("frame_type", ctypes.c_uint32),
        ("content_size", ctypes.c_uint64),
        ("dict_id", ctypes.c_uint32),
        ("block_checksum_flag", ctypes.c_uint32),
        ("compression_level", ctypes.c_int32),
        ("auto_flush", ctypes.c_uint32),
        ("favor_dec_speed", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32 * 3),
    ]


def compress(codec: Codec, data: bytes) -> bytes:
    """Compress ``data``: quickly, since kernels of 30 MB are among them."""
    match codec:
        case Codec.GZIP:
            return gzip.compress(data, 1, mtime=0)
        case Codec.XZ:
            return lzma.compress(data, check=lzma.CHECK_CRC32, preset=0)
        case Codec.LZMA:
            return lzma.compress(data, lzma.FORMAT_ALONE, preset=0)
        case Codec.BZIP2:
            return bz2.compress(data)
        case Codec.ZSTD:
            return _zstd(data)
        case Codec.LZ4:
            return _lz4(data)
        case Codec.LZ4_LEGACY:
            return _lz4_legacy(data)
        case Codec.LZO:
            return lzop(data)


def _library(name: str) -> ctypes.CDLL:
    library = ctypes.CDLL(name)
    for function in ("ZSTD_createCCtx", "ZSTD_compress2", "LZ4F_compressFrame"):
        if hasattr(library, function):
            getattr(library, function).restype = ctypes.c_void_p
    return library


def _zstd(data: bytes) -> bytes:
    zstd = _library("libzstd.so.1")
    context = ctypes.c_void_p(zstd.ZSTD_createCCtx())
    zstd.ZSTD_CCtx_setParameter(context, _ZSTD_C_CHECKSUM_FLAG, 1)
    room = ctypes.create_string_buffer(len(data) + len(data) // 128 + 1024)
    size = zstd.ZSTD_compress2(
        context, room, ctypes.c_size_t(len(room)), data, ctypes.c_size_t(len(data))
    )
    zstd.ZSTD_freeCCtx(context)
    assert size <= len(room), "an error code"
    return room.raw[:size]


def _lz4(data: bytes) -> bytes:
    lz4 = _library("liblz4.so.1")
    wanted = _Lz4Preferences(content_checksum_flag=1)
    room = ctypes.create_string_buffer(len(data) + len(data) // 128 + (1 << 20))
    size = lz4.LZ4F_compressFrame(
        room, ctypes.c_size_t(len(room)), data, ctypes.c_size_t(len(data)), ctypes.byref(wanted)
    )
    assert size <= len(room), "an error code"
    return room.raw[:size]


def _lz4_legacy(data: bytes) -> bytes:
    lz4 = _library("liblz4.so.1")
    out = bytearray(0x184C2102.to_bytes(4, "little"))
    room = ctypes.create_string_buffer(_LZ4_LEGACY_BLOCK + (1 << 20))
    for start in range(0, len(data), _LZ4_LEGACY_BLOCK):
        block = data[start : start + _LZ4_LEGACY_BLOCK]
        size = lz4.LZ4_compress_default(block, room, len(block), len(room))
        assert size > 0
        out += size.to_bytes(4, "little") + room.raw[:size]
    return bytes(out)


LZOP_CHECKSUMS = 0x3
"""What lzop does if not told otherwise: Adler-32, of each block before and after."""


def lzop(
    data: bytes, flags: int = LZOP_CHECKSUMS, *, method: int = 1, extra: bytes | None = None
) -> bytes:
    """Build a file as lzop 1.04 does, whatever checksums ``flags`` ask for."""
    name = b"vmlinux"
    flags |= 0 if extra is None else 0x40
    header = struct.pack(">HHHBBIIII", 0x1040, 0x20A0, 0x0940, method, 5, flags, 0o644, 0, 0)
    header += bytes([len(name)]) + name
    check = zlib.crc32 if flags & 0x1000 else zlib.adler32
    out = [b"\x89LZO\0\r\n\x1a\n", header, struct.pack(">I", check(header))]
    if extra is not None:
        out += [struct.pack(">I", len(extra)), extra, struct.pack(">I", check(extra))]
    for start in range(0, len(data), _LZOP_BLOCK):
        block = data[start : start + _LZOP_BLOCK]
        packed = min(lzo1x(block), block, key=len)
        out.append(struct.pack(">II", len(block), len(packed)))
        out += _lzop_sums(block, flags & 0x1, flags & 0x100)
        if len(packed) < len(block):
            out += _lzop_sums(packed, flags & 0x2, flags & 0x200)
        out.append(packed)
    return b"".join(out) + bytes(4)


def _lzop_sums(data: bytes, adler: int, crc: int) -> Iterator[bytes]:
    if adler:
        yield struct.pack(">I", zlib.adler32(data))
    if crc:
        yield struct.pack(">I", zlib.crc32(data))


def lzo1x(data: bytes) -> bytes:
    """Compress runs of zeros with LZO1X, Linux Documentation/staging/lzo.rst."""
    out = []
    end = 0
    for zeros in _ZEROS.finditer(data):
        # The first of the zeros is a literal, which is repeated.
        literals = data[end : zeros.start() + 1]
        count = zeros.end() - zeros.start() - 1
        # Short runs of literals are encoded otherwise, and not needed.
        if len(literals) > 18 and not 0 < len(data) - zeros.end() < 4:
            out += [_lzo_length(0, len(literals) - 18), literals]
            out += [_lzo_length(0x20, count - 33), b"\0\0"]
            end = zeros.end()
    rest = data[end:]
    if len(rest) > 18:
        out.append(_lzo_length(0, len(rest) - 18))
    elif len(rest) > 3:
        out.append(bytes([len(rest) - 3]))
    elif rest:
        assert not end
        out.append(bytes([17 + len(rest)]))
    return b"".join([*out, rest, b"\x11\0\0"])


def _lzo_length(code: int, rest: int) -> bytes:
    """Encode a length that is ``rest`` more than the instruction's own bits hold."""
    skipped, last = divmod(rest - 1, 255)
    return bytes([code]) + bytes(skipped) + bytes([last + 1])
