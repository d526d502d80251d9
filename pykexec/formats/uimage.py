"""U-Boot's legacy uImage: a header of 64 bytes, big-endian, in front of a kernel. Pure.

U-Boot include/image.h, "struct legacy_img_hdr", and its enumerations of operating systems,
architectures, types and compressions.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from pykexec.architectures import names_by
from pykexec.formats._structures import UIMAGE_HEADER
from pykexec.formats.compression import Codec, choose, decompress
from pykexec.formats.layers import Layer
from pykexec.formats.structs import parse_at
from pykexec.values.errors import ImageError
from pykexec.values.units import counted

if TYPE_CHECKING:
    from pykexec.formats.budget import Budget
    from pykexec.values.buffers import Buffer

NAME = "uImage"
MAGIC = 0x27051956

_IH_OS_LINUX = 5
_TYPES = {2: "kernel", 14: "kernel, to be run in place"}
_OTHER_TYPES = {3: "a ramdisk", 4: "several files in one", 6: "a script", 8: "a device tree"}
_CODECS: dict[int, tuple[Codec, ...]] = {
    1: (Codec.GZIP,),
    2: (Codec.BZIP2,),
    3: (Codec.LZMA,),
    4: (Codec.LZO,),
    5: (Codec.LZ4, Codec.LZ4_LEGACY),
    6: (Codec.ZSTD,),
}

_HEADER_CRC = slice(4, 8)


def probe(data: Buffer) -> str | None:
    """Return None if the magic is a uImage's, else why it is not."""
    magic = int.from_bytes(data[:4], "big")
    return None if magic == MAGIC else f"the magic is {magic:#x}, not {MAGIC:#x}"


def unwrap(data: Buffer, budget: Budget) -> Layer:
    """Check both checksums and expand the kernel.

    The addresses in the header are for U-Boot, and not used. Raises :class:`ImageError`.
    """
    header = parse_at(UIMAGE_HEADER, data, 0, "the uImage header")
    start = UIMAGE_HEADER.size
    raw = bytearray(data[:start])
    raw[_HEADER_CRC] = bytes(4)
    _check_crc(zlib.crc32(raw), header.header_crc, "header")
    if start + header.size > len(data):
        raise ImageError(
            f"the uImage is truncated: {start} + {counted(header.size, 'byte')} are needed, "
            "there are "
            f"{len(data)}",
            offset=len(data),
            field="ih_size",
            hint="copy the file again",
        )
    kernel = memoryview(data)[start : start + header.size]
    _check_crc(zlib.crc32(kernel), header.data_crc, "data")
    if header.os != _IH_OS_LINUX or header.type not in _TYPES:
        kind = _OTHER_TYPES.get(header.type, f"of type {header.type} for system {header.os}")
        raise ImageError(
            f"the uImage is {kind}; needed is a Linux kernel (type 2 or 14, system 5)",
            offset=28,
            field="ih_type",
            hint="take the kernel out with dumpimage",
        )
    machine = names_by("u_boot").get(header.arch, f"architecture {header.arch}")
    return _expanded(kernel, header.compression, machine, budget)


def _check_crc(found: int, announced: int, what: str) -> None:
    if found != announced:
        raise ImageError(
            f"the uImage is damaged: the CRC32 of its {what} is {found:#010x}, announced is "
            f"{announced:#010x}",
            field=f"ih_{what[0]}crc",
            hint="copy the file again",
        )


def _expanded(kernel: memoryview, compression: int, machine: str, budget: Budget) -> Layer:
    if not compression:
        return Layer(f"{NAME} for {machine}", kernel)
    codecs = _CODECS.get(compression)
    if codecs is None:
        raise ImageError(
            f"the uImage is packed with method {compression}; known are gzip (1), bzip2 (2), "
            "lzma (3), lzo (4), lz4 (5) and zstd (6)",
            offset=31,
            field="ih_comp",
        )
    codec = choose(kernel, codecs)
    inner = decompress(kernel, budget, "the kernel in the uImage", codec)
    return Layer(f"{NAME} for {machine} ({codec})", inner)
