"""A flash image for QEMU's powernv machines: what skiboot looks for, and nothing in it.

Without NVRAM and VERSION in it newer skiboots stop before they start a kernel. The format is that
of the table in POWER's flash (open-power/skiboot, libflash/ffs.h): big endian, in 32-bit words,
with an exclusive-or of all words before it at the end of the header and of each entry.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import reduce
from operator import xor
from pathlib import Path

SIZE = 64 << 20
"""Bytes of the flash of QEMU's machines."""
_BLOCK = 4096
_ENTRY = 128
_TABLE, _DATA = 3, 1
_NO_PARENT = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    block: int
    blocks: int
    kind: int = _DATA


_PARTS = (_Part("part", 0, 1, _TABLE), _Part("NVRAM", 16, 144), _Part("VERSION", 1, 1))


def write_pnor(path: Path) -> None:
    """Write the image: erased flash, but for the table and an NVRAM of zeros."""
    table = _checked(
        struct.pack(">4s6I4I", b"PART", 1, 1, _ENTRY, len(_PARTS), _BLOCK, SIZE // _BLOCK, *[0] * 4)
    )
    for number, part in enumerate(_PARTS, start=1):
        size = part.blocks * _BLOCK
        words = (part.block, part.blocks, _NO_PARENT, number, part.kind, 0, size)
        table += _checked(struct.pack(">16s7I80x", part.name.encode(), *words))
    image = bytearray(b"\xff" * SIZE)
    image[: len(table)] = table
    for part in _PARTS[1:2]:
        start = part.block * _BLOCK
        image[start : start + part.blocks * _BLOCK] = bytes(part.blocks * _BLOCK)
    path.write_bytes(image)


def _checked(data: bytes) -> bytes:
    words = struct.unpack(f">{len(data) // 4}I", data)
    return data + struct.pack(">I", reduce(xor, words))
