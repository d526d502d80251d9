"""Builds flattened device trees with ``struct`` and tables of its own, and takes them apart again.

Devicetree Specification v0.4, chapter 5. Written apart from the module under test, so that
the two share no mistake; every field of the header can be bent.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

BEGIN_NODE, END_NODE, PROP, NOP, END = 1, 2, 3, 4, 9
HEADER_SIZE = 40


@dataclass(frozen=True)
class Spec:
    """A node: values may be given as bytes, text (ends in NUL) or cells."""

    name: str = ""
    properties: Mapping[str, bytes | str | Sequence[int]] = field(default_factory=dict)
    children: tuple[Spec, ...] = ()
    nops: int = 0
    """FDT_NOP tokens in front of the first property, as the kernel leaves them."""


def cells(*values: int) -> bytes:
    """Return 32-bit cells."""
    return struct.pack(f">{len(values)}I", *values)


def wide(*values: int) -> bytes:
    """Return 64-bit values, of two cells each."""
    return struct.pack(f">{len(values)}Q", *values)


def value_of(value: bytes | str | Sequence[int]) -> bytes:
    """Return a property's bytes."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode() + b"\0"
    return cells(*value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


class _Strings:
    def __init__(self) -> None:
        self.block = b""
        self.offsets: dict[str, int] = {}

    def offset(self, name: str) -> int:
        if name not in self.offsets:
            self.offsets[name] = len(self.block)
            self.block += name.encode("latin-1") + b"\0"
        return self.offsets[name]


def build_structure(node: Spec, strings: _Strings) -> bytes:
    """Return a node's tokens."""
    out = cells(BEGIN_NODE) + _padded(node.name.encode("latin-1") + b"\0")
    out += cells(NOP) * node.nops
    for name, given in node.properties.items():
        value = value_of(given)
        out += cells(PROP, len(value), strings.offset(name)) + _padded(value)
    for child in node.children:
        out += build_structure(child, strings)
    return out + cells(END_NODE)


def build_blob(
    root: Spec,
    reservations: Sequence[tuple[int, int]] = (),
    *,
    boot_cpuid: int = 0,
    magic: int = 0xD00DFEED,
    totalsize: int | None = None,
    version: int = 17,
    last_comp_version: int = 16,
    structure: bytes | None = None,
    strings: bytes | None = None,
    terminated: bool = True,
    **header: int,
) -> bytes:
    """Flatten ``root``; ``structure`` and ``strings`` replace the blocks.

    ``header`` overrides ``off_dt_struct``, ``off_dt_strings``, ``off_mem_rsvmap``,
    ``size_dt_strings`` and ``size_dt_struct``. Unless ``terminated``, the reservations have
    no end and come last.
    """
    names = _Strings()
    tokens = build_structure(root, names) + cells(END) if structure is None else structure
    block = names.block if strings is None else strings
    map_ = b"".join(struct.pack(">QQ", *item) for item in reservations)
    layout = {"off_mem_rsvmap": HEADER_SIZE}
    if terminated:
        map_ += bytes(16)
        layout["off_dt_struct"] = HEADER_SIZE + len(map_)
        body = map_ + tokens + block
    else:
        layout["off_dt_struct"] = HEADER_SIZE
        layout["off_mem_rsvmap"] = HEADER_SIZE + len(tokens) + len(block)
        body = tokens + block + map_
    layout["off_dt_strings"] = layout["off_dt_struct"] + len(tokens)
    layout["size_dt_strings"], layout["size_dt_struct"] = len(block), len(tokens)
    layout.update(header)
    size = HEADER_SIZE + len(body) if totalsize is None else totalsize
    head = cells(
        *(magic, size, layout["off_dt_struct"], layout["off_dt_strings"]),
        *(layout["off_mem_rsvmap"], version, last_comp_version, boot_cpuid),
        *(layout["size_dt_strings"], layout["size_dt_struct"]),
    )
    return head + body


@dataclass(frozen=True)
class Read:
    """A blob taken apart: properties by path and name, reservations as they stand."""

    properties: dict[str, dict[str, bytes]]
    """``/chosen`` → its properties, in order."""
    reservations: tuple[tuple[int, int], ...]


def read_blob(blob: bytes) -> Read:
    """Take apart a blob of version 17 that is whole."""
    fields = struct.unpack_from(">10I", blob)
    at, strings, map_at = fields[2:5]
    reservations = []
    while (entry := struct.unpack_from(">QQ", blob, map_at)) != (0, 0):
        reservations.append(entry)
        map_at += 16
    path: list[str] = []
    found: dict[str, dict[str, bytes]] = {}
    while (token := struct.unpack_from(">I", blob, at)[0]) != END:
        at += 4
        if token == BEGIN_NODE:
            name = blob[at : blob.index(0, at)]
            at += len(_padded(name + b"\0"))
            path.append(name.decode())
            found["/".join(path) or "/"] = {}
        elif token == END_NODE:
            path.pop()
        elif token == NOP:
            continue
        else:
            assert token == PROP, f"token {token} at {at - 4:#x}"
            size, offset = struct.unpack_from(">II", blob, at)
            name = blob[strings + offset : blob.index(0, strings + offset)]
            found["/".join(path) or "/"][name.decode()] = blob[at + 8 : at + 8 + size]
            at += 8 + size + -size % 4
    return Read(found, tuple(reservations))


def board(
    chosen: Mapping[str, bytes | str | Sequence[int]] | None = None,
    *more: Spec,
    memory: Sequence[tuple[int, int]] = ((0x40000000, 0x80000000),),
) -> Spec:
    """Describe a machine with 64-bit cells, some memory and a serial port.

    Without ``chosen`` it has no such node.
    """
    nodes = [
        Spec(f"memory@{start:x}", {"device_type": "memory", "reg": wide(start, size)})
        for start, size in memory
    ]
    serial = Spec("serial@9000000", {"compatible": "arm,pl011", "reg": wide(0x9000000, 0x1000)})
    if chosen is not None:
        nodes.append(Spec("chosen", chosen))
    return Spec(
        "",
        {"#address-cells": [2], "#size-cells": [2], "model": "a board"},
        (*nodes, serial, *more),
    )
