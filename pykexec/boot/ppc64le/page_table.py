"""The hashed page table of a guest: what the next kernel is told of its size. Pure.

A kernel reads it in the nodes of its processors (``ibm,pft-size``; Linux
arch/powerpc/mm/book3s64/hash_utils.c, "htab_dt_scan_pftsize"). When memory comes or goes it has the
hypervisor resize the table ("resize_hpt_for_hotplug"), and leaves these nodes as they were: who is
told the old size finds nothing in the table, not even itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.ppc64le.platform import memory_since_boot
from pykexec.formats.device_tree import build_device_tree, parse_device_tree
from pykexec.values.data_classes import replace
from pykexec.values.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats.device_tree import Node
    from pykexec.values.facts import MachineFacts

SIZE = "ibm,pft-size"
"""Two cells, the second is log2 of the bytes."""
_ORDER_AT = 4
_RESIZES = b"hcall-hpt-resize"


def is_resizable(facts: MachineFacts) -> bool:
    """Tell whether the running kernel resizes its table when memory comes or goes."""
    if not facts.hashed_page_tables or facts.device_tree is None:
        return False
    rtas = parse_device_tree(facts.device_tree).root.child("rtas")
    functions = rtas.get("ibm,hypertas-functions") if rtas is not None else None
    return _RESIZES in (functions or b"").split(b"\0")


def with_table(facts: MachineFacts, source: bytes) -> bytes:
    """Return the tree ``source`` with the table's size as it is now.

    Raises :class:`MachineError` where it may have changed and is not known.
    """
    if not is_resizable(facts):
        return source
    order = facts.hash_table_order
    if order is None:
        if memory_since_boot(facts) == (0, 0):
            return source
        raise MachineError(
            "memory has changed since the boot, and with it the size of the hashed page table that "
            "the next kernel has to be told: there is no /sys/kernel/debug/powerpc/hpt_order",
            hint="mount -t debugfs debugfs /sys/kernel/debug",
        )
    tree = parse_device_tree(source)
    if told_orders(tree.root) <= {order}:
        return source
    return build_device_tree(replace(tree, root=_with_order(tree.root, order)))


def table_obstacle(facts: MachineFacts) -> str | None:
    """Return why a tree with the nodes of the running kernel's processors would not do."""
    if not is_resizable(facts) or facts.device_tree is None:
        return None
    order = facts.hash_table_order
    if order is None:
        stale = memory_since_boot(facts) != (0, 0)
    else:
        stale = not told_orders(parse_device_tree(facts.device_tree).root) <= {order}
    return "the next one would be told the size that the page table had before" if stale else None


def told_orders(root: Node) -> set[int]:
    """Return the sizes that the processors' nodes tell, as powers of two."""
    values = (node.get(SIZE) or b"" for node in _processors(root))
    return {int.from_bytes(value[_ORDER_AT:], "big") for value in values if value}


def _processors(root: Node) -> Iterator[Node]:
    cpus = root.child("cpus")
    yield from cpus.children if cpus is not None else ()


def _with_order(root: Node, order: int) -> Node:
    cpus = root.child("cpus")
    if cpus is None:
        return root
    told = order.to_bytes(4, "big")
    nodes = (
        node.with_property(SIZE, (node.get(SIZE) or b"")[:_ORDER_AT] + told)
        if node.get(SIZE)
        else node
        for node in cpus.children
    )
    return root.with_child(replace(cpus, children=tuple(nodes)))
