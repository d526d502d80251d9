"""Flattened device trees: bytes in, value out, and back. Pure.

Devicetree Specification v0.4, chapter 5, "Flattened Devicetree (DTB) Format". A running kernel's
tree has FDT_NOP where ``rng-seed`` was (Linux drivers/of/fdt.c, "early_init_dt_scan_chosen").
Values stay the bytes that they are: what they mean, only a binding knows.
"""

from __future__ import annotations

from struct import pack, unpack_from
from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import ImageError
from pykexec.values.ranges import Range
from pykexec.values.units import align_up, counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.values.buffers import Buffer

FDT_MAGIC = 0xD00DFEED

_FDT_BEGIN_NODE = 1
_FDT_END_NODE = 2
_FDT_PROP = 3
_FDT_NOP = 4
_FDT_END = 9

_VERSION = 17
_COMPATIBLE_VERSION = 16
"""Oldest version whose structure block is that of 17; only ``size_dt_struct`` came later."""
_HEADER_SIZE = 40
RESERVATION_SIZE = 16
"""Bytes of an entry of the memory reservation block (5.3)."""
_NAME_MAX = 255
"""Characters of a name: section 2.2.1 allows 31, of which many trees know nothing."""
_NODES_MAX = 1 << 15
_PROPERTIES_MAX = 1 << 17
_NAMES_MAX = 1 << 13
"""Different names of properties. The largest machines' trees have a tenth of each."""
_STRUCTURE_MAX = 1 << 30
"""Bytes: the whole then keeps below the 2 GiB that libfdt has offsets for."""
_DEPTH_MAX = 64
"""Deeper nodes the kernel does not see (Linux drivers/of/fdt.c, "FDT_MAX_DEPTH")."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node. Values are the raw bytes: what they mean, only the binding knows.

    Of two properties or children of one name the first counts, as for the kernel.
    """

    name: str
    """With its unit address; empty for the root."""
    properties: tuple[tuple[str, bytes], ...] = ()
    children: tuple[Node, ...] = ()

    def get(self, name: str) -> bytes | None:
        """Return a property's value, None when there is no such property."""
        return next((value for key, value in self.properties if key == name), None)

    def child(self, name: str) -> Node | None:
        """Return the child of exactly that name, None when there is none."""
        return next((node for node in self.children if node.name == name), None)

    def with_property(self, name: str, value: bytes) -> Node:
        """Return a copy that holds the property once, in its old place or at the end."""
        if self.get(name) is None:
            return replace(self, properties=(*self.properties, (name, value)))
        at = next(i for i, (key, _) in enumerate(self.properties) if key == name)
        before = self.properties[:at]
        after = tuple(item for item in self.properties[at + 1 :] if item[0] != name)
        return replace(self, properties=(*before, (name, value), *after))

    def without(self, wanted_gone: Callable[[str], bool]) -> Node:
        """Return a copy without the properties whose name ``wanted_gone`` accepts."""
        kept = tuple(item for item in self.properties if not wanted_gone(item[0]))
        return replace(self, properties=kept)

    def with_child(self, child: Node) -> Node:
        """Return a copy in which ``child`` replaces the child of its name, or comes last."""
        if self.child(child.name) is None:
            return replace(self, children=(*self.children, child))
        at = next(i for i, node in enumerate(self.children) if node.name == child.name)
        before, after = self.children[:at], self.children[at + 1 :]
        return replace(self, children=(*before, child, *after))


@dataclass(frozen=True, slots=True)
class DeviceTree:
    """A whole tree: what a blob says, without its layout."""

    root: Node
    reservations: tuple[Range, ...] = ()
    """The memory reservation block, physical, in its order."""
    boot_cpuid: int = 0
    """``boot_cpuid_phys``."""


def parse_device_tree(data: Buffer) -> DeviceTree:
    """Parse a blob; what lies behind its ``totalsize`` is ignored.

    Raises :class:`ImageError` with the offset in the blob for anything but a whole tree of
    version 16 or 17.
    """
    blob = _check_header(bytes(data[:_HEADER_SIZE]), data)
    return DeviceTree(
        root=_Structure(blob).parse(),
        reservations=_parse_reservations(blob),
        boot_cpuid=_word(blob, 28),
    )


def _word(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "big")


def _check_header(header: bytes, data: Buffer) -> bytes:
    """Return the blob's own bytes."""
    if len(header) >= 4 and _word(header, 0) != FDT_MAGIC:
        raise ImageError(
            f"not a device tree: magic {_word(header, 0):#010x} at offset 0, not {FDT_MAGIC:#x}",
            offset=0,
            field="magic",
            hint="give a compiled tree (.dtb), not its source",
        )
    size = _word(header, 4)
    if len(header) < _HEADER_SIZE or size > len(data):
        raise ImageError(
            f"truncated device tree: {max(size, _HEADER_SIZE)} bytes needed (totalsize), "
            f"{len(data)} found",
            offset=len(data),
            field="totalsize",
        )
    if size < _HEADER_SIZE:
        raise ImageError(
            f"malformed device tree: totalsize {size} is less than its header's {_HEADER_SIZE}",
            offset=4,
            field="totalsize",
        )
    version, compatible = _word(header, 20), _word(header, 24)
    if version < _COMPATIBLE_VERSION or compatible > _VERSION:
        raise ImageError(
            f"device tree of version {version}, readable by {compatible} and later: "
            f"{_COMPATIBLE_VERSION} or {_VERSION} is needed",
            offset=20,
            field="version",
        )
    return bytes(data[:size])


