"""Where a 32-bit ARM kernel has mapped memory. Pure.

Its VMCOREINFO note says nothing of that (Linux arch/arm/kernel/vmcore_info.c), and there is no
/proc/kcore (fs/proc/Kconfig, "PROC_KCORE"). The kernel's image is a part of the memory that is
mapped for good, lowmem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.memory import walk
from pykexec.values.units import ADDRESS_MAX_32, MIB, align_down

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykexec.values.memory import IomemEntry

_CODE = "Kernel code"
_HIGHMEM = "HighMem"
_SECTION = 2 * MIB


def find_page_offset(iomem: tuple[IomemEntry, ...], stext_vaddr: int | None) -> int | None:
    """Return the virtual address of physical address 0, modulo 2^32; None where nothing says it.

    "Kernel code" begins with ``_text`` (Linux arch/arm/kernel/setup.c,
    "request_standard_resources"). Kallsyms without CONFIG_KALLSYMS_ALL has ``_stext`` alone, which
    follows at the next section, of 2 MiB at most (arch/arm/kernel/vmlinux.lds.S); and the distance
    between physical and virtual addresses is a multiple of that (arch/arm/Kconfig,
    "ARM_PATCH_PHYS_VIRT").
    """
    code = [item.range for item in walk(iomem) if item.name == _CODE]
    if len(code) != 1 or stext_vaddr is None:
        return None
    return align_down((stext_vaddr - code[0].start) & ADDRESS_MAX_32, _SECTION)


def find_lowmem_end(zones: Iterable[str], page_size: int) -> int | None:
    """Return the physical address from which on memory has no virtual one; None: it all has.

    ``zones`` are the lines of /proc/zoneinfo with names and first pages; a zone without pages has
    none of the latter (Linux mm/vmstat.c, "zoneinfo_show_print").
    """
    name = ""
    for line in zones:
        if line.startswith("Node "):
            name = line.split()[-1]
        elif name == _HIGHMEM:
            number = line.rpartition(":")[2].strip()
            return int(number) * page_size if number.isdecimal() else None
    return None
