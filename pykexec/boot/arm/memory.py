"""What the next kernel is told of memory, and what of it nobody may write to. Pure.

/proc/iomem shows no reservation inside System RAM on this architecture (Linux
arch/arm/kernel/setup.c, "request_standard_resources"). They are read from the device tree, its
nodes and its memory reservation block; and with EFI, whose map of memory each kernel reads again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.tree.given_tree import uefi_properties
from pykexec.boot.tree.memory import Kept, TreeMemory, tree_memory
from pykexec.values.data_classes import replace
from pykexec.values.ranges import Range
from pykexec.values.units import KIB, align_down, align_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats.device_tree import DeviceTree

_PAGE = 4 * KIB


def arm_memory(tree: DeviceTree, retained: Range | None = None) -> TreeMemory:
    """Return what ``tree`` says; ``retained`` is an initrd that is handed on where it is."""
    memory = tree_memory(tree)
    kept = [*memory.kept, *_efi_map(tree)]
    if retained is not None:
        kept.append(Kept(retained, "the initrd that is kept"))
    return replace(memory, kept=tuple(kept))


def _efi_map(tree: DeviceTree) -> Iterator[Kept]:
    """Yield the pages of EFI's memory map: Linux drivers/firmware/efi/fdtparams.c."""
    told = uefi_properties(tree.root)
    start, size = (
        int.from_bytes(told.get(f"linux,uefi-mmap-{name}") or b"", "big")
        for name in ("start", "size")
    )
    place = Range.fitting(start, size)
    if size and place is not None:
        yield Kept(Range(align_down(start, _PAGE), align_up(place.end, _PAGE)), "EFI's memory map")
