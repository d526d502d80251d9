"""Memory that firmware in machine mode keeps for itself. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.tree.given_tree import reserved_regions
from pykexec.formats.device_tree import parse_device_tree

if TYPE_CHECKING:
    from pykexec.values.ranges import Range

_NODES = "mmode_resv"
"""OpenSBI lib/utils/fdt/fdt_fixup.c, "fdt_reserved_memory_fixup"."""


def firmware_memory(tree: bytes) -> tuple[Range, ...]:
    """Return what OpenSBI has reserved in the device tree ``tree``.

    Where it does not say no-map, /proc/iomem shows it inside System RAM; but an access from below
    machine mode is a fault, and a capture kernel that dumps it dies. Raises
    :class:`~pykexec.errors.ImageError` for a tree that cannot be read.
    """
    regions = reserved_regions(parse_device_tree(tree).root)
    return tuple(place for node, place in regions if node.name.startswith(_NODES))
