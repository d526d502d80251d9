"""What a multiboot kernel is told: the information structures of both versions. Pure.

"Multiboot Specification version 0.6.96", section 3.3; "The Multiboot2 Specification version
2.0", section 3.6.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pykexec.boot.x86.e820 import E820Type
from pykexec.values.data_classes import dataclass
from pykexec.values.units import KIB, MIB, align_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.boot.x86.e820 import E820Entry
    from pykexec.values.ranges import Range

MAGIC_1 = 0x2BADB002
MAGIC_2 = 0x36D76289
"""What the kernel finds in eax."""

_INFO_1_SIZE = 116
_MEMORY, _CMDLINE, _MODULES, _MMAP, _LOADER_NAME, _FRAMEBUFFER = (
    1 << bit for bit in (0, 2, 3, 6, 9, 12)
)
_MMAP_ENTRY = struct.Struct("<QQI")
_RGB = 1
_TEXT = 2

TAG_END = 0
TAG_CMDLINE = 1
TAG_LOADER_NAME = 2
TAG_MODULE = 3
TAG_MEMORY = 4
TAG_MMAP = 6
TAG_FRAMEBUFFER = 8
TAG_LOAD_BASE = 21
PROVIDED = frozenset((TAG_CMDLINE, TAG_LOADER_NAME, TAG_MODULE, TAG_MEMORY, TAG_MMAP))
"""Types of information that every kernel is given; the framebuffer only if there is one."""

_FIRST_HOLE = 640 * KIB


@dataclass(frozen=True, slots=True)
class Framebuffer:
    """The display as firmware left it."""

    addr: int
    """Physical."""
    pitch: int
    """Bytes from one line to the next."""
    width: int
    height: int
    """In pixels, or in characters."""
    bits_per_pixel: int
    text: bool
    colours: bytes = b""
    """Position and size of red, green and blue, a byte each."""


@dataclass(frozen=True, slots=True)
class PlacedModule:
    """A module: its bytes, and its command line without a NUL."""

    place: Range
    cmdline: bytes


@dataclass(frozen=True, slots=True)
class Information:
    """Everything that is told."""

    cmdline: bytes
    loader_name: bytes
    modules: Sequence[PlacedModule]
    e820: Sequence[E820Entry]
    framebuffer: Framebuffer | None
    load_base: int | None
    """Version 2: where a relocatable kernel was put."""


def build_information(version: int, told: Information, base: int) -> bytes:
    """Encode ``told`` for physical address ``base``; the size does not depend on that."""
    return _build_1(told, base) if version == 1 else _build_2(told)


def lower_and_upper(e820: Sequence[E820Entry]) -> tuple[int, int]:
    """Return the KiB of RAM from 0, at most 640, and from 1 MiB to the first hole."""
    ram = sorted(item.range for item in e820 if item.type == E820Type.E820_TYPE_RAM)
    upper = MIB
    for part in ram:
        if part.start <= upper < part.end:
            upper = part.end
    # Page 0 is often not told as RAM; the memory above it counts all the same.
    lower = max((min(part.end, _FIRST_HOLE) for part in ram if part.start < _FIRST_HOLE), default=0)
    return lower // KIB, min((upper - MIB) // KIB, 0xFFFFFFFF)


def _mmap_type(kind: int) -> int:
    """Types above 5 are E820's alone: such memory is reserved to a multiboot kernel."""
    known = E820Type.E820_TYPE_RAM <= kind <= E820Type.E820_TYPE_UNUSABLE
    return kind if known else E820Type.E820_TYPE_RESERVED


def _build_1(told: Information, base: int) -> bytes:
    strings = bytearray()

    def keep(data: bytes, align: int = 1) -> int:
        strings.extend(bytes(-len(strings) % align))
        strings.extend(data)
        return base + _INFO_1_SIZE + len(strings) - len(data)

    cmdline, name = keep(told.cmdline + b"\0"), keep(told.loader_name + b"\0")
    entries = [
        struct.pack("<I", _MMAP_ENTRY.size)
        + _MMAP_ENTRY.pack(item.range.start, item.range.size, _mmap_type(item.type))
        for item in told.e820
    ]
    mmap = keep(b"".join(entries), 4)
    texts = [keep(module.cmdline + b"\0") for module in told.modules]
    table = [
        struct.pack("<4I", module.place.start, module.place.end, text, 0)
        for module, text in zip(told.modules, texts, strict=True)
    ]
    modules = keep(b"".join(table), 4)
    flags = _MEMORY | _CMDLINE | _MODULES | _MMAP | _LOADER_NAME
    info = bytearray(_INFO_1_SIZE)
    struct.pack_into("<3I", info, 0, flags, *lower_and_upper(told.e820))
    struct.pack_into("<3I", info, 16, cmdline, len(table), modules)
    struct.pack_into("<2I", info, 44, len(b"".join(entries)), mmap)
    struct.pack_into("<I", info, 64, name)
    if told.framebuffer is not None:
        struct.pack_into("<I", info, 0, flags | _FRAMEBUFFER)
        fields, colours = _framebuffer(told.framebuffer)
        info[88 : 88 + len(fields)] = fields
        info[110 : 110 + len(colours)] = colours
    return bytes(info + strings)


def _framebuffer(told: Framebuffer) -> tuple[bytes, bytes]:
    kind = _TEXT if told.text else _RGB
    fields = struct.pack(
        "<QIIIBB",
        told.addr,
        told.pitch,
        told.width,
        told.height,
        told.bits_per_pixel,
        kind,
    )
    return fields, told.colours


def _build_2(told: Information) -> bytes:
    lower, upper = lower_and_upper(told.e820)
    tags = [
        _tag(TAG_CMDLINE, told.cmdline + b"\0"),
        _tag(TAG_LOADER_NAME, told.loader_name + b"\0"),
        _tag(TAG_MEMORY, struct.pack("<II", lower, upper)),
        *(
            _tag(
                TAG_MODULE,
                struct.pack("<II", module.place.start, module.place.end) + module.cmdline + b"\0",
            )
            for module in told.modules
        ),
        _tag(
            TAG_MMAP,
            struct.pack("<II", _MMAP_ENTRY.size + 4, 0)
            + b"".join(
                _MMAP_ENTRY.pack(item.range.start, item.range.size, _mmap_type(item.type))
                + bytes(4)
                for item in told.e820
            ),
        ),
    ]
    if told.framebuffer is not None:
        fields, colours = _framebuffer(told.framebuffer)
        tags.append(_tag(TAG_FRAMEBUFFER, fields + bytes(2) + colours))
    if told.load_base is not None:
        tags.append(_tag(TAG_LOAD_BASE, struct.pack("<I", told.load_base)))
    tags.append(_tag(TAG_END, b""))
    body = b"".join(tags)
    return struct.pack("<II", 8 + len(body), 0) + body


def _tag(kind: int, body: bytes) -> bytes:
    data = struct.pack("<II", kind, 8 + len(body)) + body
    return data.ljust(align_up(len(data), 8), b"\0")
