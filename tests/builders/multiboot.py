"""Builds multiboot kernels of both versions, by the tables of the specifications."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tests.builders.elf import ElfSpec, Load, build_elf, noise

MAGIC_1, MAGIC_2 = 0x1BADB002, 0xE85250D6
BASE = 0x200000


def header_1(flags: int, *fields: int) -> bytes:
    """Build a version 1 header with its checksum."""
    return struct.pack("<3I", MAGIC_1, flags, -(MAGIC_1 + flags) & 0xFFFFFFFF) + struct.pack(
        f"<{len(fields)}I", *fields
    )


def tag(kind: int, body: bytes = b"", *, optional: bool = False) -> bytes:
    """Build a tag of a version 2 header."""
    data = struct.pack("<HHI", kind, int(optional), 8 + len(body)) + body
    return data.ljust(len(data) + 7 & -8, b"\0")


def words(*values: int) -> bytes:
    """Encode 32-bit values."""
    return struct.pack(f"<{len(values)}I", *values)


def header_2(*tags: bytes, architecture: int = 0, length: int | None = None) -> bytes:
    """Build a version 2 header with its checksum; the end tag is added."""
    body = b"".join(tags) + tag(0)
    size = 16 + len(body) if length is None else length
    checksum = -(MAGIC_2 + architecture + size) & 0xFFFFFFFF
    return words(MAGIC_2, architecture, size, checksum) + body


@dataclass(frozen=True, slots=True)
class MultibootSpec:
    """A multiboot kernel in an ELF file."""

    header: bytes
    at: int = 0x100
    """Where in the first segment the header lies."""
    bits: int = 32
    type: int = 2
    base: int = BASE
    """Physical address of the first byte."""


def build_multiboot(spec: MultibootSpec) -> bytes:
    """Build an ELF file whose first segment holds the header."""
    text = bytearray(noise(0x2000))
    text[spec.at : spec.at + len(spec.header)] = spec.header
    return build_elf(
        ElfSpec(
            (Load(spec.base, bytes(text)), Load(spec.base + 0x4000, noise(0x100, 2), 0x3000)),
            entry=spec.base + 0x20,
            bits=spec.bits,
            machine=3 if spec.bits == 32 else 62,
            type=spec.type,
        )
    )


def build_flat(header: bytes, *, at: int = 0x40, size: int = 0x1800) -> bytes:
    """Build a file without any other header than the one of multiboot."""
    data = bytearray(noise(size))
    data[at : at + len(header)] = header
    return bytes(data)


def addresses(at: int = 0x40, size: int = 0x1800) -> Sequence[int]:
    """Return header_addr, load_addr, load_end_addr, bss_end_addr of a flat file."""
    return (BASE + at, BASE, BASE + size, BASE + size + 0x2000)
