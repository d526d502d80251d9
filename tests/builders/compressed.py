"""Compressed data as people compress kernels: with a checksum where the format has one."""

from __future__ import annotations

import bz2
import ctypes
import gzip
import lzma

from pykexec.formats.compression import Codec

CODECS = list(Codec)
WITHOUT_CHECKSUM = frozenset({Codec.LZMA, Codec.LZ4_LEGACY})
"""Damage to these can pass unnoticed by the decompressor."""

_ZSTD_C_CHECKSUM_FLAG = 201
_LZ4_LEGACY_BLOCK = 8 << 20


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