def _parse_reservations(blob: bytes) -> tuple[Range, ...]:
    """Read the memory reservation block (5.3) up to its first entry without a size.

    The specification's end has no address either. Linux stops at any of size 0 (drivers/of/fdt.c,
    "early_init_fdt_scan_reserved_mem"), and so does libfdt (fdt_num_mem_rsv).
    """
    found: list[Range] = []
    offset = _word(blob, 16)
    while True:
        if offset + RESERVATION_SIZE > len(blob):
            raise ImageError(
                "truncated device tree: the memory reservation block has no end before "
                f"offset {len(blob):#x}",
                offset=offset,
                field="off_mem_rsvmap",
            )
        address, size = unpack_from(">QQ", blob, offset)
        if not size:
            return tuple(found)
        if address + size > 1 << 64:
            raise ImageError(
                f"malformed device tree: the reservation of {size:#x} bytes at {address:#x} "
                "ends behind the address space",
                offset=offset,
                field="address",
            )
        found.append(Range.sized(address, size))
        offset += RESERVATION_SIZE


class _Open:
    """A node whose end has not been met yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.properties: list[tuple[str, bytes]] = []
        self.children: list[Node] = []

    def close(self) -> Node:
        return Node(self.name, tuple(self.properties), tuple(self.children))


class _Structure:
    """The structure block (5.4), read token by token."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self._start = self._at = _word(blob, 8)
        of_17 = _word(blob, 20) >= _VERSION
        size = _word(blob, 36) if of_17 else max(len(blob) - self._start, 0)
        self._end = self._start + size
        self._strings = _word(blob, 12)
        self._strings_end = self._strings + _word(blob, 32)
        for field, end in (("structure", self._end), ("strings", self._strings_end)):
            if end > len(blob):
                raise ImageError(
                    f"truncated device tree: the {field} block ends at {end:#x}, "
                    f"the tree at {len(blob):#x}",
                    offset=len(blob),
                    field=f"{field} block",
                )
        self._names: dict[int, str] = {}
        self._nodes = self._properties = 0

    def parse(self) -> Node:
        """Return the root node."""
        open_nodes: list[_Open] = []
        root: Node | None = None
        while True:
            offset = self._at
            token = self._take_word("token")
            if token == _FDT_NOP:
                continue
            if token == _FDT_END:
                if root is None:
                    raise self._malformed(offset, "the tree ends inside a node")
                return root
            if root is not None:
                raise self._malformed(offset, f"token {token:#x} behind the root node")
            if token == _FDT_BEGIN_NODE:
                open_nodes.append(_Open(self._take_node_name(len(open_nodes))))
            elif not open_nodes:
                raise self._malformed(offset, f"token {token:#x} before the root node")
            elif token == _FDT_PROP:
                self._take_property(offset, open_nodes[-1])
            elif token == _FDT_END_NODE:
                node = open_nodes.pop().close()
                if open_nodes:
                    open_nodes[-1].children.append(node)
                else:
                    root = node
            else:
                raise self._malformed(offset, f"unknown token {token:#x}")

    def _malformed(self, offset: int, what: str) -> ImageError:
        return ImageError(
            f"malformed device tree: {what} at offset {offset:#x}",
            offset=offset,
            field="structure block",
        )

    def _take(self, size: int, what: str) -> bytes:
        """Take ``size`` bytes and the padding behind them."""
        start, end = self._at, self._at + size
        if end > self._end:
            raise self._malformed(
                start, f"{what} of {counted(size, 'byte')}, where {self._end - start} are left,"
            )
        self._at = min(self._start + align_up(end - self._start, 4), self._end)
        return self._blob[start:end]

    def _take_word(self, what: str) -> int:
        return int.from_bytes(self._take(4, what), "big")

    def _take_node_name(self, depth: int) -> str:
        offset = self._at
        _check_depth(depth, offset)
        self._nodes += 1
        _check_count(self._nodes, _NODES_MAX, "nodes", offset)
        end = self._blob.find(b"\0", offset, self._end)
        if end < 0:
            raise self._malformed(offset, "a node's name without an end")
        if end - offset > _NAME_MAX:
            raise _too_long("node", offset)
        name = self._take(end + 1 - offset, "a node's name")[:-1].decode("latin-1")
        if not depth:
            return ""
        return _check_name(name, "node", offset)

    def _take_property(self, offset: int, node: _Open) -> None:
        if node.children:
            raise self._malformed(offset, "a property behind a child node")
        self._properties += 1
        _check_count(self._properties, _PROPERTIES_MAX, "properties", offset)
        size = self._take_word("a property's length")
        name = self._string(self._take_word("a property's name"))
        node.properties.append((name, self._take(size, f"property {name!r}")))

    def _string(self, offset: int) -> str:
        """Return the name at ``offset`` in the strings block (5.5)."""
        known = self._names.get(offset)
        if known is not None:
            return known
        start = self._strings + offset
        _check_count(len(self._names) + 1, _NAMES_MAX, "names of properties", start)
        # No further than a name may go: many may be ends of one long string.
        last = min(start + _NAME_MAX + 1, self._strings_end)
        end = self._blob.find(b"\0", start, last)
        if end < 0 and last < self._strings_end:
            raise _too_long("property", start)
        if start >= self._strings_end or end < 0:
            raise ImageError(
                f"malformed device tree: no property name at {offset:#x} in the strings block "
                f"of {counted(self._strings_end - self._strings, 'byte')}",
                offset=start,
                field="strings block",
            )
        name = _check_name(self._blob[start:end].decode("latin-1"), "property", start)
        self._names[offset] = name
        return name


