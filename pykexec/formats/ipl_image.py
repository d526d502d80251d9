"""The kernel of s390x: a flat image, or the bootable ELF file that it is made of. Pure.

Linux arch/s390/boot/head.S, arch/s390/include/asm/setup.h. ``bzImage``, ``image`` and what
distributions call vmlinuz are one thing: an offset in the file is a physical address. At 0x10008
are the entry points, at 0x10400 the parameter area with all that a kernel is told. Numbers are big
endian.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from pykexec.formats import elf_file
from pykexec.formats.elf_file import flat_memory, refuse_spread
from pykexec.values.buffers import Buffer
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import ImageError
from pykexec.values.large_values import reduce_to_copies, short_repr
from pykexec.values.units import counted

if TYPE_CHECKING:
    from pykexec.formats.elf_file import ElfFile

NAME = "s390x image"
ELF_NAME = "s390x image (ELF)"
ENTRY = 0x10000
KDUMP_ENTRY = 0x10010
PARAMETERS = 0x10400
CMDLINE = 0x10480
"""The command line: the end of the parameter area, as long as the kernel says."""
OLD_CMDLINE_MAX = 896
"""Bytes with the NUL, in kernels whose parameter area has no length (Linux before v5.18)."""
CMDLINE_MAX = 1 << 20
"""The most that a kernel can be configured for: Linux arch/s390/Kconfig, "COMMAND_LINE_SIZE"."""

_MAGIC_AT = 0x10008
_MAGIC = b"S390EP"
_EM_S390 = 22
_AREA = Struct(">7Q")
"""ipl_device, initrd_start, initrd_size, oldmem_base, oldmem_size, kernel_version,
max_command_line_size."""
_RELEASE_MAX = 256
_SIGNATURE_MARK = b"~Module signature appended~\n"
_SIGNATURE = Struct(">8xI")
"""Linux scripts/sign-file.c, "struct module_signature": what precedes the mark."""
_BANNER = b"Linux version "


@dataclass(frozen=True, slots=True)
class IplImage:
    """A parsed kernel."""

    payload: Buffer
    """What lies in memory from address 0 on, without a signature."""
    memsz: int
    """Bytes of memory from 0 on."""
    cmdline_size: int
    """Bytes that its parameter area has for the command line, the NUL included."""
    release: str
    """What the kernel calls itself, "" where it does not say."""
    is_elf: bool
    signed: bool
    """A signature is appended, as kexec_file_load(2) checks it after a secure IPL."""
    scattered: str = ""
    """Why a kernel's own loader would misplace this ELF file; "" where it does not."""
    arch: str = "s390x"

    __repr__ = short_repr
    __reduce__ = reduce_to_copies

    @property
    def format_name(self) -> str:
        """Name of the format."""
        return ELF_NAME if self.is_elf else NAME


@dataclass(frozen=True, slots=True)
class ParameterArea:
    """What the parameter area says; addresses are physical."""

    initrd_start: int
    initrd_size: int
    oldmem_base: int
    oldmem_size: int
    """Of the region that a capture kernel was loaded into; 0: it is none."""
    kernel_version: int
    """Offset in the image of a string that ends in a NUL."""
    max_command_line_size: int
    """0 in old kernels: see ``OLD_CMDLINE_MAX``."""


def probe(data: Buffer) -> str | None:
    """Return None if this is a kernel for s390x, flat or an ELF file, else why it is not."""
    if elf_file.probe(data) is None:
        machine = bytes(data[5:6]), int.from_bytes(data[18:20], "big")
        return None if machine == (b"\2", _EM_S390) else "an ELF file for another machine"
    found = bytes(data[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)])
    if found == _MAGIC:
        return None
    return f"no {_MAGIC.decode()} at offset {_MAGIC_AT:#x} (found {found.hex(' ') or 'nothing'})"


def parse_ipl_image(data: Buffer) -> IplImage:
    """Parse a kernel.

    Raises :class:`ImageError` when it is cut or malformed, and for the ELF file that is the kernel
    after it has been unpacked.
    """
    reason = probe(data)
    if reason is not None:
        raise ImageError(f"not an {NAME}: {reason}")
    if elf_file.probe(data) is None:
        return _of_elf(data)
    kept = _without_signature(data)
    return _parsed(memoryview(data)[:kept], kept, is_elf=False, signed=kept < len(data))


def _of_elf(data: Buffer) -> IplImage:
    kept = _without_signature(data)
    elf = elf_file.read_elf(memoryview(data)[:kept])
    _require_bootable(data, elf)
    end = max(item.paddr + item.memsz for item in elf.segments)
    refuse_spread(end)
    payload = flat_memory(elf.segments, 0)
    image = _parsed(payload, end, is_elf=True, signed=kept < len(data))
    return replace(image, scattered=_scattered(elf))


