"""The device tree of the next POWER kernel: what goes of the running one's, and what comes. Pure.

/chosen is renewed as for all machines with a tree (:mod:`pykexec.boot.tree.chosen`). Besides:

==============================  =======================================================
``linux,kernel-end``,           of the running kernel; the next one writes its own
``linux,htab-base``/-size,
``linux,crashkernel-*``
``linux,memory-limit``          removed: kernels read it in the wrong byte order
``linux,usable-memory``,        of a capture kernel; written for a crash load, removed for
``linux,drconf-usable-memory``  any other
``linux,usable-memory-range``   removed: what the two say need not be said twice
``/rtas/ibm,kernel-dump``       removed: it stays after its dump is gone, and a kernel that
                                reads it believes that there is one
==============================  =======================================================

A capture kernel has the memory from 0 to the end of its region, because kernels want the first
block; what lies between its vectors and the region is kept from it by the memory reservation block
(Linux arch/powerpc/kexec/file_load_64.c, "get_usable_memory_ranges").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.ppc64le.platform import (
    LMBS,
    firmware_regions,
    is_memory,
    lmbs_of,
    memory_of,
)
from pykexec.boot.tree.chosen import USABLE, Cells, find_chosen
from pykexec.formats.device_tree import build_device_tree, parse_device_tree
from pykexec.values.data_classes import replace
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import KIB

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykexec.formats.device_tree import Node

BACKED_UP = Range(0, 64 * KIB)
"""What a capture kernel overwrites: Linux arch/powerpc/include/asm/crashdump-ppc64.h."""
RTAS = "rtas"
KERNEL_DUMP = "ibm,kernel-dump"
USABLE_NODE = "linux,usable-memory"
USABLE_LMBS = "linux,drconf-usable-memory"

_GONE_OF_CHOSEN = frozenset(
    {
        "linux,kernel-end",
        "linux,crashkernel-base",
        "linux,crashkernel-size",
        "linux,memory-limit",
        "linux,htab-base",
        "linux,htab-size",
        USABLE,
    }
)


def without_running(source: bytes, region: Range | None, *kept: Range) -> bytes:
    """Return the tree ``source`` without what is the running kernel's alone.

    ``region`` is that of a crash load: the tree then tells of the capture kernel's memory, which
    has to leave ``kept`` alone.
    """
    tree = parse_device_tree(source)
    root = _cleared(tree.root)
    reservations = (*tree.reservations, *(item.range for item in firmware_regions(root)))
    if region is not None:
        usable = usable_memory(root, region)
        root = _limited(root, usable)
        reservations = (*reservations, crashed_memory(region), *kept)
    reservations = tuple(dict.fromkeys(reservations))
    return build_device_tree(replace(tree, root=root, reservations=reservations))


def crashed_memory(region: Range) -> Range:
    """Return what is reserved of the memory below a crash region."""
    return Range(BACKED_UP.end, region.start)


def usable_memory(root: Node, region: Range) -> RangeSet:
    """Return the memory that a capture kernel may use, or is to know of."""
    return RangeSet((Range(0, region.end), *(item.range for item in firmware_regions(root))))


def _cleared(root: Node) -> Node:
    chosen = find_chosen(root)
    if chosen is not None:
        root = root.with_child(chosen.without(_GONE_OF_CHOSEN.__contains__))
    children = (_cleared_child(node) for node in root.children)
    return replace(root, children=tuple(children))


def tells_of_dump(source: bytes) -> bool:
    """Tell whether a tree says, rightly or no longer, that firmware has saved a dump."""
    rtas = parse_device_tree(source).root.child(RTAS)
    return rtas is not None and rtas.get(KERNEL_DUMP) is not None


def _cleared_child(node: Node) -> Node:
    if node.name == RTAS:
        return node.without(KERNEL_DUMP.__eq__)
    if node.name == LMBS:
        return node.without(USABLE_LMBS.__eq__)
    return node.without(USABLE_NODE.__eq__) if is_memory(node) else node


def _limited(root: Node, usable: RangeSet) -> Node:
    """Tell in each memory node, and of each block, what of it is ``usable``.

    Of the blocks only those count that belong to the machine: a kernel passes over the others, and
    reads nothing for them (arch/powerpc/kernel/prom.c, "early_init_drmem_lmb").
    """
    cells = Cells.of(root)
    children = []
    for node in root.children:
        if is_memory(node):
            own = usable.intersect(memory_of(node, cells))
            told = cells.encode(own if len(own) else [Range(0, 0)])
            children.append(node.with_property(USABLE_NODE, told))
        elif node.name == LMBS and lmbs_of(root):
            blocks = (usable.intersect([lmb.place]) for lmb in lmbs_of(root) if lmb.usable)
            children.append(node.with_property(USABLE_LMBS, _counted(blocks, cells)))
        else:
            children.append(node)
    return replace(root, children=tuple(children))


def _counted(blocks: Iterable[RangeSet], cells: Cells) -> bytes:
    """Return for each block how many ranges follow, in the cells of a size, and these."""
    width = 4 * cells.size
    return b"".join(len(item).to_bytes(width, "big") + cells.encode(item) for item in blocks)
