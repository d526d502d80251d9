"""``struct boot_params``, the zero page, in both directions. Pure.

Linux Documentation/arch/x86/zero-page.rst; layout from
arch/x86/include/uapi/asm/bootparam.h, "struct boot_params".
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from pykexec.boot.x86._structures import BOOT_E820_ENTRY, BOOT_PARAMS, EDD_INFO
from pykexec.boot.x86.e820 import (
    E820_MAX_ENTRIES_ZEROPAGE,
    E820Entry,
    build_e820,
    memory_above_1m,
    parse_e820,
)
from pykexec.formats._structures import SETUP_HEADER
from pykexec.formats.bzimage import (
    MAGIC,
    SETUP_HEADER_OFFSET,
    SetupHeader,
    decode_setup_header,
)
from pykexec.formats.structs import parse_at
from pykexec.values.data_classes import dataclass
from pykexec.values.ranges import Range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.values.buffers import Buffer
    from pykexec.values.facts import EddDevice

BOOT_PARAMS_SIZE = 4096
EDD_MBR_SIG_MAX = 16
EDDMAXNR = 6
_EDD_DEVICE_PARAMS_SIZE = 74
_SCREEN_INFO_SIZE = 64
_LOADER_TYPE_KEXEC = 0xD0
"""Loader id 0xD, version 0 (boot.rst, "type_of_loader")."""
_EXT_MEM_K_MAX = 0xFC00
_CL_MAGIC = 0xA33F
"""boot.rst, "The Kernel Command Line"."""


@dataclass(frozen=True, slots=True)
class EfiInfo:
    """``struct efi_info``; addresses are physical, the memory map's size in bytes."""

    loader_signature: bytes = bytes(4)
    systab: int = 0
    memdesc_size: int = 0
    memdesc_version: int = 0
    memmap: int = 0
    memmap_size: int = 0


@dataclass(frozen=True, slots=True)
class BootParams:
    """What a zero page says, with the halves of split addresses joined. Addresses are physical."""

    header: SetupHeader
    has_header: bool
    """A kernel that was not entered by the boot protocol (Xen PVH, Firecracker) has none."""
    screen_info: bytes
    acpi_rsdp: int
    initrd: Range | None
    cmdline: int
    setup_data: int
    hardware_subarch: int
    type_of_loader: int
    efi: EfiInfo
    secure_boot: int
    e820: tuple[E820Entry, ...]
    """The entries in the page itself; more may be in the setup_data list."""
    edd: tuple[dict[str, Any], ...]
    edd_mbr_signatures: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BootParamsInput:
    """What :func:`build_boot_params` writes. Addresses are physical."""

    raw_header: bytes
    """From the kernel file, from 0x1f1 on."""
    e820: Sequence[E820Entry]
    """At most 128 entries."""
    cmdline: int
    cmdline_offset: int = 0
    """Where kernels before protocol 2.02 find it: bytes behind the page's start; 0: not told."""
    initrd: Range | None = None
    setup_data: int = 0
    screen_info: bytes = bytes(_SCREEN_INFO_SIZE)
    acpi_rsdp: int = 0
    hardware_subarch: int = 0
    efi: EfiInfo = EfiInfo()
    secure_boot: int = 0
    edd: Sequence[EddDevice] = ()


def parse_boot_params(data: Buffer) -> BootParams:
    """Decode a zero page; raises :class:`ImageError` when it is shorter than 4096 bytes."""
    page = parse_at(BOOT_PARAMS, data, 0, "boot_params")
    hdr = parse_at(SETUP_HEADER, data, SETUP_HEADER_OFFSET, "boot_params setup header")
    initrd_addr = page.ext_ramdisk_image << 32 | hdr.ramdisk_image
    initrd_size = page.ext_ramdisk_size << 32 | hdr.ramdisk_size
    count = min(page.e820_entries, E820_MAX_ENTRIES_ZEROPAGE)
    efi = page.efi_info
    return BootParams(
        header=decode_setup_header(data, SETUP_HEADER_OFFSET, SETUP_HEADER.size),
        has_header=hdr.header == MAGIC,
        screen_info=page.screen_info,
        acpi_rsdp=page.acpi_rsdp_addr,
        initrd=Range.fitting(initrd_addr, initrd_size) if initrd_size else None,
        cmdline=page.ext_cmd_line_ptr << 32 | hdr.cmd_line_ptr,
        setup_data=hdr.setup_data,
        hardware_subarch=hdr.hardware_subarch,
        type_of_loader=hdr.type_of_loader,
        efi=EfiInfo(
            loader_signature=efi.efi_loader_signature,
            systab=efi.efi_systab_hi << 32 | efi.efi_systab,
            memdesc_size=efi.efi_memdesc_size,
            memdesc_version=efi.efi_memdesc_version,
            memmap=efi.efi_memmap_hi << 32 | efi.efi_memmap,
            memmap_size=efi.efi_memmap_size,
        ),
        secure_boot=page.secure_boot,
        e820=parse_e820(page.e820_table[: count * BOOT_E820_ENTRY.size]),
        edd=tuple(vars(item) for item in page.eddbuf[: page.eddbuf_entries]),
        edd_mbr_signatures=tuple(page.edd_mbr_sig_buffer[: page.edd_mbr_sig_buf_entries]),
    )


