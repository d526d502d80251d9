"""Builds PE files: sections in a row, and a stand-in for a signature behind them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

FILE_ALIGNMENT = 0x200
MACHINE_ARM64 = 0xAA64
MACHINE_X86_64 = 0x8664
MACHINE_RISCV64 = 0x5064

PE32_PLUS = 0x20B
DATA_DIRECTORIES = 6
OPTIONAL_SIZE = 112 + 8 * DATA_DIRECTORIES
CERTIFICATE_ENTRY = 24 + 112 + 8 * 4
"""From the PE header to the entry of the certificate table."""


@dataclass(frozen=True, slots=True)
class SectionSpec:
    """A section header as it is to be written."""

    name: str
    virtual_size: int
    raw_size: int
    raw_offset: int


def pe_headers(machine: int, sections: Sequence[SectionSpec]) -> bytes:
    """Return PE signature, COFF header, optional header and section table."""
    coff = struct.pack(
        "<4sHHIIIHH", b"PE\0\0", machine, len(sections), 0, 0, 0, OPTIONAL_SIZE, 0x206
    )
    optional = bytearray(OPTIONAL_SIZE)
    struct.pack_into("<H", optional, 0, PE32_PLUS)
    struct.pack_into("<II", optional, 32, 0x10000, FILE_ALIGNMENT)
    struct.pack_into("<I", optional, 108, DATA_DIRECTORIES)
    table = b"".join(
        struct.pack(
            "<8sIIIIIIHHI",
            section.name.encode(),
            section.virtual_size,
            section.raw_offset,
            section.raw_size,
            section.raw_offset,
            0,
            0,
            0,
            0,
            0x60000020,
        )
        for section in sections
    )
    return coff + bytes(optional) + table


def padded(data: bytes, align: int = FILE_ALIGNMENT) -> bytes:
    """Append zeros up to a multiple of ``align``."""
    return data + bytes(-len(data) % align)


def build_pe(machine: int, contents: Sequence[tuple[str, bytes]], start: bytes = b"MZ") -> bytes:
    """Build a PE file with a section for each of ``contents``, padded as linkers do."""
    pe_offset = 0x40
    head_size = len(padded(bytes(pe_offset) + pe_headers(machine, [_NOTHING] * len(contents))))
    sections = []
    body = b""
    for name, data in contents:
        raw = padded(data)
        sections.append(SectionSpec(name, len(data), len(raw), head_size + len(body)))
        body += raw
    head = start.ljust(0x3C, b"\0") + struct.pack("<I", pe_offset) + pe_headers(machine, sections)
    return padded(head) + body


_NOTHING = SectionSpec("", 0, 0, 0)


def signed(data: bytes, certificate: bytes = b"a signature, as it were") -> bytes:
    """Append an attribute certificate table and enter it, as sbsign does."""
    data = padded(data, 8)
    entry = struct.pack("<IHH", 8 + len(certificate), 0x0200, 0x0002) + certificate
    table = padded(entry, 8)
    out = bytearray(data + table)
    at = int.from_bytes(data[0x3C:0x40], "little") + CERTIFICATE_ENTRY
    struct.pack_into("<II", out, at, len(data), len(table))
    return bytes(out)
