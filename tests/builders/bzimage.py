"""Builds synthetic x86 kernels: a bzImage with any header, and bytes instead of a kernel.

Layout: Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header". Written with
``struct`` and a table of its own, so that it shares no mistake with the parser under test.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

SECTOR = 512
_HEADER_START = 0x1F1
_TEXT_OFFSET = 0x400
"""Where the version string goes: behind the header, in the setup code."""

_HEADER_END = (
    (0x020F, 0x26C),
    (0x020B, 0x268),
    (0x020A, 0x264),
    (0x0209, 0x258),
    (0x0208, 0x250),
    (0x0207, 0x248),
    (0x0206, 0x23C),
    (0x0205, 0x238),
    (0x0203, 0x230),
    (0x0202, 0x22C),
    (0x0201, 0x228),
    (0x0000, 0x224),
)
"""(boot protocol, end of the header of that protocol and later ones)."""


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """What a kernel says of itself; the defaults are an ordinary 64-bit distribution kernel's."""

    version: int = 0x020F
    """Boot protocol, (major << 8) + minor; later fields than it knows are left out."""
    setup_sects: int = 27
    payload_size: int = 3 << 20
    """Bytes of protected-mode code, rounded up to 16 by the builder."""
    seed: int = 1
    """Of the payload's bytes."""
    syssize: int | None = None
    """In units of 16 bytes; None announces the payload as it is."""
    boot_flag: int = 0xAA55
    magic: bytes = b"HdrS"
    loadflags: int = 0x01
    type_of_loader: int = 0
    root_flags: int = 1
    root_dev: int = 0
    vid_mode: int = 0xFFFF
    code32_start: int = 0x100000
    initrd_addr_max: int = 0x7FFFFFFF
    """Physical, inclusive."""
    kernel_alignment: int = 0x200000
    relocatable_kernel: int = 1
    min_alignment: int = 21
    xloadflags: int = 0x7F
    cmdline_size: int = 2047
    hardware_subarch: int = 0
    payload_offset: int = 0x40
    """Of the compressed part, from the start of the protected-mode code."""
    payload_length: int | None = None
    """None: up to the end."""
    pref_address: int = 0x1000000
    init_size: int = 0x2000000
    handover_offset: int = 0x190
    kernel_info_offset: int = 0
    release: str = "6.99.0-synthetic"

    @property
    def payload(self) -> bytes:
        """The protected-mode code."""
        return random.Random(self.seed).randbytes((self.payload_size + 15) & -16)

    @property
    def header_end(self) -> int:
        """Offset in the file at which the header ends."""
        return next(end for version, end in _HEADER_END if self.version >= version)


def _header_fields(spec: KernelSpec, payload_size: int) -> dict[int, tuple[str, int]]:
    """Return (format, value) by offset in the file."""
    paragraphs = payload_size // 16 if spec.syssize is None else spec.syssize
    length = spec.payload_length
    if length is None:
        length = max(payload_size - spec.payload_offset, 0)
    return {
        0x1F1: ("B", spec.setup_sects),
        0x1F2: ("H", spec.root_flags),
        0x1F4: ("I", paragraphs),
        0x1FA: ("H", spec.vid_mode),
        0x1FC: ("H", spec.root_dev),
        0x1FE: ("H", spec.boot_flag),
        0x200: ("B", 0xEB),
        0x201: ("B", spec.header_end - 0x202),
        0x202: ("I", int.from_bytes(spec.magic, "little")),
        0x206: ("H", spec.version),
        0x20E: ("H", _TEXT_OFFSET - 0x200 if spec.release else 0),
        0x210: ("B", spec.type_of_loader),
        0x211: ("B", spec.loadflags),
        0x214: ("I", spec.code32_start),
        0x22C: ("I", spec.initrd_addr_max),
        0x230: ("I", spec.kernel_alignment),
        0x234: ("B", spec.relocatable_kernel),
        0x235: ("B", spec.min_alignment),
        0x236: ("H", spec.xloadflags),
        0x238: ("I", spec.cmdline_size),
        0x23C: ("I", spec.hardware_subarch),
        0x248: ("I", spec.payload_offset),
        0x24C: ("I", length),
        0x258: ("Q", spec.pref_address),
        0x260: ("I", spec.init_size),
        0x264: ("I", spec.handover_offset),
        0x268: ("I", spec.kernel_info_offset),
    }


def build_bzimage(spec: KernelSpec | None = None) -> bytes:
    """Build the file: setup sectors with the header, then the payload.

    The same bytes for the same specification. ``setup_sects`` 0 means 4, as in the format.
    """
    spec = spec or KernelSpec()
    payload = spec.payload
    setup = bytearray(((spec.setup_sects or 4) + 1) * SECTOR)
    for offset, (form, value) in _header_fields(spec, len(payload)).items():
        if offset < spec.header_end:
            struct.pack_into(f"<{form}", setup, offset, value)
    text = f"{spec.release} (builder@synthetic) #1\0".encode()
    if spec.release and _TEXT_OFFSET + len(text) <= len(setup):
        setup[_TEXT_OFFSET : _TEXT_OFFSET + len(text)] = text
    return bytes(setup) + payload
