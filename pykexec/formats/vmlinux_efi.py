"""The ``vmlinux.efi`` of loongarch: a header of 64 bytes in front of the kernel. Pure.

Linux Documentation/arch/loongarch/booting.rst, "Header information in vmlinux.efi". It looks like
the ``Image`` of others (:mod:`pykexec.formats.linux_image`), and its fields mean other things: the
kernel is linked to lie at ``load_offset``, and is entered somewhere inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures.loongarch64 import LOONGARCH64
from pykexec.formats import pe, zboot
from pykexec.formats._structures import VMLINUX_EFI_HEADER
from pykexec.formats.linux_image import LINUX_PE_MAGIC, kernel_extent, release_in
from pykexec.formats.structs import parse_at
from pykexec.values.buffers import Buffer
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.large_values import reduce_to_copies, short_repr
from pykexec.values.units import counted, format_size

NAME = "vmlinux.efi"

_MAGIC_OFFSET = 56
_PHYSICAL_MASK = (1 << 48) - 1
"""Of the address of the entry point, which older kernels give as a virtual one (``TO_PHYS_MASK``,
Linux arch/loongarch/include/asm/addrspace.h)."""

if TYPE_CHECKING:
    from typing import Final

ARCH: Final = LOONGARCH64.name


@dataclass(frozen=True, slots=True)
class VmlinuxEfi:
    """A parsed vmlinux.efi."""

    payload: Buffer
    """What goes into memory, header first: without the signature and the padding of the file."""
    load_offset: int
    """Physical address that it is linked for."""
    entry_offset: int
    """Bytes from the start of the payload to the entry point."""
    image_size: int
    """Bytes of memory from the start of the payload, at least as many as it has."""
    signed: bool
    """The file has an Authenticode signature."""
    arch: str = ARCH

    __repr__ = short_repr
    __reduce__ = reduce_to_copies

    @property
    def format_name(self) -> str:
        """Name of the format."""
        return NAME

    @property
    def release(self) -> str:
        """What the kernel calls itself, "" when that cannot be found.

        It stands somewhere in its read-only data: each look searches the payload.
        """
        return release_in(self.payload)


@dataclass(frozen=True, slots=True)
class VmlinuxEfiHeader:
    """What the header says, see :class:`VmlinuxEfi`."""

    load_offset: int
    entry_offset: int
    image_size: int


def probe(data: Buffer) -> str | None:
    """Return None if the header is that of a vmlinux.efi for loongarch, else why it is not."""
    if len(data) < VMLINUX_EFI_HEADER.size:
        return f"the header needs {counted(VMLINUX_EFI_HEADER.size, 'byte')}, there are {len(data)}"
    magic = bytes(data[_MAGIC_OFFSET : _MAGIC_OFFSET + 4])
    if bytes(data[:2]) != pe.MAGIC or magic != LINUX_PE_MAGIC:
        return (
            f"no 'MZ' with {LINUX_PE_MAGIC.hex(' ')} at offset {_MAGIC_OFFSET:#x} "
            f"(found {magic.hex(' ')})"
        )
    if bytes(data[4:8]) == zboot.IMAGE_TYPE:
        return "an EFI zboot, whose header has another use"
    reason = pe.probe(data)
    if reason is None and pe.machine_of(data) != ARCH:
        return f"a PE file for {pe.machine_of(data)}"
    return reason


def parse_vmlinux_efi(data: Buffer) -> VmlinuxEfi:
    """Parse a vmlinux.efi.

    Raises :class:`ImageError` when it is none, is cut, or its header makes no sense.
    """
    reason = probe(data)
    if reason is not None:
        raise ImageError(f"not a {NAME} of {ARCH}: {reason}")
    header = read_header(data)
    size, signed = kernel_extent(data)
    if header.image_size < size:
        raise ImageError(
            f"the kernel's header asks for {format_size(header.image_size)} of memory "
            f"({header.image_size:#x}), the kernel alone has {format_size(size)} ({size:#x})",
            offset=16,
            field="image_size",
        )
    return VmlinuxEfi(
        payload=memoryview(data)[:size],
        load_offset=header.load_offset,
        entry_offset=header.entry_offset,
        image_size=header.image_size,
        signed=signed,
    )


def read_header(data: Buffer) -> VmlinuxEfiHeader:
    """Read and judge the header of a kernel in memory.

    Raises :class:`ImageError` for one that is cut or makes no sense.
    """
    header = parse_at(VMLINUX_EFI_HEADER, data, 0, "the kernel's header")
    size, offset = int(header.image_size), int(header.load_offset) & _PHYSICAL_MASK
    entry = (int(header.kernel_entry) & _PHYSICAL_MASK) - offset
    if not size:
        raise ImageError(
            "the kernel's header does not say how much memory it needs (image_size is 0)",
            offset=16,
            field="image_size",
        )
    if not 0 <= entry < size:
        raise ImageError(
            f"the kernel's header says that it is entered at {int(header.kernel_entry):#x}, which "
            f"is not in the kernel: {size:#x} bytes from {offset:#x} on",
            offset=8,
            field="kernel_entry",
        )
    return VmlinuxEfiHeader(offset, entry, size)