def _too_long(what: str, offset: int | None) -> ImageError:
    return ImageError(
        f"malformed device tree: the name of a {what} has more than {_NAME_MAX} characters",
        offset=offset,
        field=f"{what} name",
    )


def _check_count(count: int, most: int, what: str, offset: int | None) -> None:
    if count > most:
        raise ImageError(
            f"the device tree has more than {most} {what}, which is as much as is taken",
            offset=offset,
        )


def _check_depth(depth: int, offset: int | None) -> None:
    if depth >= _DEPTH_MAX:
        raise ImageError(
            f"malformed device tree: more than {_DEPTH_MAX} levels of nodes",
            offset=offset,
            field="structure block",
        )


def _check_name(name: str, what: str, offset: int | None) -> str:
    """Return ``name`` if it is printable ASCII: wider than section 2.2 has it, as trees are."""
    if len(name) > _NAME_MAX:
        raise _too_long(what, offset)
    if name and name.isascii() and name.isprintable() and (what != "node" or "/" not in name):
        return name
    raise ImageError(
        f"malformed device tree: {name!r} cannot be the name of a {what}",
        offset=offset,
        field=f"{what} name",
    )


def build_device_tree(tree: DeviceTree, spare: int = 0) -> bytes:
    """Flatten ``tree``, in version 17. Reservations without a size are left out: see the reading.

    ``spare`` bytes behind its blocks belong to it too, for who is to add to it in place.

    Raises :class:`ImageError` for a name that no blob can hold, and for what
    :func:`parse_device_tree` would not take back: more levels, nodes, properties or names.
    """
    reservations = b"".join(
        pack(">QQ", item.start, item.size) for item in tree.reservations if item.size
    ) + bytes(RESERVATION_SIZE)
    flat = _Flattening()
    flat.add(tree.root, 0)
    structure = bytes(flat.structure) + pack(">I", _FDT_END)
    structure_at = _HEADER_SIZE + len(reservations)
    strings_at = structure_at + len(structure)
    header = pack(
        ">10I",
        *(FDT_MAGIC, strings_at + len(flat.strings) + spare, structure_at, strings_at),
        _HEADER_SIZE,
        *(_VERSION, _COMPATIBLE_VERSION, tree.boot_cpuid, len(flat.strings), len(structure)),
    )
    return b"".join((header, reservations, structure, flat.strings, bytes(spare)))


class _Flattening:
    """The structure block (5.4) and the strings block (5.5) as they grow."""

    def __init__(self) -> None:
        self.structure = bytearray()
        self.strings = bytearray()
        self._names: dict[str, int] = {}
        self._nodes = self._properties = 0

    def add(self, node: Node, depth: int) -> None:
        """Write ``node`` with all that is below it; the root has no name."""
        name = _check_name(node.name, "node", None) if depth else ""
        _check_depth(depth, None)
        self._nodes += 1
        self._properties += len(node.properties)
        _check_count(self._nodes, _NODES_MAX, "nodes", None)
        _check_count(self._properties, _PROPERTIES_MAX, "properties", None)
        self.structure += pack(">I", _FDT_BEGIN_NODE)
        self._padded(name.encode() + b"\0")
        for key, value in node.properties:
            _check_count(len(self.structure) + len(value), _STRUCTURE_MAX, "bytes", None)
            self.structure += pack(">3I", _FDT_PROP, len(value), self._string(key))
            self._padded(value)
        for child in node.children:
            self.add(child, depth + 1)
        self.structure += pack(">I", _FDT_END_NODE)

    def _padded(self, data: bytes) -> None:
        self.structure += data
        self.structure += bytes(-len(data) % 4)

    def _string(self, name: str) -> int:
        """Return where ``name`` is in the strings block; it may be the end of a longer one."""
        known = self._names.get(name)
        if known is not None:
            return known
        _check_count(len(self._names) + 1, _NAMES_MAX, "names of properties", None)
        text = _check_name(name, "property", None).encode() + b"\0"
        at = self.strings.find(text)
        if at < 0:
            at = len(self.strings)
            self.strings += text
        self._names[name] = at
        return at
