"""Builds ELF kernels as a linker leaves them, with sections and notes, by ``struct`` alone."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.builders.vmcore import note

BANNER = b"Linux version 6.12.0-synthetic (builder@host) (gcc 14.2.0) #1 SMP Mon Nov 30 2026\n"
EARLY_BANNER = BANNER.replace(b"#1", b"#")
"""What overruled strong symbols leave in a kernel since Linux 6.1."""
BUILD_ID = bytes(range(20))
SHT_PROGBITS, SHT_STRTAB, SHT_NOTE = 1, 3, 7


@dataclass(frozen=True, slots=True)
class Linked:
    """An ELF kernel; the defaults are of x86_64."""

    bits: int = 64
    order: str = "<"
    machine: int = 62
    banner: bytes = EARLY_BANNER + b"\0" + BANNER + b"\0"
    build_id: bytes | None = BUILD_ID
    note_segment: bool = True
    """A program header tells of the notes, too; else only their section."""
    sections: tuple[tuple[bytes, int], ...] = ((b".orc_unwind", 0x82C5D44C),)
    """Further ones: name and address."""


def build_linked(spec: Linked | None = None) -> bytes:
    """Build the file: headers, text, notes, names, section headers."""
    spec = spec or Linked()
    wide, order = spec.bits == 64, spec.order
    notes = note(order, b"Xen", 6, b"linux\0") + note(order, b"Linux", 0x100, b"salt\0")
    if spec.build_id is not None:
        notes += note(order, b"GNU", 3, spec.build_id)
    text = bytes(64) + spec.banner
    names = b"\0.text\0.notes\0.shstrtab\0" + b"".join(name + b"\0" for name, _ in spec.sections)
    ehsize, phsize, shsize = (64, 56, 64) if wide else (52, 32, 40)
    count = 1 + spec.note_segment
    text_at = 0x1000
    notes_at = text_at + -(-len(text) // 16) * 16
    names_at = notes_at + len(notes)
    table_at = -(-(names_at + len(names)) // 16) * 16
    vaddr = 0xFFFFFFFF81000000 if wide else 0xC1000000
    loads = [(1, 5, text_at, vaddr, 0x1000000, names_at - text_at)]
    if spec.note_segment:
        loads.append((4, 4, notes_at, vaddr + notes_at - text_at, 0, len(notes)))
    shdrs = [(0, 0, 0, 0, 0)]
    shdrs.append((names.index(b".text"), SHT_PROGBITS, vaddr, text_at, len(text)))
    shdrs.append(
        (names.index(b".notes"), SHT_NOTE, vaddr + notes_at - text_at, notes_at, len(notes))
    )
    shdrs.append((names.index(b".shstrtab"), SHT_STRTAB, 0, names_at, len(names)))
    shdrs += [
        (names.index(b"\0" + name + b"\0") + 1, SHT_PROGBITS, address, text_at, 16)
        for name, address in spec.sections
    ]
    ident = b"\x7fELF" + bytes([1 + wide, 1 if order == "<" else 2, 1]) + bytes(9)
    form = "HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"
    head = ident + struct.pack(
        order + form, 2, spec.machine, 1, 0x1000000, ehsize, table_at, 0, ehsize, phsize, count,
        shsize, len(shdrs), 3,
    ) + b"".join(_phdr(order, wide, *load) for load in loads)  # fmt: skip
    body = head.ljust(text_at, b"\0") + text
    body = body.ljust(notes_at, b"\0") + notes + names
    return body.ljust(table_at, b"\0") + b"".join(_shdr(order, wide, *item) for item in shdrs)


def _phdr(
    order: str, wide: bool, kind: int, flags: int, at: int, vaddr: int, paddr: int, size: int
) -> bytes:
    if wide:
        return struct.pack(order + "IIQQQQQQ", kind, flags, at, vaddr, paddr, size, size, 16)
    return struct.pack(order + "8I", kind, at, vaddr, paddr, size, size, flags, 16)


def _shdr(order: str, wide: bool, name: int, kind: int, vaddr: int, at: int, size: int) -> bytes:
    form = "IIQQQQIIQQ" if wide else "10I"
    return struct.pack(order + form, name, kind, 2, vaddr, at, size, 0, 0, 4, 0)