def build_header(raw: bytes, **fields: int) -> bytes:
    """Write the loader's fields into the kernel's own setup header, from 0x1f1 on.

    That are who loads, and ``fields``. What is behind those that pykexec knows stays as the kernel
    file has it; a header of an old protocol comes out with zeros for what it does not have.
    """
    size = SETUP_HEADER.size
    header = vars(SETUP_HEADER.parse(raw.ljust(size, b"\0")[:size]))
    loader = {"type_of_loader": _LOADER_TYPE_KEXEC, "ext_loader_ver": 0, "ext_loader_type": 0}
    return SETUP_HEADER.build({**header, **loader, **fields}) + raw[size:]


def _edd_fields(devices: Sequence[EddDevice]) -> dict[str, Any]:
    """Encode BIOS disks; the page has room for 6 of them and 16 signatures."""
    empty = dict.fromkeys((field.name for field in EDD_INFO.fields), 0)
    entries = [
        {name: getattr(device, name) for name in empty}
        | {"params": device.params[:_EDD_DEVICE_PARAMS_SIZE].ljust(_EDD_DEVICE_PARAMS_SIZE, b"\0")}
        for device in devices[:EDDMAXNR]
    ]
    # A signature's index is its disk's number, so the list ends at the first disk without one.
    signatures: list[int] = []
    for device in devices[:EDD_MBR_SIG_MAX]:
        if device.mbr_signature is None:
            break
        signatures.append(device.mbr_signature)
    blank = empty | {"params": bytes(_EDD_DEVICE_PARAMS_SIZE)}
    return {
        "eddbuf_entries": len(entries),
        "eddbuf": entries + [blank] * (EDDMAXNR - len(entries)),
        "edd_mbr_sig_buf_entries": len(signatures),
        "edd_mbr_sig_buffer": signatures + [0] * (EDD_MBR_SIG_MAX - len(signatures)),
    }


def build_boot_params(given: BootParamsInput) -> bytes:
    """Encode a zero page of 4096 bytes; whatever is not given is zero.

    Raises :class:`ValueError` for more than 128 E820 entries.
    """
    if len(given.e820) > E820_MAX_ENTRIES_ZEROPAGE:
        raise ValueError(f"{len(given.e820)} e820 entries do not fit {E820_MAX_ENTRIES_ZEROPAGE}")
    low = 0xFFFFFFFF
    header = build_header(
        given.raw_header,
        ramdisk_image=given.initrd.start & low if given.initrd else 0,
        ramdisk_size=given.initrd.size & low if given.initrd else 0,
        cmd_line_ptr=given.cmdline & low,
        hardware_subarch=given.hardware_subarch,
        setup_data=given.setup_data,
    )
    mem_k = memory_above_1m(given.e820)
    screen_info = bytearray(given.screen_info.ljust(_SCREEN_INFO_SIZE, b"\0"))
    screen_info[0x02:0x04] = min(mem_k, _EXT_MEM_K_MAX).to_bytes(2, "little")  # ext_mem_k
    # cl_magic and cl_offset; whoever announced one to the running kernel, it is not for this one.
    magic = _CL_MAGIC if given.cmdline_offset else 0
    screen_info[0x20:0x24] = struct.pack("<HH", magic, given.cmdline_offset)
    table = build_e820(given.e820)
    page = {
        "screen_info": bytes(screen_info),
        "acpi_rsdp_addr": given.acpi_rsdp,
        "ext_ramdisk_image": given.initrd.start >> 32 if given.initrd else 0,
        "ext_ramdisk_size": given.initrd.size >> 32 if given.initrd else 0,
        "ext_cmd_line_ptr": given.cmdline >> 32,
        "efi_info": {
            "efi_loader_signature": given.efi.loader_signature,
            "efi_systab": given.efi.systab & low,
            "efi_memdesc_size": given.efi.memdesc_size,
            "efi_memdesc_version": given.efi.memdesc_version,
            "efi_memmap": given.efi.memmap & low,
            "efi_memmap_size": given.efi.memmap_size,
            "efi_systab_hi": given.efi.systab >> 32,
            "efi_memmap_hi": given.efi.memmap >> 32,
        },
        "alt_mem_k": min(mem_k, low),
        "e820_entries": len(given.e820),
        "secure_boot": given.secure_boot,
        "hdr": header.ljust(0x290 - SETUP_HEADER_OFFSET, b"\0"),
        "e820_table": table.ljust(E820_MAX_ENTRIES_ZEROPAGE * BOOT_E820_ENTRY.size, b"\0"),
        **_edd_fields(given.edd),
    }
    return BOOT_PARAMS.build(page)
