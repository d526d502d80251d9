"""Crashes of x86 kernels: where memory is reserved, and how addresses are translated. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures.x86 import I386
from pykexec.crash.capture_words import IO_TLB_SLOT, LOW_EXTRA, SWIOTLB
from pykexec.crash.core_reading import EXIT_NO_ADDRESS, VmcoreError
from pykexec.crash.reservation_rules import Rules, before
from pykexec.values.command_line import kernel_words, key_of, memparse
from pykexec.values.units import GIB, MIB, TIB

if TYPE_CHECKING:
    from pykexec.crash.elf_core import PhysicalMemory, VmcoreInfo
    from pykexec.values.facts import MachineFacts

_LOW_DEFAULT_MIN = 256 * MIB
_START_KERNEL_MAP = 0xFFFFFFFF80000000
"""Where the kernel's image is mapped: Linux Documentation/arch/x86/x86_64/mm.rst."""
_PAGE_ADDRESS = 0x000FFFFFFFFFF000
_PAGE_PRESENT = 1
_PAGE_PSE = 1 << 7


def rules(facts: MachineFacts) -> Rules:
    """See :class:`~pykexec.crash.rooms.CrashRoom`. ``,high`` is known since v3.9.

    Linux arch/x86/include/asm/crash_reserve.h; before v6.7 arch/x86/kernel/setup.c.
    """
    older = before(facts, "6.7")
    fixed = MIB if older else 16 * MIB
    if facts.arch == I386.name:
        return Rules(16 * MIB, fixed, 512 * MIB, 512 * MIB, 0, high=True, high_on_failure=older)
    low = max(_swiotlb(facts.cmdline) + LOW_EXTRA, _LOW_DEFAULT_MIN)
    return Rules(16 * MIB, fixed, 4 * GIB, 64 * TIB, low, high=True, high_on_failure=older)


def _swiotlb(cmdline: bytes) -> int:
    size = SWIOTLB
    for word in kernel_words(cmdline):
        if key_of(word) == "swiotlb":
            read = memparse(word.partition(b"=")[2])
            size = read[0] * IO_TLB_SLOT if read and read[0] else size
    return size


def translate(vaddr: int, info: VmcoreInfo, physical: PhysicalMemory) -> tuple[int, int]:
    """Walk the kernel's page tables: physical address, bytes left in the page.

    Intel SDM volume 3, 5.5 "4-level paging and 5-level paging". The top table lies in the
    kernel's image, whose place NUMBER(phys_base) tells. Below Xen that is no machine address:
    there the tables are those that a processor used when it stopped.
    """
    top = info.optional_symbol("init_top_pgt")
    if top is None:
        top = info.optional_symbol("swapper_pg_dir")
    if info.top_tables and top is not None:
        table, levels, mask = _table_of_dom0(top, info, physical), 4, _PAGE_ADDRESS
    else:
        table, levels, mask = _own_table(vaddr, top, info)
    found = _walk(vaddr, table, levels, mask, physical)
    if found is None:
        raise VmcoreError(f"the crashed kernel has no page at {vaddr:#x}", EXIT_NO_ADDRESS)
    return found


def _own_table(vaddr: int, top: int | None, info: VmcoreInfo) -> tuple[int, int, int]:
    """Return where the top table lies, how many levels there are, an entry's bits of address."""
    phys_base = info.number("phys_base")
    if top is None or phys_base is None or top < _START_KERNEL_MAP:
        raise VmcoreError(
            f"nothing covers {vaddr:#x}, and VMCOREINFO does not tell where the page tables are",
            EXIT_NO_ADDRESS,
        )
    table = top - _START_KERNEL_MAP + phys_base
    if table < 0:
        raise VmcoreError(f"the page tables cannot be at {table:#x}", EXIT_NO_ADDRESS)
    mask = _PAGE_ADDRESS & ~(info.number("sme_mask") or 0)
    return table, 5 if info.number("pgtable_l5_enabled") else 4, mask


def _walk(
    vaddr: int, table: int, levels: int, mask: int, physical: PhysicalMemory
) -> tuple[int, int] | None:
    for shift in range(12 + 9 * (levels - 1), 11, -9):
        entry_addr = table + (vaddr >> shift & 511) * 8
        entry = int.from_bytes(physical.read_physical(entry_addr, 8), "little")
        if not entry & _PAGE_PRESENT:
            return None
        table = entry & mask
        if shift == 12 or (entry & _PAGE_PSE and shift in (21, 30)):
            within = (1 << shift) - 1
            return (table & ~within) + (vaddr & within), (1 << shift) - (vaddr & within)
    return None


def _table_of_dom0(top: int, info: VmcoreInfo, physical: PhysicalMemory) -> int:
    """Return the one of Xen's tables that has dom0's kernel in it; remembers it in ``info``.

    A paravirtualised guest's tables have machine addresses. A processor may have run another guest,
    and one with the same kernel has its own pages at the same virtual addresses: then nobody can
    tell which is dom0's. Raises :class:`VmcoreError` for that and for none.
    """
    found: dict[int, int] = {}
    for table in info.top_tables:
        try:
            place = _walk(top, table, 4, _PAGE_ADDRESS, physical)
        except VmcoreError:
            continue  # of the hypervisor itself, or of a page that is not in the dump
        if place is not None:
            found.setdefault(place[0], table)
    if len(found) != 1:
        which = "none of them" if not found else "those of more than one guest"
        raise VmcoreError(
            f"the page tables that Xen's {len(info.top_tables)} processors used are known, and "
            f"{which} have dom0's kernel at {top:#x}",
            EXIT_NO_ADDRESS,
            hint="crash(8) with xen-syms reads the tables of every domain",
        )
    (table,) = found.values()
    info.top_tables = (table,)
    return table
