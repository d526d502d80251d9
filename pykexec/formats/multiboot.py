"""Kernels with a multiboot header, of version 1 or 2. Pure.

"Multiboot Specification version 0.6.96", section 3.1, and "The Multiboot2 Specification version
2.0", section 3.1: the header, which may be anywhere near the start of the file.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag
from typing import TYPE_CHECKING

from pykexec.formats import elf_file
from pykexec.formats.elf_file import LoadSegment
from pykexec.formats.elf_program import ElfProgram, parse_elf_program
from pykexec.formats.layers import KERNEL_LIMIT
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.large_values import reduce_to_copies, short_repr
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.values.buffers import Buffer

NAME_1 = "multiboot"
NAME_2 = "multiboot2"

_MAGIC_1 = 0x1BADB002
_SEARCH_1, _STEP_1 = 8192, 4
_MAGIC_2 = 0xE85250D6
_SEARCH_2, _STEP_2 = 32768, 8
_ARCHITECTURE_I386 = 0
_HEADER_2_MAX = 4096
_WORD = 0xFFFFFFFF


class Flags1(IntFlag):
    """Flags of a version 1 header; a loader must know all of the lower 16 bits."""

    PAGE_ALIGN = 1 << 0
    MEMORY_INFO = 1 << 1
    VIDEO_MODE = 1 << 2
    ADDRESSES = 1 << 16


class HeaderTag(IntEnum):
    """Tags of a version 2 header."""

    END = 0
    INFORMATION_REQUEST = 1
    ADDRESS = 2
    ENTRY_ADDRESS = 3
    CONSOLE_FLAGS = 4
    FRAMEBUFFER = 5
    MODULE_ALIGN = 6
    EFI_BOOT_SERVICES = 7
    EFI_I386_ENTRY = 8
    EFI_AMD64_ENTRY = 9
    RELOCATABLE = 10


_TAG_SIZES = {
    HeaderTag.ADDRESS: 24,
    HeaderTag.ENTRY_ADDRESS: 12,
    HeaderTag.RELOCATABLE: 24,
}
_UNUSED_TAGS = (
    HeaderTag.CONSOLE_FLAGS,
    HeaderTag.FRAMEBUFFER,
    HeaderTag.MODULE_ALIGN,
    # These are for loaders that run before ExitBootServices().
    HeaderTag.EFI_I386_ENTRY,
    HeaderTag.EFI_AMD64_ENTRY,
)
"""Known, and either met anyway or a wish that may be left open."""
_OPTIONAL = 1


@dataclass(frozen=True, slots=True)
class Relocation:
    """Where a relocatable image may go. Addresses are physical."""

    lowest: int
    last: int
    """Inclusive: the highest address that the image may take."""
    align: int
    """A power of two."""
    high: bool
    """The highest possible address is preferred, and not the lowest."""


@dataclass(frozen=True, slots=True)
class Multiboot:
    """A parsed multiboot kernel. The buffers are views into the file."""

    version: int
    """1 or 2."""
    segments: tuple[LoadSegment, ...]
    """In ascending order of physical address; they do not overlap."""
    entry_addr: int
    """Physical; entered in 32-bit protected mode."""
    relocation: Relocation | None
    required: frozenset[int]
    """Version 2: types of information without which the kernel does not want to be started."""
    wants_video: bool
    payload: Buffer
    """The whole file."""
    release: str = ""
    signed: bool = False
    arch: str = "x86"

    __repr__ = short_repr
    __reduce__ = reduce_to_copies

    @property
    def format_name(self) -> str:
        """Name of the format."""
        return NAME_1 if self.version == 1 else NAME_2

    @property
    def bits(self) -> int:
        """Of the processor mode that it is entered in."""
        return 32

    @property
    def relocatable(self) -> bool:
        """It may be moved as a whole."""
        return self.relocation is not None

    @property
    def start(self) -> int:
        """Physical address of the first byte."""
        return self.segments[0].paddr

    @property
    def end(self) -> int:
        """Physical address behind the last byte in memory."""
        return self.segments[-1].paddr + self.segments[-1].memsz


def probe_1(data: Buffer) -> str | None:
    """Return None if there is a version 1 header, else why there is none."""
    if _find_1(data) is not None:
        return None
    return f"no magic {_MAGIC_1:#x} with a right checksum in the first {_SEARCH_1} bytes"


def probe_2(data: Buffer) -> str | None:
    """Return None if there is a version 2 header, else why there is none."""
    if _find_2(data) is not None:
        return None
    return f"no magic {_MAGIC_2:#x} with a right checksum in the first {_SEARCH_2} bytes"


def _find_1(data: Buffer) -> int | None:
    return _find(data, _MAGIC_1, _SEARCH_1, _STEP_1, 3)


def _find_2(data: Buffer) -> int | None:
    return _find(data, _MAGIC_2, _SEARCH_2, _STEP_2, 4)


def _find(data: Buffer, magic: int, room: int, step: int, count: int) -> int | None:
    """Return the offset of the first header whose first ``count`` words add up to zero.

    These words are what every header has, and what has to be within ``room``.
    """
    head = bytes(data[:room])
    wanted = magic.to_bytes(4, "little")
    at = head.find(wanted)
    while at >= 0:
        if at % step == 0 and at + 4 * count <= len(head):
            words = struct.unpack_from(f"<{count}I", head, at)
            if not sum(words) & _WORD:
                return at
        at = head.find(wanted, at + 1)
    return None


def parse_multiboot_1(data: Buffer) -> Multiboot:
    """Parse a kernel with a version 1 header.

    Raises :class:`ImageError` for one that asks for what is not known here, is cut, or whose
    addresses contradict each other.
    """
    at = _find_1(data)
    if at is None:
        raise ImageError(f"not a {NAME_1} kernel: {probe_1(data)}")
    (word,) = struct.unpack_from("<I", bytes(data[at + 4 : at + 8]))
    flags = Flags1(word)
    known = Flags1.PAGE_ALIGN | Flags1.MEMORY_INFO | Flags1.VIDEO_MODE
    unknown = word & 0xFFFF & ~known
    if unknown:
        raise ImageError(
            f"the multiboot header asks for features that are not known: flags {unknown:#x}",
            offset=at + 4,
            field="flags",
        )
    if Flags1.ADDRESSES in flags:
        addresses = struct.unpack("<5I", _take(data, at + 12, 20, "its addresses"))
        segments: tuple[LoadSegment, ...] = (_flat_segment(data, at, *addresses[:4]),)
        entry = _checked_entry(addresses[4], segments)
    else:
        elf = _elf(data, at)
        segments, entry = elf.segments, elf.entry_addr
    return Multiboot(
        version=1,
        segments=segments,
        entry_addr=entry,
        relocation=None,
        required=frozenset(),
        wants_video=Flags1.VIDEO_MODE in flags,
        payload=data,
    )


def parse_multiboot_2(data: Buffer) -> Multiboot:
    """Parse a kernel with a version 2 header; raises as :func:`parse_multiboot_1`."""
    at = _find_2(data)
    if at is None:
        raise ImageError(f"not a {NAME_2} kernel: {probe_2(data)}")
    architecture, length = struct.unpack("<II", _take(data, at + 4, 8, "its header"))
    if architecture != _ARCHITECTURE_I386:
        raise ImageError(
            f"a {NAME_2} kernel for architecture {architecture}, and not for i386 (0)",
            offset=at + 4,
            field="architecture",
        )
    found = tuple(_tags(data, at, length))
    tags = dict(found)
    segments, entry, relocation = _image_2(data, at, tags)
    return Multiboot(
        version=2,
        segments=segments,
        entry_addr=entry,
        relocation=relocation,
        required=frozenset(
            wanted
            for kind, tag in found
            if kind == HeaderTag.INFORMATION_REQUEST and not tag.optional
            for wanted in _words(tag.body)
        ),
        wants_video=HeaderTag.FRAMEBUFFER in tags,
        payload=data,
    )


@dataclass(frozen=True, slots=True)
class _Tag:
    optional: bool
    body: bytes
    """Behind type, flags and size."""


def _tags(data: Buffer, at: int, length: int) -> Iterator[tuple[int, _Tag]]:
    """Yield the tags up to the end tag; those that are optional and unknown are left out."""
    if not 16 <= length <= _HEADER_2_MAX:
        raise ImageError(
            f"the multiboot2 header has {counted(length, 'byte')}, 16 to {_HEADER_2_MAX} are "
            "possible",
            offset=at + 8,
            field="header_length",
        )
    header = _take(data, at, length, "its header")
    here = 16
    while here + 8 <= length:
        kind, flags, size = struct.unpack_from("<HHI", header, here)
        if kind == HeaderTag.END:
            return
        if size < _TAG_SIZES.get(kind, 8) or here + size > length:
            raise ImageError(
                f"the multiboot2 header is malformed: tag {kind} has {counted(size, 'byte')} "
                "of the "
                f"{length - here} that are left",
                offset=at + here,
                field="size",
            )
        optional = bool(flags & _OPTIONAL)
        if kind in _TAG_SIZES or kind == HeaderTag.INFORMATION_REQUEST or kind in _UNUSED_TAGS:
            yield kind, _Tag(optional, header[here + 8 : here + size])
        elif not optional:
            raise ImageError(
                f"the multiboot2 header asks for a feature that is not known: tag {kind}",
                offset=at + here,
                field="type",
            )
        here += (size + 7) & -8
    raise ImageError("the multiboot2 header has no end tag", offset=at, field="header_length")


def _image_2(
    data: Buffer, at: int, tags: dict[int, _Tag]
) -> tuple[tuple[LoadSegment, ...], int, Relocation | None]:
    address, entry_tag = tags.get(HeaderTag.ADDRESS), tags.get(HeaderTag.ENTRY_ADDRESS)
    entry = struct.unpack("<I", entry_tag.body[:4])[0] if entry_tag else None
    segments: tuple[LoadSegment, ...]
    if address is not None:
        segments = (_flat_segment(data, at, *struct.unpack("<4I", address.body[:16])),)
        if entry is None:
            raise ImageError(
                "the multiboot2 header has addresses but no entry point", offset=at, field="type"
            )
    else:
        elf = _elf(data, at)
        segments = elf.segments
        entry = elf.entry_addr if entry is None else entry
    tag = tags.get(HeaderTag.RELOCATABLE)
    return segments, _checked_entry(entry, segments), _relocation(tag) if tag else None


def _relocation(tag: _Tag) -> Relocation:
    lowest, last, align, preference = struct.unpack("<4I", tag.body[:16])
    if not align or align & (align - 1) or lowest > last:
        raise ImageError(
            f"the multiboot2 header is malformed: relocatable from {lowest:#x} to {last:#x}, "
            f"aligned to {align:#x}",
            field="align",
        )
    return Relocation(lowest, last, align, high=preference == 2)


def _words(body: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(body) // 4}I", body[: len(body) & -4])


def _flat_segment(
    data: Buffer, at: int, header_addr: int, load_addr: int, load_end: int, bss_end: int
) -> LoadSegment:
    """Return what the address fields say: the file from some byte on, then zeros."""
    start = at - (header_addr - load_addr)
    size = load_end - load_addr if load_end else len(data) - start
    end = bss_end or load_addr + size
    if load_addr > header_addr or start < 0 or size <= 0 or end < load_addr + size:
        raise ImageError(
            f"the multiboot header is malformed: header_addr {header_addr:#x}, load_addr "
            f"{load_addr:#x}, load_end_addr {load_end:#x}, bss_end_addr {bss_end:#x}",
            offset=at + 12,
            field="load_addr",
        )
    if end - load_addr > KERNEL_LIMIT:
        raise ImageError(
            f"the multiboot kernel takes more than {format_size(KERNEL_LIMIT)}",
            field="bss_end_addr",
        )
    _take(data, start, 0, "its code")
    if start + size > len(data):
        raise _truncated(data, start, size, "its code")
    content = memoryview(data)[start : start + size]
    return LoadSegment(load_addr, load_addr, content, end - load_addr, 1)


def _elf(data: Buffer, at: int) -> ElfProgram:
    reason = elf_file.probe(data)
    if reason is not None:
        raise ImageError(
            f"the multiboot header has no addresses, and the file is no ELF file: {reason}",
            offset=at + 4,
            field="flags",
            hint="give the file for boot loaders of the BIOS: xen.gz, and not xen.efi",
        )
    elf = parse_elf_program(data)
    if elf.end > 1 << 32:
        raise ImageError(
            f"the multiboot kernel ends at {elf.end:#x}: it is entered in 32 bits, which reach "
            "up to 4 GiB",
            field="p_paddr",
        )
    return elf


def _checked_entry(entry: int, segments: tuple[LoadSegment, ...]) -> int:
    if not any(item.paddr <= entry < item.paddr + len(item.data) for item in segments):
        raise ImageError(
            f"the multiboot kernel has nothing at its entry point {entry:#x}", field="entry_addr"
        )
    return entry


def _take(data: Buffer, start: int, size: int, what: str) -> bytes:
    if start + size > len(data):
        raise _truncated(data, start, size, what)
    return bytes(data[start : start + size])


def _truncated(data: Buffer, start: int, size: int, what: str) -> ImageError:
    return ImageError(
        f"the multiboot kernel is truncated: {what} should take the bytes from {start:#x} to "
        f"{start + size:#x}, there are {len(data):#x}",
        offset=len(data),
        hint="copy the file again",
    )
