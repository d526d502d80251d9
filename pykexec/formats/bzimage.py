"""The x86 bzImage: its setup header and its protected-mode kernel.

Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header" and "Details of
Header Fields"; offsets from arch/x86/include/uapi/asm/bootparam.h, "struct setup_header".
"""

from __future__ import annotations

from enum import IntFlag

from pykexec.formats import pe
from pykexec.formats._structures import SETUP_HEADER
from pykexec.formats.structs import parse_at
from pykexec.values.buffers import Buffer
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.large_values import reduce_to_copies, short_repr
from pykexec.values.units import counted

NAME = "bzImage"
ARCH = "x86"
"""32 or 64 bits: the header says only what a 64-bit boot loader may do."""

SETUP_HEADER_OFFSET = 0x1F1
MAGIC = b"HdrS"
SECTOR = 512
MIN_PROTOCOL = 0x0200
CMD_LINE_PTR_SINCE = 0x0202
"""First with cmd_line_ptr; before, all that a kernel is handed had to be at 0x90000."""
MIN_PROTOCOL_64BIT = 0x020C
"""First with xloadflags, which alone tell of a 64-bit entry."""

_MAGIC_OFFSET = 0x202
_JUMP_LENGTH_OFFSET = 0x201
_VERSION_OFFSET = 0x206
_BOOT_FLAG_OFFSET = 0x1FE
_BOOT_FLAG = 0xAA55
_HEADER_ROOM = 0x290 - SETUP_HEADER_OFFSET
"""Bytes that struct boot_params has for the header."""
_WIDE_SYSSIZE_SINCE = 0x0204
_CMDLINE_SIZE_BEFORE_2_06 = 255
_INITRD_ADDR_MAX_BEFORE_2_03 = 0x37FFFFFF
_LOADED_HIGH_ADDRESS = 0x100000
"""Where a bzImage belongs that does not say (boot.rst, "Loading The Rest of The Kernel")."""
_ADDRESS_BITS = 52
"""Of a physical address, with 4 PiB of them (Linux Documentation/arch/x86/x86_64/5level-paging.rst,
"Overview")."""
_LOW_SETUP_SECTS = 4
"""What 0 in setup_sects means."""


class LoadFlags(IntFlag):
    """``loadflags``."""

    LOADED_HIGH = 1 << 0
    KASLR_FLAG = 1 << 1
    QUIET_FLAG = 1 << 5
    KEEP_SEGMENTS = 1 << 6
    CAN_USE_HEAP = 1 << 7


class XLoadFlags(IntFlag):
    """``xloadflags``."""

    XLF_KERNEL_64 = 1 << 0
    XLF_CAN_BE_LOADED_ABOVE_4G = 1 << 1
    XLF_EFI_HANDOVER_32 = 1 << 2
    XLF_EFI_HANDOVER_64 = 1 << 3
    XLF_EFI_KEXEC = 1 << 4
    XLF_5LEVEL = 1 << 5
    XLF_5LEVEL_ENABLED = 1 << 6


@dataclass(frozen=True, slots=True)
class SetupHeader:
    """The fields that a loader reads, with the protocol's defaults for those not there."""

    version: int
    """(major << 8) + minor."""
    setup_sects: int
    syssize: int
    """Size of the protected-mode code, in paragraphs of 16 bytes; before 2.04 its lower 16 bits
    (boot.rst, "syssize")."""
    loadflags: LoadFlags
    xloadflags: XLoadFlags
    initrd_addr_max: int
    """Physical, inclusive."""
    kernel_alignment: int
    relocatable_kernel: bool
    cmdline_size: int
    """Longest command line in bytes, without its NUL."""
    payload_offset: int
    """From the start of the protected-mode code, in bytes."""
    payload_length: int
    pref_address: int
    """Physical."""
    init_size: int
    """Bytes the kernel needs from its run-time start before it knows the memory map."""

    @property
    def protocol(self) -> str:
        """The version as people write it: ``2.15``."""
        return f"{self.version >> 8}.{self.version & 0xFF:02d}"

    @property
    def wide(self) -> bool:
        """A 64-bit kernel, as far as it says; kernels before 2.12 do not."""
        return XLoadFlags.XLF_KERNEL_64 in self.xloadflags

    @property
    def above_4g(self) -> bool:
        """Kernel, boot_params, command line and initrd may lie above 4 GiB."""
        return XLoadFlags.XLF_CAN_BE_LOADED_ABOVE_4G in self.xloadflags


