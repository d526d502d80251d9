"""A user's ``--dtb``, completed by what only the running machine's tree knows. Pure.

A tree as the compiler makes it is not yet one that boots: the boot loader writes into it how
much memory there is, what firmware keeps for itself, and where EFI's tables are. What the
given tree says itself is never overruled.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from pykexec.boot.tree.chosen import (
    USABLE,
    Cells,
    find_chosen,
    firmware_limit,
    lasting_reservations,
)
from pykexec.formats.device_tree import (
    DeviceTree,
    Node,
    build_device_tree,
    parse_device_tree,
)
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import ImageError
from pykexec.values.ranges import RangeSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats.layers import Brought
    from pykexec.values.buffers import Buffer
    from pykexec.values.ranges import Range

_UEFI = "linux,uefi-"
"""Linux Documentation/arch/arm/uefi.rst: with these the kernel asks EFI for memory, not the
nodes. Some of them are of no use without the others."""
_RESERVED = "reserved-memory"
_LISTED = 3
_RANGES_LISTED = 8
_HANDLES = frozenset({"phandle", "linux,phandle"})
_HINT = "give a tree with memory nodes, or leave out --dtb to use the running one"


@dataclass(frozen=True, slots=True)
class _Merge:
    """A given tree as it becomes complete; the notes say how."""

    tree: DeviceTree
    notes: tuple[str, ...] = ()

    def with_root(self, root: Node, note: str) -> _Merge:
        return _Merge(replace(self.tree, root=root), (*self.notes, note))

    def noting(self, note: str) -> _Merge:
        return replace(self, notes=(*self.notes, note))


def complete_tree(given: bytes, running: bytes | None) -> tuple[bytes, tuple[str, ...]]:
    """Return ``given`` with memory, firmware's reservations and EFI's tables, and notes.

    ``running`` is the tree of the running kernel, None when there is none. Raises
    :class:`ImageError` when one of the two is not a device tree, when neither says what
    memory there is, and when what is missing cannot be taken over because the two count
    addresses in different cells.
    """
    merge = _Merge(parse_device_tree(given))
    if running is None:
        _require_memory(merge.tree.root, "and there is no running tree to take it from")
        return build_device_tree(merge.tree), ()
    other = parse_device_tree(running)
    merge = _add_uefi(merge, other.root)
    merge = _add_memory(merge, other.root)
    merge = _add_limit(merge, other.root)
    merge = _add_reserved_nodes(merge, other.root)
    merge = _add_reservations(merge, other)
    return build_device_tree(merge.tree), merge.notes


def tree_brought(brought: Brought, running: bytes | None) -> Buffer | None:
    """Return the tree that a container has for this machine, None when it has none.

    UAPI Group specification "Unified Kernel Image": the first ``.dtbauto`` whose first
    ``compatible`` string is the machine's goes before ``.dtb``. Raises :class:`ImageError`
    for one that is not a device tree.
    """
    if running is not None:
        own = _first_compatible(running)
        for tree in brought.device_trees:
            if own and _first_compatible(bytes(tree)) == own:
                return tree
    return brought.device_tree


def _first_compatible(blob: bytes) -> bytes:
    return (parse_device_tree(blob).root.get("compatible") or b"").split(b"\0", 1)[0]


def uefi_properties(root: Node) -> dict[str, bytes]:
    """Return what /chosen says of EFI; with that, a kernel asks EFI for memory and no node."""
    chosen = find_chosen(root) or Node("chosen")
    return {name: value for name, value in chosen.properties if name.startswith(_UEFI)}


def _add_uefi(merge: _Merge, other: Node) -> _Merge:
    properties = uefi_properties(other)
    root = merge.tree.root
    if not properties or uefi_properties(root):
        return merge
    chosen = find_chosen(root) or Node("chosen")
    for name, value in properties.items():
        chosen = chosen.with_property(name, value)
    return merge.with_root(
        root.with_child(chosen), f"the given device tree lacks {_UEFI}*: taken from the running one"
    )


def _is_memory(node: Node) -> bool:
    """Tell whether a kernel takes it for memory: Linux early_init_dt_scan_memory()."""
    return node.get("device_type") == b"memory\0" and is_available(node)


def is_available(node: Node) -> bool:
    """Tell whether a node counts: Linux drivers/of/fdt.c, "of_fdt_device_is_available"."""
    return node.get("status") in (None, b"okay\0", b"ok\0")


def told_memory(root: Node) -> RangeSet:
    """Return the memory that the nodes tell of: none where a boot loader is to fill it in."""
    cells = Cells.of(root)
    values = (
        node.get("linux,usable-memory") or node.get("reg") or b""
        for node in root.children
        if _is_memory(node)
    )
    return RangeSet(item for value in values for item in cells.decode(value))


def _require_memory(root: Node, reason: str) -> None:
    if not len(told_memory(root)) and not uefi_properties(root):
        raise ImageError(f"the given device tree has no memory, {reason}", hint=_HINT)


def _require_same_cells(root: Node, other: Node, missing: str) -> None:
    given, running = Cells.of(root), Cells.of(other)
    if given != running:
        raise ImageError(
            f"the given device tree has no {missing}, and that of the running one does not fit: "
            f"#address-cells and #size-cells of the root are {given.address} and {given.size}, "
            f"of the running one's {running.address} and {running.size}",
            field="#address-cells",
            hint=_HINT,
        )


def _add_memory(merge: _Merge, other: Node) -> _Merge:
    root = merge.tree.root
    here, there = told_memory(root), told_memory(other)
    if len(here):
        if len(there) and here != there:
            return merge.noting(
                f"the given device tree tells of {_listed(here)} of memory, "
                f"the running one of {_listed(there)}"
            )
        return merge
    if not len(there):
        _require_memory(root, "nor has the running one")
        return merge
    _require_same_cells(root, other, "memory")
    kept = tuple(node for node in root.children if node.get("device_type") != b"memory\0")
    nodes = tuple(_without_handles(node) for node in other.children if _is_memory(node))
    return merge.with_root(
        replace(root, children=(*nodes, *kept)),
        f"the given device tree has no memory: {_listed(there)} taken from the running one",
    )


def _add_reserved_nodes(merge: _Merge, other: Node) -> _Merge:
    root = merge.tree.root
    reserved = other.child(_RESERVED)
    if reserved is None:
        return merge
    here = root.child(_RESERVED)
    if here is None:
        _require_same_cells(root, other, f"/{_RESERVED}")
        return merge.with_root(
            root.with_child(_without_handles(reserved)),
            f"the given device tree has no /{_RESERVED}: taken from the running one",
        )
    covered = RangeSet(item for _, item in reserved_regions(root))
    lost = [
        (node.name, item)
        for node, item in reserved_regions(other)
        if node.get("no-map") is not None and item.size and covered.covering(item) is None
    ]
    for name, item in lost[:_LISTED]:
        merge = merge.noting(
            f"the given device tree does not reserve {item}, which the running one keeps "
            f"from every use ({name})"
        )
    more = len(lost) - _LISTED
    return merge.noting(f"nor does it reserve {more} others of these") if more > 0 else merge


def reserved_regions(root: Node) -> Iterator[tuple[Node, Range]]:
    """Yield the static regions, which are in the root's cells by their binding."""
    cells = Cells.of(root)
    parent = root.child(_RESERVED) or Node(_RESERVED)
    for node in parent.children:
        yield from ((node, item) for item in cells.decode(node.get("reg") or b""))


