"""What a recorded kexec_load(2) tells the next x86 kernel, as a flat table of fields.

Written from the kernel's own layouts and independent of pykexec's parsers: a table that
covers every byte of the zero page, so that no difference can hide between the fields.
Addresses of segments become the segment's role and an offset, since the sizes of the two
tools' own segments differ.

Linux arch/x86/include/uapi/asm/bootparam.h, include/uapi/linux/screen_info.h, edd.h;
Documentation/arch/x86/zero-page.rst.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tests.differential.sandbox import CapturedCall, CapturedSegment

PAGE = 4096
_NOTHING_KNOWN: Mapping[str, CapturedSegment] = MappingProxyType({})

_SCREEN_INFO = (
    "B:orig_x B:orig_y H:ext_mem_k H:orig_video_page B:orig_video_mode B:orig_video_cols "
    "B:flags B:unused2 H:orig_video_ega_bx H:unused3 B:orig_video_lines B:orig_video_isVGA "
    "H:orig_video_points H:lfb_width H:lfb_height H:lfb_depth I:lfb_base I:lfb_size H:cl_magic "
    "H:cl_offset H:lfb_linelength B:red_size B:red_pos B:green_size B:green_pos B:blue_size "
    "B:blue_pos B:rsvd_size B:rsvd_pos H:vesapm_seg H:vesapm_off H:pages H:vesa_attributes "
    "I:capabilities I:ext_lfb_base 2s:_reserved"
)
_BEFORE_HEADER = (
    "20s:apm_bios_info 4s:_pad2 Q:tboot_addr 16s:ist_info Q:acpi_rsdp_addr 8s:_pad3 16s:hd0_info "
    "16s:hd1_info 16s:sys_desc_table 16s:olpc_ofw_header I:ext_ramdisk_image I:ext_ramdisk_size "
    "I:ext_cmd_line_ptr 112s:_pad4 I:cc_blob_address 128s:edid_info 4s:efi_loader_signature "
    "I:efi_systab I:efi_memdesc_size I:efi_memdesc_version I:efi_memmap I:efi_memmap_size "
    "I:efi_systab_hi I:efi_memmap_hi I:alt_mem_k I:scratch B:e820_entries B:eddbuf_entries "
    "B:edd_mbr_sig_buf_entries B:kbd_status B:secure_boot 2s:_pad5 B:sentinel 1s:_pad6"
)
_HEADER = (
    "B:setup_sects H:root_flags I:syssize H:ram_size H:vid_mode H:root_dev H:boot_flag 2s:jump "
    "4s:header H:version I:realmode_swtch H:start_sys_seg H:kernel_version B:type_of_loader "
    "B:loadflags H:setup_move_size I:code32_start I:ramdisk_image I:ramdisk_size "
    "I:bootsect_kludge H:heap_end_ptr B:ext_loader_ver B:ext_loader_type I:cmd_line_ptr "
    "I:initrd_addr_max I:kernel_alignment B:relocatable_kernel B:min_alignment H:xloadflags "
    "I:cmdline_size I:hardware_subarch Q:hardware_subarch_data I:payload_offset "
    "I:payload_length Q:setup_data Q:pref_address I:init_size I:handover_offset "
    "I:kernel_info_offset 36s:_pad7"
)
_BEHIND_HEADER = "64s:edd_mbr_sig_buffer 2560s:e820_table 48s:_pad8 492s:eddbuf 276s:_pad9"

_E820_ENTRY = struct.Struct("<QQI")
_SETUP_DATA = struct.Struct("<QII")
_EFI_DESCRIPTOR = struct.Struct("<I4xQQQQ")
_EDD_INFO = struct.Struct("<BBHHBB74s")

SETUP_E820_EXT = 1
SETUP_RNG_SEED = 9

Fields = dict[str, object]


@dataclass(frozen=True, slots=True)
class Handover:
    """A recorded load, decoded."""

    segments: dict[str, CapturedSegment]
    """By role; a setup_data list in segments of its own gives ``setup_data.TYPE``."""
    fields: Fields
    """What the next kernel is told. Names are those of the kernel's structures."""


def zero_page_fields(page: bytes) -> Fields:
    """Split 4096 bytes into the fields of ``struct boot_params``, every byte in exactly one."""
    parts = (
        ("screen_info.", _SCREEN_INFO),
        ("", _BEFORE_HEADER),
        ("hdr.", _HEADER),
        ("", _BEHIND_HEADER),
    )
    fields: Fields = {}
    offset = 0
    for prefix, table in parts:
        for item in table.split():
            form, name = item.split(":")
            (value,) = struct.unpack_from(f"<{form}", page, offset)
            fields[prefix + name] = value
            offset += struct.calcsize(f"<{form}")
    if offset != PAGE or len(page) != PAGE:
        raise ValueError(f"the table covers {offset} bytes, the page has {len(page)}")
    return fields


