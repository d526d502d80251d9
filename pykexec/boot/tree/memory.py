"""What a device tree says about memory: what there is, and what of it is not to be touched. Pure.

Linux drivers/of/fdt.c: "early_init_dt_scan_memory", "early_init_dt_check_for_usable_mem_range",
"early_init_fdt_scan_reserved_mem"; dt-schema reserved-memory.yaml. A kernel reserves its own image
and its initrd before it looks at the tree's reservations. What lies on one of them is therefore
noticed by nobody: a region without ``no-map`` is handed to its driver, or to CMA, with the kernel
in it, and one with ``no-map`` may be memory that faults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.tree.chosen import Cells, find_chosen, lasting_reservations, read_usable
from pykexec.boot.tree.given_tree import (
    is_available,
    reserved_regions,
    told_memory,
    uefi_properties,
)
from pykexec.values.data_classes import dataclass
from pykexec.values.memory import MemoryKind, MemoryMap, MemoryRegion
from pykexec.values.ranges import Range, RangeSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats.device_tree import DeviceTree

_LISTED = 3


@dataclass(frozen=True, slots=True)
class Kept:
    """Memory that is kept from use."""

    range: Range
    name: str
    """Of the node; ``/memreserve/`` for an entry of the memory reservation block."""
    no_map: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.range}" + (" (no-map)" if self.no_map else "")


@dataclass(frozen=True, slots=True)
class TreeMemory:
    """What a kernel learns of its memory from one tree."""

    told: RangeSet | None
    """The memory that it takes; None where EFI's map says it, or nobody."""
    limit: RangeSet | None
    """``linux,usable-memory-range``, by which EFI's map is cut too; None without."""
    kept: tuple[Kept, ...]

    def free(self, ram: RangeSet) -> RangeSet:
        """Return the part of ``ram`` that segments may lie in."""
        known = ram if self.told is None else ram.intersect(self.told)
        if self.limit is not None:
            known = known.intersect(self.limit)
        return known.minus(item.range for item in self.kept)

    def withheld(self, ram: RangeSet) -> str:
        """List what keeps segments out of ``ram``."""
        items = [str(item) for item in self.kept if ram.overlapping(item.range)]
        if self.limit is not None and ram.minus(self.limit):
            items.append(f"linux,usable-memory-range {', '.join(map(str, self.limit))}")
        elif self.told is not None and ram.minus(self.told):
            untold = list(map(str, ram.minus(self.told)))
            items.append(f"memory that no node tells of: {', '.join(untold[:_LISTED])}")
        more = len(items) - _LISTED
        return ", ".join(items[:_LISTED]) + (f" and {more} more" if more > 0 else "")

    def objections(self, place: Range) -> Iterator[str]:
        """Say why a segment must not lie at ``place``."""
        for item in self.kept:
            if item.range.overlaps(place):
                yield f"lies on {item}, which the device tree keeps from use"
        for what, where in (("memory nodes", self.told), ("usable-memory-range", self.limit)):
            if where is not None and where.covering(place) is None:
                yield f"is outside the device tree's {what}"

    def memory_map(self, running: MemoryMap) -> MemoryMap:
        """Return the map that the tree comes to; ``running`` is the present kernel's."""
        if self.told is not None:
            ram, others = self.told, []
        else:
            ram = running.of_kind(MemoryKind.RAM)
            others = [item for item in running if item.kind is not MemoryKind.RAM]
            if self.limit is None:
                return running
            ram = ram.intersect(self.limit)
        unmapped = (item for item in self.kept if item.no_map)
        return MemoryMap.from_overlapping(
            [
                *(MemoryRegion(item, MemoryKind.RAM, MemoryKind.RAM.value) for item in ram),
                *others,
                *(MemoryRegion(item.range, MemoryKind.RESERVED, item.name) for item in unmapped),
            ]
        )


def tree_memory(tree: DeviceTree) -> TreeMemory:
    """Read what ``tree`` says. Raises :class:`ImageError` for a root with impossible cells.

    Reservations of what /chosen tells of are left out: they are the loader's own.
    """
    root = tree.root
    chosen = find_chosen(root)
    ranges = read_usable(chosen, Cells.of(root)) if chosen is not None else ()
    limit = RangeSet(ranges) if ranges else None
    told: RangeSet | None = told_memory(root)
    if uefi_properties(root) or not told:
        told = None
    elif ranges:
        # The first cuts what there is, the second is added to it.
        told = RangeSet((*told.intersect(ranges[:1]), *ranges[1:]))
    nodes = (
        Kept(item, node.name, no_map=node.get("no-map") is not None)
        for node, item in reserved_regions(root)
        if is_available(node)
    )
    entries = (Kept(item, "/memreserve/") for item in lasting_reservations(tree))
    return TreeMemory(told, limit, (*nodes, *entries))