@dataclass(frozen=True, slots=True)
class BzImage:
    """A parsed bzImage. The buffers are views into the file."""

    header: SetupHeader
    raw_header: bytes
    """The file's header bytes from 0x1f1 to its own end; fields unknown to us included."""
    payload: Buffer
    """The protected-mode kernel: all of the file behind the setup sectors."""
    setup: Buffer
    """The real-mode code: the setup sectors with the header in them."""
    release: str
    """What the file calls itself, "" when it does not say."""
    signed: bool = False
    """The file has an Authenticode signature, which kexec_file_load(2) can check."""
    arch: str = ARCH

    __repr__ = short_repr
    __reduce__ = reduce_to_copies

    @property
    def format_name(self) -> str:
        """Name of the format."""
        return NAME

    @property
    def memory_needed(self) -> int:
        """Bytes from where the kernel is loaded that it unpacks itself into.

        Before boot protocol 2.10 nothing says, nor where init_size is 0; the file is compressed to
        a quarter at best.
        """
        return max(self.header.init_size or 4 * len(self.payload), len(self.payload))


def probe(data: Buffer) -> str | None:
    """Return None if the header is a bzImage's, else why it is not."""
    if len(data) < _VERSION_OFFSET + 2:
        return f"the header needs {_VERSION_OFFSET + 2} bytes, the file has {len(data)}"
    magic = bytes(data[_MAGIC_OFFSET : _MAGIC_OFFSET + 4])
    if magic != MAGIC:
        return f"no 'HdrS' at offset {_MAGIC_OFFSET:#x} (found {magic.hex(' ')})"
    flag = int.from_bytes(data[_BOOT_FLAG_OFFSET : _BOOT_FLAG_OFFSET + 2], "little")
    if flag != _BOOT_FLAG:
        return f"boot_flag at offset {_BOOT_FLAG_OFFSET:#x} is {flag:#06x}, not {_BOOT_FLAG:#06x}"
    return None


def decode_setup_header(data: Buffer, offset: int, length: int) -> SetupHeader:
    """Decode ``length`` bytes of setup header at ``offset`` in ``data``.

    Fields behind ``length`` read as zero. Used for a kernel file and for ``boot_params``,
    which hold the header at the same offset.
    """
    size = SETUP_HEADER.size
    raw = bytes(data[offset : offset + min(length, size)]).ljust(size, b"\0")
    fields = parse_at(SETUP_HEADER, raw, 0, "setup header")
    version = fields.version
    return SetupHeader(
        version=version,
        setup_sects=fields.setup_sects or _LOW_SETUP_SECTS,
        syssize=fields.syssize if version >= _WIDE_SYSSIZE_SINCE else fields.syssize & 0xFFFF,
        loadflags=LoadFlags(fields.loadflags),
        xloadflags=XLoadFlags(fields.xloadflags if version >= MIN_PROTOCOL_64BIT else 0),
        initrd_addr_max=fields.initrd_addr_max
        if version >= 0x0203
        else _INITRD_ADDR_MAX_BEFORE_2_03,
        kernel_alignment=fields.kernel_alignment if version >= 0x0205 else 0,
        relocatable_kernel=bool(version >= 0x0205 and fields.relocatable_kernel),
        cmdline_size=fields.cmdline_size if version >= 0x0206 else _CMDLINE_SIZE_BEFORE_2_06,
        payload_offset=fields.payload_offset if version >= 0x0208 else 0,
        payload_length=fields.payload_length if version >= 0x0208 else 0,
        pref_address=fields.pref_address if version >= 0x020A else _LOADED_HIGH_ADDRESS,
        init_size=fields.init_size if version >= 0x020A else 0,
    )


def _header_length(data: Buffer) -> int:
    """Return how long the file says its header is, from 0x1f1; capped to what fits.

    The byte at 0x201 is the operand of a jump over the header (boot.rst, "jump").
    """
    end = _MAGIC_OFFSET + data[_JUMP_LENGTH_OFFSET]
    return min(end - SETUP_HEADER_OFFSET, _HEADER_ROOM)