class _Memory:
    """Physical memory as a recorded call leaves it."""

    def __init__(self, call: CapturedCall) -> None:
        self._segments = call.segments

    def holder(self, address: int) -> CapturedSegment:
        """Return the segment that holds ``address``."""
        for segment in self._segments:
            if segment.mem <= address < segment.mem + segment.memsz:
                return segment
        raise ValueError(f"{address:#x} lies in no segment")

    def read(self, address: int, size: int) -> bytes:
        """Return ``size`` bytes of one segment, zeros behind its data included."""
        segment = self.holder(address)
        if address + size > segment.mem + segment.memsz:
            raise ValueError(f"{size} bytes at {address:#x} reach out of their segment")
        start = address - segment.mem
        return segment.data[start : start + size].ljust(size, b"\0")

    def setup_data(self, head: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield (address, type, payload) of each node."""
        while head:
            following, kind, length = _SETUP_DATA.unpack(self.read(head, _SETUP_DATA.size))
            yield head, kind, self.read(head + _SETUP_DATA.size, length)
            head = following


def decode(
    call: CapturedCall,
    kernel: bytes,
    initrd: bytes | None,
    known: Mapping[str, CapturedSegment] = _NOTHING_KNOWN,
) -> Handover:
    """Decode a recorded load of a bzImage; raises ValueError when it makes no sense.

    ``kernel`` and ``initrd`` are the files that were given, ``known`` are segments whose
    roles the caller found. Every segment has to be accounted for.
    """
    memory = _Memory(call)
    setup_size = ((kernel[0x1F1] or 4) + 1) * 512
    roles = {**known, "purgatory": memory.holder(call.entry)}
    parameters = [s for s in call.segments if s.data[0x202:0x206] == b"HdrS"]
    kernels = [s for s in call.segments if s.data and kernel[setup_size:].startswith(s.data)]
    if len(parameters) != 1 or len(kernels) != 1:
        raise ValueError(f"{len(parameters)} zero pages and {len(kernels)} kernels")
    roles |= {"parameters": parameters[0], "kernel": kernels[0]}
    fields = zero_page_fields(memory.read(parameters[0].mem, PAGE))
    address = _join(fields, "hdr.ramdisk_image", "ext_ramdisk_image")
    if address:
        roles["initrd"] = memory.holder(address)
    nodes = list(memory.setup_data(_number(fields, "hdr.setup_data")))
    for node, kind, _ in nodes:
        roles.setdefault(f"setup_data.{kind}", memory.holder(node))
    memmap = _join(fields, "efi_memmap", "efi_memmap_hi")
    if memmap:
        roles["efi_memmap"] = memory.holder(memmap)
    if {s.mem for s in roles.values()} != {s.mem for s in call.segments}:
        raise ValueError("a segment has no role")

    def place(where: int) -> str:
        holder = memory.holder(where)
        role = next(name for name, segment in roles.items() if segment is holder)
        return f"{role}+{where - holder.mem:#x}"

    told = _resolve(fields, memory, nodes, place)
    told |= {
        "flags": call.flags,
        "kernel": _content(roles["kernel"]),
        "initrd": None if initrd is None else _content(roles["initrd"])[0] == _sha(initrd),
        "nodes": sorted(kind for _, kind, _ in nodes),
    }
    return Handover(roles, told)


def _resolve(
    fields: Fields,
    memory: _Memory,
    nodes: list[tuple[int, int, bytes]],
    place: Callable[[int], str],
) -> Fields:
    """Replace addresses by what they lead to, packed tables by their entries."""
    told = dict(fields)
    cmdline = _join(told, "hdr.cmd_line_ptr", "ext_cmd_line_ptr", remove=True)
    limit = _number(told, "hdr.cmdline_size") + 1
    told["cmdline_at"] = place(cmdline)
    holder = memory.holder(cmdline)
    room = min(limit, holder.mem + holder.memsz - cmdline)
    told["cmdline"] = memory.read(cmdline, room).split(b"\0", 1)[0]
    address = _join(told, "hdr.ramdisk_image", "ext_ramdisk_image", remove=True)
    told["ramdisk_at"] = place(address) if address else None
    memmap = _join(told, "efi_memmap", "efi_memmap_hi", remove=True)
    size = _number(told, "efi_memmap_size")
    told["efi_memmap"] = tuple(
        _EFI_DESCRIPTOR.iter_unpack(memory.read(memmap, size)) if size else ()
    )
    del told["hdr.setup_data"], told["e820_table"]
    extra = b""
    for _, kind, payload in nodes:
        if kind == SETUP_E820_EXT:
            extra = payload
        elif kind == SETUP_RNG_SEED:
            told["rng_seed"] = (len(payload), any(payload))
        else:
            told[f"setup_data.{kind}"] = payload
    table = bytes(_bytes(fields, "e820_table")[: _number(told, "e820_entries") * _E820_ENTRY.size])
    told["e820"] = tuple((a, a + n, t) for a, n, t in _E820_ENTRY.iter_unpack(table + extra))
    unused = _bytes(fields, "e820_table")[len(table) :]
    told["e820_unused"] = any(unused)
    edd = tuple(_EDD_INFO.iter_unpack(_bytes(fields, "eddbuf")))
    entries = _number(told, "eddbuf_entries")
    told["eddbuf"] = edd[:entries]
    told["eddbuf_unused"] = any(any(e[:6]) or any(e[6]) for e in edd[entries:])
    return told


def _number(fields: Fields, name: str) -> int:
    value = fields[name]
    assert isinstance(value, int)
    return value


def _bytes(fields: Fields, name: str) -> bytes:
    value = fields[name]
    assert isinstance(value, bytes)
    return value


def _join(fields: Fields, low: str, high: str, *, remove: bool = False) -> int:
    """Return the number whose halves are in two fields."""
    value = _number(fields, high) << 32 | _number(fields, low)
    if remove:
        del fields[low], fields[high]
    return value


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _content(segment: CapturedSegment) -> tuple[str, int, int]:
    """Return (SHA-256 of the data, bytes of data, bytes of memory)."""
    return _sha(segment.data), segment.bufsz, segment.memsz
