"""The ``Image`` of arm64 and riscv: a header of 64 bytes in front of the kernel. Pure.

Linux Documentation/arch/arm64/booting.rst, "4. Call the kernel image"; Documentation/arch/riscv/
boot-image-header.rst. What its fields mean on which architecture is a
:class:`~pykexec.architectures.architecture.FlatImage`. Kernels with CONFIG_EFI are PE files as well
(res5 is the offset of the PE header), whose section table says how many bytes of the file belong to
the kernel.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.architectures import ARCHITECTURES, architecture_of
from pykexec.formats import pe
from pykexec.formats._structures import IMAGE_HEADER
from pykexec.formats.structs import parse_at
from pykexec.values.buffers import Buffer
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.large_values import reduce_to_copies, short_repr
from pykexec.values.units import KIB, MIB, counted, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.architectures.architecture import FlatImage

NAME = "Image"

_MAGIC_OFFSET = 56
_OLD_MAGIC_OFFSET = 48
# The same place in the headers of other architectures: Linux include/linux/pe.h,
# "LINUX_PE_MAGIC", with which a PE header says for which.
LINUX_PE_MAGIC = b"\xcd\x23\x82\x81"
_BIG_ENDIAN = 1 << 0
_PAGE_SIZE_SHIFT = 1
_PAGE_SIZES = {0: None, 1: 4 * KIB, 2: 16 * KIB, 3: 64 * KIB}
_BANNER = re.compile(rb"Linux version ([\x21-\x7e]{1,60}) \(")
_RELEASE = re.compile(r"(\d{1,4})\.(\d{1,4})")


@dataclass(frozen=True, slots=True)
class LinuxImage:
    """A parsed Image."""

    payload: Buffer
    """What goes into memory, header first: without the signature and the padding of the file."""
    text_offset: int
    """As it is in the header; see ``base_offset``."""
    image_size: int
    """Bytes of memory from the start of the payload, at least as many as it has."""
    image_size_given: bool
    """False for an old kernel whose header has no size: see ``FlatImage.size_allowance``."""
    flags: int
    """As they are in the header; 0 where it has no size."""
    signed: bool
    """The file has an Authenticode signature, which kexec_file_load(2) can check."""
    arch: str

    __repr__ = short_repr
    __reduce__ = reduce_to_copies

    @property
    def format_name(self) -> str:
        """Name of the format."""
        return NAME

    @property
    def big_endian(self) -> bool:
        """The kernel runs big-endian."""
        return bool(self.flags & _BIG_ENDIAN)

    @property
    def page_size(self) -> int | None:
        """The page size that the kernel was built for, in bytes; None: the header is silent."""
        if not self._kind.tells_page_size:
            return None
        return _PAGE_SIZES[self.flags >> _PAGE_SIZE_SHIFT & 3]

    @property
    def placed_anywhere(self) -> bool:
        """The kernel uses the memory below itself; else it wants one close to the base of RAM.

        Where the header does not say it, a look for the release: each searches the payload.
        """
        kind = self._kind
        if kind.anywhere_since is None:
            return bool(self.flags & kind.anywhere_flag)
        found = _RELEASE.match(self.release)
        return found is not None and (int(found[1]), int(found[2])) >= kind.anywhere_since

    @property
    def why_low(self) -> str:
        """Why it is not ``placed_anywhere``."""
        kind = self._kind
        if kind.anywhere_since is None:
            bit = kind.anywhere_flag.bit_length() - 1
            return f"its header asks for the base of RAM (flags bit {bit} unset)"
        since = ".".join(map(str, kind.anywhere_since))
        return (
            f"Linux {since} and later use it, this one is {self.release or 'of no known release'}"
        )

    @property
    def base_offset(self) -> int:
        """Bytes from a multiple of 2 MiB to the start of the payload."""
        return self.text_offset if self._kind.offset_from_base else 0

    @property
    def _kind(self) -> FlatImage:
        return _kind_of(self.arch)

    @property
    def release(self) -> str:
        """What the kernel calls itself, "" when that cannot be found.

        It stands somewhere in its read-only data: each look searches the payload.
        """
        return release_in(self.payload)


def release_in(kernel: Buffer) -> str:
    """Return what a kernel that is not packed calls itself, "" when that cannot be found."""
    match = _BANNER.search(kernel)
    return match[1].decode("ascii") if match else ""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the header demands, see :class:`LinuxImage`."""

    arch: str
    text_offset: int
    image_size: int
    """0 where it is not given."""
    flags: int

    @property
    def base_offset(self) -> int:
        """Bytes from a multiple of 2 MiB to the start of the payload."""
        return self.text_offset if _kind_of(self.arch).offset_from_base else 0


def _kinds() -> Iterator[tuple[str, FlatImage]]:
    """Yield (name of the architecture, what its Images are) of all that have some."""
    for item in ARCHITECTURES.values():
        if item.flat_image is not None:
            yield item.name, item.flat_image


