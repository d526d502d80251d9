"""Where an x86 kernel has mapped itself and memory, by what /proc/kcore shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.machine.kcore import KCORE, read_symbol, sized_range
from pykexec.values.memory import walk
from pykexec.values.units import GIB, MIB, align_down, align_up

if TYPE_CHECKING:
    from pykexec.machine.description import KcoreLoad
    from pykexec.machine.files import MachineFiles
    from pykexec.values.memory import IomemEntry
    from pykexec.values.ranges import Range

# Linux Documentation/arch/x86/x86_64/mm.rst: the kernel is mapped in these 1 GiB (512 MiB
# without KASLR; what follows then is modules, whose mapping ends beyond).
_START_KERNEL_MAP = 0xFFFFFFFF80000000
_KERNEL_IMAGE_SIZE = GIB
_PAGE_OFFSET_STEP = 128 * MIB
"""Linux arch/x86/Kconfig, "PAGE_OFFSET": 0xc0000000, or 0xb0000000 down to 0x40000000."""


def find_page_offset(loads: tuple[KcoreLoad, ...]) -> int | None:
    """Return the virtual address at which physical address 0 is mapped, None without loads.

    The direct map of x86_64 is the lowest that kcore shows, KASLR moves it in steps of
    1 GiB, and RAM starts below the first GiB.
    """
    return align_down(min(load.vaddr for load in loads), GIB) if loads else None


def find_i386_mapping(loads: tuple[KcoreLoad, ...]) -> tuple[int, int] | tuple[None, None]:
    """Return where a 32-bit kernel maps physical address 0, and the physical end of that map.

    The map is what kcore shows below the area of vmalloc, which is the highest; with
    CONFIG_HIGHMEM it is one PT_LOAD, else one for each range of RAM (Linux fs/proc/kcore.c,
    "kcore_ram_list"; arch/x86/include/asm/pgtable_32_areas.h). RAM starts far below what any
    choice of CONFIG_PAGE_OFFSET is a multiple of. None where kcore does not show both.
    """
    direct = sorted(loads, key=lambda load: load.vaddr)[:-1]
    if not direct:
        return None, None
    page_offset = align_down(direct[0].vaddr, _PAGE_OFFSET_STEP)
    return page_offset, max(load.vaddr + load.memsz for load in direct) - page_offset


def find_text(
    files: MachineFiles,
    loads: tuple[KcoreLoad, ...],
    iomem: tuple[IomemEntry, ...],
    page_size: int,
) -> tuple[Range, int] | tuple[None, None]:
    """Return where the kernel's image lies, physical and virtual; None where unknown."""
    code = [item.range for item in walk(iomem) if item.name == "Kernel code"]
    load = text_load(loads, read_symbol(files, b"_stext"))
    if len(code) != 1 or load is None:
        return None, None
    # Kernels before 2.6.31 map from _stext, a little behind the image's start, which is
    # what "Kernel code" starts with and which is aligned at least this far.
    vaddr = align_down(load.vaddr, MIB)
    size = align_up(load.vaddr + load.memsz, page_size) - vaddr
    return sized_range(code[0].start, size, files.path(KCORE)), vaddr


def text_load(loads: tuple[KcoreLoad, ...], stext: int | None) -> KcoreLoad | None:
    """Return the PT_LOAD with ``_stext``, else the one inside the kernel's own window."""
    for load in loads:
        if stext is not None and load.vaddr <= stext < load.vaddr + load.memsz:
            return load
    end = _START_KERNEL_MAP + _KERNEL_IMAGE_SIZE
    for load in loads:
        if load.vaddr >= _START_KERNEL_MAP and load.vaddr + load.memsz <= end:
            return load
    return None
