"""A device tree as its source, DTS: Devicetree Specification v0.4, chapter 6. Pure.

The one door to the ``fdt`` package, which distributions do not have: whoever asks for the source
is told so, and nothing else of pykexec needs it. The package prints. What type a value is of is
decided here: it takes strings for ones that it then quotes wrongly, and leaves properties out
whose name ends in a mark of its own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pykexec.values.errors import ImageError, MissingLibraryError

if TYPE_CHECKING:
    from pykexec.formats.device_tree import DeviceTree, Node

SOURCE_MAX = 4 << 20
"""Bytes of a tree: Linux takes 2 MiB (arch/arm64/include/asm/boot.h, "MAX_FDT_SIZE")."""
_NODE_NAME = re.compile(r"[0-9A-Za-z,._+@-]+")
_PROPERTY_NAME = re.compile(r"[0-9A-Za-z,._+?#-]+")
"""What dtc's lexer takes for names; of a blob's other names there is no source."""
_STRINGS = re.compile(rb"(?:[\x20-\x7e]+\0)+")


class _Name(str):
    """A property's name that the package prints whatever it ends in."""

    __slots__ = ()

    def endswith(self, *_: Any) -> bool:
        return False


def device_tree_source(tree: DeviceTree) -> str:
    """Return ``tree`` as DTS text, which a compiler makes the same tree of.

    Raises :class:`MissingLibraryError` without the package, and :class:`ImageError` for a name
    that DTS has no way to write.
    """
    try:
        import fdt
    except ImportError as error:
        raise MissingLibraryError(
            "a tree's source needs the Python package fdt: pip install fdt"
        ) from error
    # A list of its own: the default is one list for all trees.
    source = fdt.FDT(entries=[{"address": r.start, "size": r.size} for r in tree.reservations])
    source.header.version = 17
    source.header.boot_cpuid_phys = tree.boot_cpuid
    source.root = _node(fdt, tree.root, "/")
    return str(source.to_dts())


def _node(fdt: Any, node: Node, name: str) -> Any:
    found = fdt.Node(name)
    # Not by append(), which refuses a second item of a name.
    found.props.extend(_property(fdt, key, value) for key, value in node.properties)
    found.nodes.extend(
        _node(fdt, child, _checked(child.name, _NODE_NAME, "node")) for child in node.children
    )
    return found


def _property(fdt: Any, key: str, value: bytes) -> Any:
    name = _Name(_checked(key, _PROPERTY_NAME, "property"))
    if not value:
        return fdt.Property(name)
    if _STRINGS.fullmatch(value):
        # The package quotes quotation marks only.
        texts = value[:-1].decode("ascii").replace("\\", "\\\\").split("\0")
        return fdt.PropStrings(name, *texts)
    if len(value) % 4:
        return fdt.PropBytes(name, data=value)
    words = (value[at : at + 4] for at in range(0, len(value), 4))
    return fdt.PropWords(name, *(int.from_bytes(word, "big") for word in words))


def _checked(name: str, form: re.Pattern[str], what: str) -> str:
    if form.fullmatch(name):
        return name
    raise ImageError(f"the device tree has the {what} {name!r}, which no source can name")
