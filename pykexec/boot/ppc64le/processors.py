"""The room that a capture kernel's tree needs for processors which are yet to come. Pure.

A kernel that follows hotplug replaces the nodes of all processors in the tree in place whenever
one comes (Linux arch/powerpc/kexec/core_64.c, "update_cpus_node"): a capture kernel that does not
find the processor it starts on dies before it can say anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.units import align_up

if TYPE_CHECKING:
    from pykexec.formats.device_tree import Node

_CELL = 4
_PROPERTY = 3 * _CELL
"""Its token, its length, its name: Devicetree Specification v0.4, section 5.4.1."""
_NAME = b"name\0"
"""A property of each node, which the kernel writes and a flattened tree does without."""
_THREADS = "ibm,ppc-interrupt-server#s"


def processor_room(root: Node, possible: int) -> int:
    """Return the bytes by which the nodes of ``possible`` processors may be more than those of now.

    ``possible`` are counted as the kernel does: each thread is one.
    """
    cpus = root.child("cpus")
    nodes = [node for node in (cpus.children if cpus else ()) if _is_processor(node)]
    if not nodes:
        return 0
    threads = min(len(node.get(_THREADS) or b"") // _CELL for node in nodes) or 1
    largest = max(_size(node) for node in nodes)
    missing = max(-(-possible // threads) - len(nodes), 0)
    # A hypervisor describes those that come later itself, and may say more of them.
    later = largest + largest // 4
    named = sum(_property(align_up(len(node.name) + 1, _CELL)) for node in nodes)
    return missing * later + named + len(_NAME)


def _is_processor(node: Node) -> bool:
    return node.get("device_type") == b"cpu\0"


def _size(node: Node) -> int:
    """Return its bytes in the structure block; all names of properties are in the other already."""
    name = align_up(len(node.name) + 1, _CELL)
    values = sum(_property(len(value)) for _, value in node.properties)
    return 2 * _CELL + name + values + _property(name)


def _property(size: int) -> int:
    return _PROPERTY + align_up(size, _CELL)
