"""Where a zImage unpacks its kernel, and what it needs for that. Pure.

Linux arch/arm/boot/compressed/head.S and fdt_check_mem_start.c. The program takes for the base of
memory the multiple of 128 MiB below itself if a memory node has it (before v5.12 without a look),
else the lowest memory of the nodes, up to the next 2 MiB; and for a capture kernel (since v5.16)
the start of what /chosen says is usable. It writes to the memory from its page tables, in front of
the kernel, to the kernel's end, without asking whose that is. All memory below the base is lost to
the kernel.

Where the program lies above all that it stays there. Otherwise it copies itself behind the kernel
first, on whatever lies there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import GIB, KIB, MIB, align_down, align_up

if TYPE_CHECKING:
    from pykexec.formats.zimage import ZImage

BLOCK = 128 * MIB
LOWMEM = 768 * MIB
"""What a kernel with CONFIG_VMSPLIT_3G maps from its base on, and other splits more: Linux
arch/arm/mm/mmu.c, "adjust_lowmem_bounds"."""
SAFE_LOWMEM = 512 * MIB
"""Of a kernel that was built or told to leave more room for other mappings (``vmalloc=``)."""
_BASE_ALIGN = 2 * MIB
_PAGE_TABLES = 20 * KIB
"""With LPAE; else 16 KiB."""
_ADDRESSED = Range(0, 4 * GIB)


@dataclass(frozen=True, slots=True)
class Unpacking:
    """What a zImage does that lies in one block of 128 MiB; addresses physical."""

    block: Range
    base: int
    """The kernel's memory begins here, and its lowmem."""
    target: Range
    """What is overwritten: page tables and kernel."""

    @property
    def program(self) -> Range:
        """Where the zImage may lie: in the block, above all that it writes."""
        return Range(self.target.end, max(self.target.end, self.block.end))


def unpacking(
    image: ZImage, address: int, told: RangeSet, usable: Range | None = None
) -> Unpacking:
    """Return what ``image`` does somewhere in the block of ``address``.

    ``told`` is the memory of the tree's nodes, ``usable`` what /chosen limits it to, if it does.
    """
    start = align_down(address, BLOCK)
    base = base_of(start, told, usable)
    lowest, _ = image.text_offsets
    tables = base + max(lowest - _PAGE_TABLES, 0)
    return Unpacking(Range.sized(start, BLOCK), base, Range(tables, base + image.kernel_end))


def base_of(start: int, told: RangeSet, usable: Range | None) -> int:
    """Return the base of memory that a zImage finds in the block from ``start`` on."""
    told = told.intersect([_ADDRESSED])
    if usable is not None:
        clipped = told.intersect([usable]) or RangeSet([usable])
        return align_up(min(item.start for item in clipped), _BASE_ALIGN)
    if not told or any(item.start <= start < item.end for item in told):
        return start
    return align_up(min(item.start for item in told), _BASE_ALIGN)


def blocks(free: RangeSet) -> list[int]:
    """Return the starts of the blocks in which there is memory of ``free``, ascending."""
    found: dict[int, None] = {}
    for item in free.intersect([_ADDRESSED]):
        first = align_down(item.start, BLOCK)
        found.update(dict.fromkeys(range(first, item.end, BLOCK)))
    return sorted(found)
