"""Builds FIT images node by node; mkimage's own are in tests/vm/test_fit.py."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from pykexec.formats.device_tree import DeviceTree, Node, build_device_tree

HASHES = ("crc32", "md5", "sha1", "sha256", "sha384", "sha512")


def text(value: str) -> bytes:
    """Return a string property."""
    return value.encode() + b"\0"


def cell(value: int) -> bytes:
    """Return a property of one cell."""
    return value.to_bytes(4, "big")


def hash_node(number: int, algorithm: str, data: bytes) -> Node:
    """Return the hash of ``data``, right."""
    if algorithm == "crc32":
        value = zlib.crc32(data).to_bytes(4, "big")
    elif algorithm in HASHES:
        value = hashlib.new(algorithm, data).digest()
    else:
        value = bytes(4)
    return Node(f"hash-{number}", (("algo", text(algorithm)), ("value", value)))


@dataclass(frozen=True, slots=True)
class Unit:
    """An image of a FIT image."""

    name: str
    data: bytes
    type: str = "kernel"
    os: str = "linux"
    compression: str = "none"
    hashes: Sequence[str] = ("crc32", "sha256")
    external: bool = False
    extra: tuple[Node, ...] = ()

    def node(self, offset: int, *, by_position: int | None = None) -> Node:
        """Return its node; ``offset`` is that in the store of external data."""
        if not self.external:
            where: tuple[tuple[str, bytes], ...] = (("data", self.data),)
        elif by_position is not None:
            where = (
                ("data-position", cell(by_position + offset)),
                ("data-size", cell(len(self.data))),
            )
        else:
            where = (("data-offset", cell(offset)), ("data-size", cell(len(self.data))))
        hashes = tuple(hash_node(n, kind, self.data) for n, kind in enumerate(self.hashes, 1))
        return Node(
            self.name,
            (
                ("description", text(self.name)),
                *where,
                ("type", text(self.type)),
                ("arch", text("arm64")),
                ("os", text(self.os)),
                ("compression", text(self.compression)),
            ),
            (*hashes, *self.extra),
        )


def configuration(name: str, *extra: Node, **units: str | Sequence[str]) -> Node:
    """Return a configuration; a value of several names makes a list of strings."""
    values = (
        (key, b"".join(text(unit) for unit in ([value] if isinstance(value, str) else value)))
        for key, value in units.items()
    )
    return Node(name, tuple(values), extra)


def build_fit(
    units: Sequence[Unit],
    configurations: Sequence[Node],
    default: str | None = "conf-1",
    *,
    by_position: int | None = None,
) -> bytes:
    """Build the file, with external data behind the tree, or at ``by_position``."""
    nodes, store = [], b""
    for unit in units:
        nodes.append(unit.node(len(store), by_position=by_position))
        if unit.external:
            store += unit.data + bytes(-len(unit.data) % 4)
    head = (("default", text(default)),) if default is not None else ()
    root = Node(
        "",
        (("timestamp", cell(0)), ("description", text("A test"))),
        (
            Node("images", (), tuple(nodes)),
            Node("configurations", head, tuple(configurations)),
        ),
    )
    tree = build_device_tree(DeviceTree(root))
    start = -(-len(tree) // 4) * 4 if by_position is None else by_position
    return tree.ljust(start, b"\0") + store if store else tree