def _release(data: Buffer, setup_sects: int) -> str:
    """Read the version string that ``kernel_version`` points at (boot.rst)."""
    offset = int.from_bytes(data[0x20E:0x210], "little")
    start = offset + 0x200
    if not offset or start >= setup_sects * SECTOR:
        return ""
    text = bytes(data[start : start + 256]).split(b"\0", 1)[0]
    return text.decode("ascii", "replace").split(" ", 1)[0]


def parse_bzimage(data: Buffer) -> BzImage:
    """Parse a bzImage.

    Raises :class:`ImageError` when the file ends before the header, the setup sectors or
    the protected-mode code that the header announces, and for a zImage.
    """
    reason = probe(data)
    if reason is not None:
        raise ImageError(f"not a {NAME}: {reason}")
    length = _header_length(data)
    raw_header = bytes(data[SETUP_HEADER_OFFSET : SETUP_HEADER_OFFSET + length])
    if len(raw_header) < length:
        raise ImageError(
            f"truncated in the setup header: it ends at {SETUP_HEADER_OFFSET + length:#x}, "
            f"the file at {len(data):#x}",
            offset=len(data),
            field="setup header",
        )
    header = decode_setup_header(data, SETUP_HEADER_OFFSET, length)
    _check_header(header)
    payload_start = (header.setup_sects + 1) * SECTOR
    _check_length(header, payload_start, len(data))
    return BzImage(
        header=header,
        raw_header=raw_header,
        payload=memoryview(data)[payload_start:],
        setup=memoryview(data)[:payload_start],
        release=_release(data, header.setup_sects),
        signed=_is_signed(data),
    )


def _is_signed(data: Buffer) -> bool:
    """Tell whether the file, as a PE file, has a certificate table.

    Only kernels with CONFIG_EFI_STUB are PE files. What is wrong with those headers is
    nothing to a loader that does not read them.
    """
    try:
        return pe.parse_pe(data, "the bzImage").certificates is not None
    except ImageError:
        return False


def _check_header(header: SetupHeader) -> None:
    """Refuse what the fields themselves rule out."""
    if header.version < MIN_PROTOCOL:
        raise ImageError(
            f"boot protocol {header.protocol} is older than 2.00", offset=0x206, field="version"
        )
    if LoadFlags.LOADED_HIGH not in header.loadflags:
        raise ImageError(
            f"a zImage, not a bzImage: loadflags {header.loadflags:#04x} lacks LOADED_HIGH",
            offset=0x211,
            field="loadflags",
        )
    align = header.kernel_alignment
    if align & (align - 1):
        raise ImageError(
            f"kernel_alignment {align:#x} is not a power of two",
            offset=0x230,
            field="kernel_alignment",
        )
    if header.pref_address >> _ADDRESS_BITS:
        raise ImageError(
            f"pref_address {header.pref_address:#x} has more than the {_ADDRESS_BITS} bits of a "
            "physical address",
            offset=0x258,
            field="pref_address",
        )


def _check_length(header: SetupHeader, payload_start: int, size: int) -> None:
    """Refuse a file that ends before what its header announces."""
    code_size = header.syssize * 16
    announced = code_size or header.version < _WIDE_SYSSIZE_SINCE
    # syssize is rounded up. Linux is padded to that; memtest86+, which packs nothing, is not.
    missing = 0 if header.payload_length else 15
    if size <= payload_start or size + missing < payload_start + code_size or not announced:
        where = "setup sectors" if size <= payload_start else "protected-mode code"
        raise ImageError(
            f"truncated in the {where}: the header announces {payload_start} + {code_size} "
            f"= {counted(payload_start + code_size, 'byte')}, the file has {size}",
            offset=size,
            field="syssize",
            hint="copy the kernel again",
        )
    payload_end = header.payload_offset + header.payload_length
    if payload_end > code_size:
        raise ImageError(
            f"the compressed payload ends at {payload_end}, outside the "
            f"{counted(code_size, 'byte')} "
            "of protected-mode code",
            offset=0x248,
            field="payload_offset",
        )
