"""What a recorded kexec_load(2) tells a next kernel that is no PC's, and where everything lies.

For arm64 and riscv64, whose kernel is a flat Image, for arm, where it is a zImage, for ppc64le,
where it is what an ELF file has in memory, and for loongarch64, which has no tree. Written from the
specifications and independent of pykexec's parsers: Devicetree Specification v0.4 chapter 5; Linux
Documentation/arch/arm64/booting.rst, Documentation/arch/riscv/boot.rst,
Documentation/devicetree/bindings and the dt-schema's chosen.yaml for /chosen.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

from tests.differential.model import Span
from tests.differential.sandbox import CapturedCall, CapturedSegment

EM_AARCH64 = 183
EM_RISCV = 243
EM_PPC64 = 21
EM_ARM = 40
EM_LOONGARCH = 258

IMA_HEADER = struct.pack("<HHI", 1, 0, 0)
"""How IMA's list begins (Linux security/integrity/ima/ima.h, "struct ima_kexec_hdr")."""

COMMAND_LINE = b"kexec"
"""How a loongarch64 kernel knows the segment with the next one's command line."""

_MAGIC = bytes.fromhex("d00dfeed")
_BEGIN_NODE, _END_NODE, _PROP, _NOP, _END = 1, 2, 3, 4, 9

Nodes = dict[str, dict[str, bytes]]
"""Properties by node, a node's name with those of its parents: ``/chosen``."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A flattened device tree, taken apart."""

    nodes: Nodes
    reservations: tuple[Span, ...]
    """Of the memory reservation block; physical, the end exclusive."""

    @property
    def chosen(self) -> dict[str, bytes]:
        """The properties of /chosen; none where there is no such node."""
        return self.nodes.get("/chosen", {})

    def spans(self, name: str) -> list[Span]:
        """Return ranges that a property of /chosen gives in the root's cells."""
        root = self.nodes["/"]
        address, size = (
            4 * int.from_bytes(root.get(cells, bytes([0, 0, 0, default])), "big")
            for cells, default in (("#address-cells", 2), ("#size-cells", 1))
        )
        value = self.chosen[name]
        if len(value) % (address + size):
            raise ValueError(f"{name} has {len(value)} bytes, entries {address + size}")
        found = []
        for at in range(0, len(value), address + size):
            start = int.from_bytes(value[at : at + address], "big")
            length = int.from_bytes(value[at + address : at + address + size], "big")
            found.append((start, start + length))
        return found


@dataclass(frozen=True, slots=True)
class Handover:
    """A recorded load, decoded."""

    segments: dict[str, CapturedSegment]
    """By role."""
    tree: Tree
    """Without any node where the next kernel takes none."""

    def span(self, role: str) -> Span:
        """Return where a segment lies, its memory beyond the data included."""
        segment = self.segments[role]
        return segment.mem, segment.mem + segment.memsz

    @property
    def spans(self) -> list[Span]:
        """Where all segments lie, in ascending order."""
        return sorted(self.span(role) for role in self.segments)


def parse_tree(blob: bytes) -> Tree:
    """Take a blob apart; raises ValueError when it is none."""
    if blob[:4] != _MAGIC:
        raise ValueError(f"no device tree: {blob[:4].hex()}")
    _, total, structure, strings, reserved, _, _, _, strings_size, _ = struct.unpack_from(
        ">10I", blob
    )
    if total > len(blob):
        raise ValueError(f"a tree of {total} bytes in {len(blob)}")
    names = blob[strings : strings + strings_size]
    reservations = []
    while (entry := struct.unpack_from(">QQ", blob, reserved)) != (0, 0):
        reservations.append((entry[0], entry[0] + entry[1]))
        reserved += 16
    return Tree(_nodes(blob, structure, names), tuple(reservations))


def _nodes(blob: bytes, at: int, names: bytes) -> Nodes:
    nodes: Nodes = {}
    path: list[str] = []
    while (token := int.from_bytes(blob[at : at + 4], "big")) != _END:
        at += 4
        if token == _BEGIN_NODE:
            end = blob.index(0, at)
            path.append(blob[at:end].decode())
            nodes["/".join(path) or "/"] = {}
            at = -(-(end + 1) // 4) * 4
        elif token == _PROP:
            size, name_at = struct.unpack_from(">II", blob, at)
            name = names[name_at : names.index(0, name_at)].decode()
            nodes["/".join(path) or "/"][name] = blob[at + 8 : at + 8 + size]
            at = -(-(at + 8 + size) // 4) * 4
        elif token == _END_NODE:
            path.pop()
        elif token != _NOP:
            raise ValueError(f"token {token} at {at - 4:#x}")
    return nodes


def decode(call: CapturedCall, image: bytes, initrd: bytes | None) -> Handover:
    """Decode a recorded load of an Image; raises ValueError when it makes no sense.

    ``image`` and ``initrd`` are the files that were given, unpacked. Every segment has to
    be accounted for; what is entered and none of the others is the purgatory.
    """
    roles: dict[str, CapturedSegment] = {}
    for segment in call.segments:
        role = _role(segment, call.entry, image, initrd)
        if role in roles:
            raise ValueError(f"two segments are {role}")
        roles[role] = segment
    tree = parse_tree(roles["tree"].data) if "tree" in roles else Tree({}, ())
    handover = Handover(roles, tree)
    for (_, end), (start, _) in pairwise(handover.spans):
        if start < end:
            raise ValueError(f"segments overlap at {start:#x}")
    return handover


def _role(segment: CapturedSegment, entry: int, image: bytes, initrd: bytes | None) -> str:
    # Zeros may fill the text_offset in front of an Image.
    content = segment.data.lstrip(b"\0")
    if not content:
        return "backup"
    if image.startswith((content, segment.data)):
        return "kernel"
    if initrd is not None and segment.data == initrd:
        return "initrd"
    if segment.data.startswith(_MAGIC):
        return "tree"
    if segment.data.startswith(b"\x7fELF"):
        return "elfcorehdr"
    if segment.data.startswith(IMA_HEADER):
        return "ima"
    if segment.data.startswith(COMMAND_LINE):
        return "command line"
    if segment.mem <= entry < segment.mem + segment.memsz:
        return "purgatory"
    raise ValueError(f"a segment at {segment.mem:#x} that begins {segment.data[:16].hex()}")
