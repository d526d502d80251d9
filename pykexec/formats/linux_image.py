"""The ``Image`` of arm64: a header of 64 bytes in front of the kernel. Pure.

Linux Documentation/arch/arm64/booting.rst, "4. Call the kernel image". Kernels with
CONFIG_EFI are PE files as well (res5 is the offset of the PE header), whose section table
says how many bytes of the file belong to the kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from construct import Bytes, Int32ul, Int64ul, Struct

from pykexec.formats import pe
from pykexec.formats.structs import parse_at
from pykexec.values.buffers import Buffer
from pykexec.values.errors import ImageError
from pykexec.values.large_values import reduce_to_copies, short_repr
from pykexec.values.units import KIB, MIB, counted, format_size

NAME = "Image"
ARCH = "aarch64"
MAGIC = b"ARM\x64"
ALIGNMENT = 2 * MIB
"""The kernel lies ``text_offset`` bytes behind a multiple of it."""

_MAGIC_OFFSET = 56
# The same place in the headers of other architectures: Linux
# Documentation/arch/riscv/boot-image-header.rst, "magic2"; include/linux/pe.h,
# "LINUX_PE_MAGIC", with which a PE header says for which.
_RISCV_MAGIC = b"RSC\x05"
_LINUX_PE_MAGIC = b"\xcd\x23\x82\x81"
_TEXT_OFFSET_BEFORE_3_17 = 0x80000
_ALLOWANCE_BEFORE_3_17 = 16 * MIB
_FLAG_BIG_ENDIAN = 1 << 0
_PAGE_SIZE_SHIFT = 1
_PAGE_SIZES = {0: None, 1: 4 * KIB, 2: 16 * KIB, 3: 64 * KIB}
_FLAG_PLACED_ANYWHERE = 1 << 3
_BANNER = re.compile(rb"Linux version ([\x21-\x7e]{1,60}) \(")

_HEADER = Struct(
    "code0" / Int32ul,
    "code1" / Int32ul,
    "text_offset" / Int64ul,
    "image_size" / Int64ul,
    "flags" / Int64ul,
    "res2" / Int64ul,
    "res3" / Int64ul,
    "res4" / Int64ul,
    "magic" / Bytes(4),
    "res5" / Int32ul,
)


@dataclass(frozen=True, slots=True)
class LinuxImage:
    """A parsed Image."""

    payload: Buffer
    """What goes into memory, header first: without the signature and the padding of the file."""
    text_offset: int
    """Bytes from a multiple of 2 MiB to the start of the payload."""
    image_size: int
    """Bytes of memory from the start of the payload, at least as many as it has."""
    image_size_given: bool
    """False for Linux before 3.17, whose header has no size: then 16 MiB, as boot loaders grant
    them, are added to the payload. The need is "effectively unbound", says booting.rst, and
    kexec_file_load(2) takes no such kernel."""
    flags: int
    """As they are in the header; 0 before 3.17."""
    signed: bool
    """The file has an Authenticode signature, which kexec_file_load(2) can check."""
    arch: str = ARCH

    __repr__ = short_repr
    __reduce__ = reduce_to_copies

    @property
    def format_name(self) -> str:
        """Name of the format."""
        return NAME

    @property
    def big_endian(self) -> bool:
        """The kernel runs big-endian."""
        return bool(self.flags & _FLAG_BIG_ENDIAN)

    @property
    def page_size(self) -> int | None:
        """The page size that the kernel was built for, in bytes; None: the header is silent."""
        return _PAGE_SIZES[self.flags >> _PAGE_SIZE_SHIFT & 3]

    @property
    def placed_anywhere(self) -> bool:
        """Any place that 48 bits can name will do; else one close to the base of RAM."""
        return bool(self.flags & _FLAG_PLACED_ANYWHERE)

    @property
    def release(self) -> str:
        """What the kernel calls itself, "" when that cannot be found.

        It stands somewhere in its read-only data: each look searches the payload.
        """
        match = _BANNER.search(self.payload)
        return match[1].decode("ascii") if match else ""


def probe(data: Buffer) -> str | None:
    """Return None if the header is an Image's, else why it is not."""
    if len(data) < _HEADER.sizeof():
        return f"the header needs {counted(_HEADER.sizeof(), 'byte')}, there are {len(data)}"
    magic = bytes(data[_MAGIC_OFFSET : _MAGIC_OFFSET + 4])
    if magic == MAGIC:
        return None
    if (other := other_architecture(data)) is not None:
        return f"an Image for {other}"
    return f"no 'ARM\\x64' at offset {_MAGIC_OFFSET:#x} (found {magic.hex(' ')})"


def other_architecture(data: Buffer) -> str | None:
    """Return whose kernel an Image is that is not arm64's, None if the file is none."""
    magic = bytes(data[_MAGIC_OFFSET : _MAGIC_OFFSET + 4])
    if magic == _RISCV_MAGIC:
        return "riscv"
    if magic == _LINUX_PE_MAGIC and pe.probe(data) is None:
        return pe.machine_of(data)
    return None


def parse_linux_image(data: Buffer) -> LinuxImage:
    """Parse an Image.

    Raises :class:`ImageError` when it is none, is cut, or its header makes no sense.
    """
    text_offset, given_size, flags = read_demands(data)
    size, signed = _extent(data)
    given = bool(given_size)
    image_size = given_size or size + _ALLOWANCE_BEFORE_3_17
    if image_size < size:
        raise ImageError(
            f"the Image header asks for {format_size(image_size)} of memory (image_size "
            f"{image_size:#x}), its kernel alone has {format_size(size)} ({size:#x})",
            offset=16,
            field="image_size",
        )
    if text_offset >= ALIGNMENT or text_offset % (4 * KIB):
        raise ImageError(
            f"the Image header's text_offset is {text_offset:#x}; needed is a multiple of 4 KiB "
            "below 2 MiB",
            offset=8,
            field="text_offset",
        )
    return LinuxImage(
        payload=memoryview(data)[:size],
        text_offset=text_offset,
        image_size=image_size,
        image_size_given=given,
        flags=flags,
        signed=signed,
    )


def read_demands(data: Buffer) -> tuple[int, int, int]:
    """Return ``text_offset``, ``image_size`` and ``flags`` of an Image in memory.

    Only the header is looked at. ``image_size`` is 0 before Linux 3.17. Raises
    :class:`ImageError` when there is no header.
    """
    reason = probe(data)
    if reason is not None:
        raise ImageError(f"not an {NAME}: {reason}")
    header = parse_at(_HEADER, data, 0, "the Image header")
    if not header.image_size:
        return _TEXT_OFFSET_BEFORE_3_17, 0, 0
    return int(header.text_offset), int(header.image_size), int(header.flags)


def _extent(data: Buffer) -> tuple[int, bool]:
    """Return how many bytes of the file are the kernel, and whether it is signed.

    Behind them come a signature, and in an EFI zboot zeros up to ``image_size``: places that
    the kernel clears anyway, as its BSS. A kernel without CONFIG_EFI is the whole file.
    """
    if bytes(data[:2]) != pe.MAGIC:
        return len(data), False
    file = pe.parse_pe(data, "the Image")
    size = file.sections_end if file.sections else len(data)
    return size, file.certificates is not None
