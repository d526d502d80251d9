"""The E820 memory map that an x86 kernel is told. Pure.

Linux Documentation/arch/x86/zero-page.rst, "e820_table"; entry layout and the limit of
128 from arch/x86/include/uapi/asm/bootparam.h; types from arch/x86/include/asm/e820/types.h.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from pykexec.boot.x86._structures import BOOT_E820_ENTRY
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.memory import MemoryKind
from pykexec.values.ranges import Range
from pykexec.values.units import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pykexec.values.memory import MemoryMap, MemoryRegion

E820_MAX_ENTRIES_ZEROPAGE = 128
_END = (1 << 64) - 4096


class E820Type(IntEnum):
    """``enum e820_type``."""

    E820_TYPE_RAM = 1
    E820_TYPE_RESERVED = 2
    E820_TYPE_ACPI = 3
    E820_TYPE_NVS = 4
    E820_TYPE_UNUSABLE = 5
    E820_TYPE_PMEM = 7
    E820_TYPE_PRAM = 12
    E820_TYPE_SOFT_RESERVED = 0xEFFFFFFF


_TYPE_OF_KIND = {
    MemoryKind.RAM: E820Type.E820_TYPE_RAM,
    MemoryKind.RESERVED: E820Type.E820_TYPE_RESERVED,
    MemoryKind.ACPI_TABLES: E820Type.E820_TYPE_ACPI,
    MemoryKind.ACPI_NVS: E820Type.E820_TYPE_NVS,
    MemoryKind.UNUSABLE: E820Type.E820_TYPE_UNUSABLE,
    MemoryKind.PMEM: E820Type.E820_TYPE_PMEM,
    MemoryKind.PRAM: E820Type.E820_TYPE_PRAM,
    MemoryKind.SOFT_RESERVED: E820Type.E820_TYPE_SOFT_RESERVED,
}


@dataclass(frozen=True, slots=True)
class E820Entry:
    """One E820 entry; ``type`` is kept as a number, since firmware invents its own."""

    range: Range
    type: int


def e820_from_memory_map(memory_map: MemoryMap) -> tuple[E820Entry, ...]:
    """Translate a memory map; neighbours of one type become one entry.

    What reaches to the end of all 64 bits is told without its last page: a kernel drops its
    whole map for an entry whose start and size add up to 0 (arch/x86/kernel/e820.c,
    "e820__update_table").
    """
    merged: list[E820Entry] = []
    for region in _below_the_end(memory_map):
        kind = _TYPE_OF_KIND[region.kind]
        last = merged[-1] if merged else None
        if last is not None and last.type == kind and last.range.end == region.range.start:
            merged[-1] = E820Entry(Range(last.range.start, region.range.end), kind)
        else:
            merged.append(E820Entry(region.range, kind))
    return tuple(merged)


def _below_the_end(memory_map: MemoryMap) -> Iterator[MemoryRegion]:
    for region in memory_map:
        if region.range.end <= _END:
            yield region
        elif region.range.start < _END:
            yield replace(region, range=Range(region.range.start, _END))


def build_e820(entries: Iterable[E820Entry]) -> bytes:
    """Encode entries as packed ``struct boot_e820_entry``."""
    return b"".join(
        BOOT_E820_ENTRY.build({"addr": e.range.start, "size": e.range.size, "type": e.type})
        for e in entries
    )


def parse_e820(data: bytes) -> tuple[E820Entry, ...]:
    """Decode packed ``struct boot_e820_entry``; a trailing partial entry is ignored."""
    size = BOOT_E820_ENTRY.size
    whole = range(0, len(data) // size * size, size)
    parsed = [BOOT_E820_ENTRY.parse(data[at : at + size]) for at in whole]
    return tuple(
        E820Entry(Range.sized(item.addr, min(item.size, (1 << 64) - item.addr)), item.type)
        for item in parsed
    )


def memory_above_1m(entries: Iterable[E820Entry]) -> int:
    """Return KiB of RAM in the entry that spans 1 MiB, behind 1 MiB (``alt_mem_k``)."""
    for entry in entries:
        ram = entry.type == E820Type.E820_TYPE_RAM
        if ram and entry.range.start <= MIB < entry.range.end:
            return (entry.range.end - MIB) // KIB
    return 0
