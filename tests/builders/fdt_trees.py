"""Flattens device trees by the ``fdt`` package, which judges the writer under test."""

from __future__ import annotations

from typing import Any

import fdt

from pykexec.formats.device_tree import DeviceTree, Node


class _Name(str):
    """A property's name that the package writes whatever it ends in.

    It takes names that end in ``_with_references`` for marks of its own and leaves such
    properties out.
    """

    __slots__ = ()

    def endswith(self, *_: Any) -> bool:
        return False


def flatten(tree: DeviceTree) -> bytes:
    """Return the blob that the package makes of ``tree``."""
    # A list of its own: the default is one list for all trees.
    flat = fdt.FDT(entries=[{"address": r.start, "size": r.size} for r in tree.reservations])
    flat.root = _node(tree.root, "/")
    return bytes(
        flat.to_dtb(version=17, last_comp_version=16, boot_cpuid_phys=tree.boot_cpuid),
    )


def _node(node: Node, name: str) -> Any:
    flat = fdt.Node(name)
    # Not by append(), which refuses a second item of a name.
    flat.props.extend(fdt.PropBytes(_Name(key), data=value) for key, value in node.properties)
    flat.nodes.extend(_node(child, child.name) for child in node.children)
    return flat
