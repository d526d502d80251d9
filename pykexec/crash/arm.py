"""Crashes of 32-bit ARM kernels: where memory is reserved. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash.linear_maps import untold
from pykexec.crash.reservation_rules import Rules, installed_ram
from pykexec.values.memory import walk
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.crash.elf_core import PhysicalMemory, VmcoreInfo
    from pykexec.values.facts import MachineFacts

_LOWMEM = 768 * MIB
"""With CONFIG_VMSPLIT_3G: Linux arch/arm/mm/mmu.c, "adjust_lowmem_bounds"."""
_PAGE_STRUCT = 32


def rules(facts: MachineFacts) -> Rules:
    """See :class:`~pykexec.crash.rooms.CrashRoom`.

    Linux arch/arm/kernel/setup.c, "reserve_crashkernel": one region, in lowmem, at a multiple of
    128 MiB unless its address is given. It is the last that setup_arch() reserves.
    """
    ram = installed_ram(facts)
    start = min((item.start for item in ram), default=0)
    top = max((item.end for item in ram.intersect([Range(0, 4 * GIB)])), default=4 * GIB)
    end = facts.crash.direct_map_end or min(start + _LOWMEM, top)
    kept = [*_kernel(facts), *_initrd(facts), Range(end - _at_the_end(facts, end, top), end)]
    return Rules(
        align=128 * MIB,
        fixed_align=MIB,
        low_end=end,
        high_end=end,
        low_size=0,
        high=False,
        high_on_failure=False,
        counts_low=True,
        kept=RangeSet(item for item in kept if item.size),
        advice=", or cma=16M beside it for more room" if facts.kernel.memory_cma else "",
    )


def _kernel(facts: MachineFacts) -> Iterator[Range]:
    """Yield where the kernel is: it has no KASLR, and is there at the next boot too."""
    found = [
        item.range for item in walk(facts.iomem) if item.name in ("Kernel code", "Kernel data")
    ]
    if found:
        yield Range(min(item.start for item in found), max(item.end for item in found))


def _initrd(facts: MachineFacts) -> Iterator[Range]:
    """Yield where the boot loader put the initrd, which has become free since."""
    from pykexec.formats.device_tree import parse_device_tree
    from pykexec.values.errors import ImageError

    try:
        chosen = parse_device_tree(facts.device_tree or b"").root.child("chosen")
    except ImageError:
        return
    names = ("linux,initrd-start", "linux,initrd-end")
    told = [chosen.get(name) for name in names] if chosen is not None else []
    start, end = (int.from_bytes(value or b"", "big") for value in told or (b"", b""))
    if start < end:
        yield Range(start, end)


def _at_the_end(facts: MachineFacts, end: int, top: int) -> int:
    """Return how many bytes are taken at the end of lowmem, at least.

    The areas for contiguous allocations come first, from the end of all memory downwards (Linux
    kernel/dma/contiguous.c, mm/cma.c), then the kernel's map of pages (mm/mm_init.c, of 32 bytes a
    page at least).
    """
    areas = facts.kernel.memory_cma or 0 if top == end else 0
    pages = sum(item.size for item in installed_ram(facts)) // facts.page_size
    return min(areas + pages * _PAGE_STRUCT, end)


def translate(vaddr: int, _: VmcoreInfo, __: PhysicalMemory) -> tuple[int, int]:
    """See :class:`~pykexec.crash.rooms.CrashRoom`: the core header has all that is mapped."""
    raise untold(vaddr)