def _scattered(elf: ElfFile) -> str:
    """Judge segments as Linux arch/s390/kernel/kexec_elf.c does, "kexec_file_add_kernel_elf".

    It aligns the address of each upwards, and takes the one with the entry point to begin at 0.
    """
    for item in elf.segments:
        if item.paddr % item.align:
            return (
                f"the ELF file has a segment at {item.paddr:#x}, which that loader would move to "
                f"the next multiple of {item.align:#x}"
            )
        if item.paddr <= ENTRY < item.paddr + item.memsz and item.paddr:
            return (
                f"the ELF file's segment with the entry point begins at {item.paddr:#x}, not at 0"
            )
    return ""


def _require_bootable(data: Buffer, elf: ElfFile) -> None:
    """Refuse an ELF file without the entry points of an image."""
    for item in elf.segments:
        at = _MAGIC_AT - item.paddr
        if 0 <= at < len(item.data) and bytes(item.data[at : at + len(_MAGIC)]) == _MAGIC:
            return
    hint = "give bzImage or arch/s390/boot/vmlinux of its build, or /boot/vmlinuz-VERSION"
    if _BANNER in bytes(memoryview(data)):
        raise ImageError(
            "the ELF file is the kernel as it is when it has been unpacked (vmlinux), which "
            f"cannot boot by itself: it has no {_MAGIC.decode()} at {_MAGIC_AT:#x}",
            field="e_entry",
            hint=hint,
        )
    raise ImageError(
        f"the ELF file is no kernel for s390x: it has no {_MAGIC.decode()} at {_MAGIC_AT:#x}",
        field="e_entry",
        hint=hint,
    )


def _parsed(payload: memoryview, memsz: int, *, is_elf: bool, signed: bool) -> IplImage:
    area = read_parameters(payload[PARAMETERS:])
    size = area.max_command_line_size or OLD_CMDLINE_MAX
    if size > CMDLINE_MAX or len(payload) < CMDLINE + size:
        raise ImageError(
            f"the kernel has {counted(len(payload), 'byte')}, and a command line of up to "
            f"{size} from {CMDLINE:#x} on: it is cut, or damaged",
            offset=0x10430,
            field="max_command_line_size",
            hint="copy the file again",
        )
    release = bytes(payload[area.kernel_version : area.kernel_version + _RELEASE_MAX])
    return IplImage(
        payload=payload,
        memsz=memsz,
        cmdline_size=size,
        release=_release(release) if area.kernel_version else "",
        is_elf=is_elf,
        signed=signed,
    )


def _release(text: bytes) -> str:
    """Return the first word of what the kernel says of itself: ``6.12.1-s390x (build@host) #1``."""
    words = text.partition(b"\0")[0].split()
    return words[0].decode("ascii", "replace") if words else ""


def read_parameters(area: Buffer) -> ParameterArea:
    """Decode the parameter area that ``area`` begins with.

    Raises :class:`ImageError` where there is less of it than a kernel has.
    """
    if len(area) < CMDLINE - PARAMETERS:
        raise ImageError(
            f"the kernel is truncated: its parameter area has {counted(len(area), 'byte')}, "
            f"needed {CMDLINE - PARAMETERS}",
            offset=PARAMETERS,
            field="parmarea",
            hint="copy the file again",
        )
    return ParameterArea(*_AREA.unpack_from(area)[1:])


def read_command_line(area: Buffer) -> bytes:
    """Return the command line behind the parameter area that ``area`` begins with."""
    line = bytes(area[CMDLINE - PARAMETERS : CMDLINE - PARAMETERS + CMDLINE_MAX])
    return line.partition(b"\0")[0]


def with_parameters(
    payload: Buffer, start: int, area: ParameterArea, cmdline: bytes, cmdline_size: int
) -> bytes:
    """Return ``payload`` from offset ``start`` on, with what its kernel is to be told.

    ``cmdline`` is without its NUL, for which there is room.
    """
    data = bytearray(memoryview(payload)[start:])
    told = (
        area.initrd_start,
        area.initrd_size,
        area.oldmem_base,
        area.oldmem_size,
        area.kernel_version,
        area.max_command_line_size,
    )
    _AREA.pack_into(data, PARAMETERS - start, 0, *told)
    data[CMDLINE - start : CMDLINE - start + cmdline_size] = cmdline.ljust(cmdline_size, b"\0")
    return bytes(data)


def _without_signature(data: Buffer) -> int:
    """Return how many bytes of the file are the kernel's, and not of an appended signature."""
    end = len(data) - len(_SIGNATURE_MARK)
    if end < _SIGNATURE.size or bytes(data[end:]) != _SIGNATURE_MARK:
        return len(data)
    (size,) = _SIGNATURE.unpack(bytes(data[end - _SIGNATURE.size : end]))
    kept = end - _SIGNATURE.size - int(size)
    if kept < 0:
        raise ImageError(
            f"the signature behind the kernel says that it has {size} bytes, the file has "
            f"{len(data)}",
            field="sig_len",
            hint="copy the file again",
        )
    return kept
