"""The structures of a firmware-assisted dump, field by field. Pure.

Linux arch/powerpc/include/asm/fadump-internal.h, platforms/pseries/rtas-fadump.h,
platforms/powernv/opal-fadump.h and include/asm/ptrace.h, with the names of those. What a kernel
writes for itself is in its own byte order, what firmware reads or writes is big-endian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from construct import (
    Array,
    Bytes,
    Int8ub,
    Int16ub,
    Int16ul,
    Int32ub,
    Int32ul,
    Int64ub,
    Int64ul,
    Padding,
    Struct,
)

if TYPE_CHECKING:
    from typing import Any, Literal

    from construct import Container

    ByteOrder = Literal["little", "big"]

PT_REGS_KNOWN = 0x160
"""Bytes of a pt_regs that are the same in all kernels: uapi/asm/ptrace.h, "user_pt_regs"."""


class _Order:
    """What a kernel of one byte order writes."""

    def __init__(self, order: ByteOrder) -> None:
        u16, u32, u64 = (
            (Int16ul, Int32ul, Int64ul) if order == "little" else (Int16ub, Int32ub, Int64ub)
        )
        self.pt_regs = Struct(
            "gpr" / Array(32, u64),
            "nip" / u64,
            "msr" / u64,
            "orig_gpr3" / u64,
            "ctr" / u64,
            "link" / u64,
            "xer" / u64,
            "ccr" / u64,
            "softe" / u64,
            "trap" / u64,
            "dar" / u64,
            "dsisr" / u64,
            "result" / u64,
        )
        self.old_header = Struct(
            "magic_number" / Bytes(8),
            "elfcorehdr_addr" / u64,
            "crashing_cpu" / u32,
            Padding(4),
        )
        self.header = Struct(
            "magic_number" / Bytes(8),
            "version" / u32,
            "crashing_cpu" / u32,
            "vmcoreinfo_raddr" / u64,
            "vmcoreinfo_size" / u64,
            "pt_regs_sz" / u32,
            "cpu_mask_sz" / u32,
        )
        # On the mailing list as version 7 of the series, with the same magic and version.
        self.unmerged_header = Struct(
            Padding(16),
            "elfcorehdr_addr" / u64,
            "elfcorehdr_size" / u64,
            "vmcoreinfo_raddr" / u64,
            "vmcoreinfo_size" / u64,
            "pt_regs_sz" / u32,
            "cpu_mask_sz" / u32,
        )
        self.opal_metadata = Struct(
            "version" / Int8ub,
            Padding(3),
            "region_cnt" / u16,
            "registered_regions" / u16,
            "fadumphdr_addr" / u64,
        )
        self.opal_region = Struct("src" / u64, "dest" / u64, "size" / u64)


ORDERS: dict[ByteOrder, _Order] = {"little": _Order("little"), "big": _Order("big")}

DUMP_HEADER = Struct(
    "dump_format_version" / Int32ub,
    "dump_num_sections" / Int16ub,
    "dump_status_flag" / Int16ub,
    "offset_first_dump_section" / Int32ub,
    "dd_block_size" / Int32ub,
    "dd_block_offset" / Int64ub,
    "dd_num_blocks" / Int64ub,
    "dd_offset_disk_path" / Int32ub,
    "max_time_auto" / Int32ub,
)
DUMP_SECTION = Struct(
    "request_flag" / Int32ub,
    "source_data_type" / Int16ub,
    "error_flags" / Int16ub,
    "source_address" / Int64ub,
    "source_len" / Int64ub,
    "bytes_dumped" / Int64ub,
    "destination_address" / Int64ub,
)
REG_SAVE_AREA = Struct("magic_number" / Bytes(8), "version" / Int32ub, "num_cpu_offset" / Int32ub)
REG_COUNT = Struct("num_cpus" / Int32ub)

MPIPL = Struct(
    "version" / Int8ub,
    Padding(7),
    "crashing_pir" / Int32ub,
    "cpu_data_version" / Int32ub,
    "cpu_data_size" / Int32ub,
    "region_cnt" / Int32ub,
)
HDAT_THREAD = Struct(
    "pir" / Int32ub,
    "core_state" / Int8ub,
    Padding(3),
    "offset" / Int32ub,
    "ecnt" / Int32ub,
    "esize" / Int32ub,
    "eactsz" / Int32ub,
)
HDAT_OFFSET_AT = 8
"""Where ``offset`` stands in a thread's header: it counts from there."""


def pt_regs_of(found: Container[Any]) -> tuple[tuple[str, int], ...]:
    """Return a pt_regs as names and values, in its order: ``gpr0`` to ``gpr31``, ``nip``…"""
    gprs = [(f"gpr{number}", value) for number, value in enumerate(found.gpr)]
    rest = [(name, value) for name, value in found.items() if name != "gpr" and name[0] != "_"]
    return (*gprs, *rest)