def _add_limit(merge: _Merge, other: Node) -> _Merge:
    """Keep the limit that firmware has set: nothing else keeps a kernel out of the rest."""
    root = merge.tree.root
    limit = firmware_limit(other)
    chosen = find_chosen(root) or Node("chosen")
    if not limit or chosen.get(USABLE) is not None:
        return merge
    chosen = chosen.with_property(USABLE, Cells.of(root).encode(limit))
    return merge.with_root(
        root.with_child(chosen),
        f"the given device tree does not limit memory: {USABLE} {', '.join(map(str, limit))} "
        "taken from the running one",
    )


def _add_reservations(merge: _Merge, other: DeviceTree) -> _Merge:
    """Add firmware's own reservations, such as the page that parked processors spin in."""
    given = merge.tree.reservations
    known = set(given)
    added = tuple(item for item in lasting_reservations(other) if item not in known)
    if not added:
        return merge
    tree = replace(merge.tree, reservations=(*given, *added))
    return _Merge(tree, merge.notes).noting(
        f"memory reservations taken from the running tree: {_listed(RangeSet(added))}"
    )


def _without_handles(node: Node) -> Node:
    """Drop handles: nothing in the given tree points here, but one of its own may be the same."""
    children = tuple(_without_handles(child) for child in node.children)
    return replace(node.without(_HANDLES.__contains__), children=children)


def _listed(ranges: RangeSet) -> str:
    more = len(ranges) - _RANGES_LISTED
    shown = ", ".join(map(str, islice(ranges, _RANGES_LISTED)))
    return f"{shown} and {more} more" if more > 0 else shown