def _kind_of(arch: str) -> FlatImage:
    kind = architecture_of(arch).flat_image
    assert kind is not None  # it was found by its magic
    return kind


def _arch_of(data: Buffer) -> str | None:
    """Return whose Image a header is, by its magic; None: it is none."""
    magic = bytes(data[_MAGIC_OFFSET : _MAGIC_OFFSET + 4])
    old = bytes(data[_OLD_MAGIC_OFFSET:_MAGIC_OFFSET])
    return next(
        (name for name, kind in _kinds() if magic == kind.magic or old == kind.old_magic), None
    )


def probe(data: Buffer) -> str | None:
    """Return None if the header is an Image's, else why it is not."""
    if len(data) < IMAGE_HEADER.size:
        return f"the header needs {counted(IMAGE_HEADER.size, 'byte')}, there are {len(data)}"
    if _arch_of(data) is not None:
        return None
    if (other := other_architecture(data)) is not None:
        return f"an Image for {other}"
    magic = bytes(data[_MAGIC_OFFSET : _MAGIC_OFFSET + 4])
    known = " or ".join(kind.magic.hex(" ") for _, kind in _kinds())
    return f"no {known} at offset {_MAGIC_OFFSET:#x} (found {magic.hex(' ')})"


def other_architecture(data: Buffer) -> str | None:
    """Return whose kernel an Image is that is of no known layout, None if the file is none."""
    magic = bytes(data[_MAGIC_OFFSET : _MAGIC_OFFSET + 4])
    if magic == LINUX_PE_MAGIC and pe.probe(data) is None:
        return pe.machine_of(data)
    return None


def parse_linux_image(data: Buffer) -> LinuxImage:
    """Parse an Image.

    Raises :class:`ImageError` when it is none, is cut, or its header makes no sense.
    """
    header = read_header(data)
    kind = _kind_of(header.arch)
    size, signed = kernel_extent(data)
    given = bool(header.image_size)
    image_size = header.image_size or size + (kind.size_allowance or 0)
    if image_size < size:
        raise ImageError(
            f"the Image header asks for {format_size(image_size)} of memory (image_size "
            f"{image_size:#x}), its kernel alone has {format_size(size)} ({size:#x})",
            offset=16,
            field="image_size",
        )
    return LinuxImage(
        payload=memoryview(data)[:size],
        text_offset=header.text_offset,
        image_size=image_size,
        image_size_given=given,
        flags=header.flags,
        signed=signed,
        arch=header.arch,
    )


def read_header(data: Buffer) -> ImageHeader:
    """Read and judge the header of an Image in memory.

    Raises :class:`ImageError` when there is none, or one that its architecture has no such of.
    """
    reason = probe(data)
    arch = _arch_of(data)
    if reason is not None or arch is None:
        raise ImageError(f"not an {NAME}: {reason}")
    header = parse_at(IMAGE_HEADER, data, 0, "the Image header")
    kind = _kind_of(arch)
    if not header.image_size and kind.size_allowance is not None:
        return ImageHeader(arch, kind.offset_without_size, 0, 0)
    found = ImageHeader(arch, int(header.text_offset), int(header.image_size), int(header.flags))
    _check_header(found, int(header.version), kind)
    return found


def _check_header(header: ImageHeader, version: int, kind: FlatImage) -> None:
    major, minor = version >> 16, version & 0xFFFF
    if kind.versioned and major:
        raise ImageError(
            f"the Image header is of version {major}.{minor}; known are those of 0",
            offset=32,
            field="version",
        )
    if header.flags & _BIG_ENDIAN and not kind.big_endian:
        raise ImageError(
            f"the Image header says that the kernel is big-endian (flags {header.flags:#x}); "
            f"there is no such {header.arch}",
            offset=24,
            field="flags",
        )
    if not header.image_size:
        raise ImageError(
            "the Image header does not say how much memory the kernel needs (image_size is 0)",
            offset=16,
            field="image_size",
        )
    offset = header.text_offset
    refused = kind.refused_offsets.get(offset)
    if refused is not None:
        raise ImageError(
            f"the Image header's text_offset is {offset:#x}: {refused}",
            offset=8,
            field="text_offset",
        )
    if kind.offset_from_base and (offset >= 2 * MIB or offset % (4 * KIB)):
        raise ImageError(
            f"the Image header's text_offset is {offset:#x}; needed is a multiple of 4 KiB "
            "below 2 MiB",
            offset=8,
            field="text_offset",
        )


def kernel_extent(data: Buffer) -> tuple[int, bool]:
    """Return how many bytes of the file are the kernel, and whether it is signed.

    Behind them come a signature, and in an EFI zboot zeros up to ``image_size``: places that
    the kernel clears anyway, as its BSS. A kernel without CONFIG_EFI is the whole file.
    """
    if bytes(data[:2]) != pe.MAGIC:
        return len(data), False
    file = pe.parse_pe(data, "the Image")
    size = file.sections_end if file.sections else len(data)
    return size, file.certificates is not None
