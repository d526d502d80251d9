"""ELF files as a loader sees them: the entry point and the loadable segments. Pure.

System V ABI, "ELF Header" and "Program Header", both classes and both byte orders. Sections
are not looked at, but a file that ends before its section headers has been cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from construct import Bytes, Container, Int16ub, Int16ul, Int32ub, Int32ul, Int64ub, Int64ul, Struct

from pykexec.errors import ImageError
from pykexec.formats.structs import parse_at

if TYPE_CHECKING:
    from pykexec.plans import Buffer

MAGIC = b"\x7fELF"
ET_EXEC = 2
ET_DYN = 3
EM_386 = 3
EM_X86_64 = 62
EM_AARCH64 = 183
_PT_LOAD = 1
_CLASSES = {1: 32, 2: 64}
_ADDRESS_END = 1 << 64
_PHNUM_MAX = 1024
"""Kernels have some five; with 65535 it would take seconds to say what is wrong with them."""
_MACHINES = {
    EM_386: "i386",
    EM_X86_64: "x86_64",
    EM_AARCH64: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}


@dataclass(frozen=True, slots=True)
class LoadSegment:
    """One PT_LOAD; ``data`` is a view into the file, zeros follow it up to ``memsz``."""

    paddr: int
    vaddr: int
    data: memoryview
    memsz: int
    align: int
    """A power of two, 1 for none."""


@dataclass(frozen=True, slots=True)
class ElfFile:
    """What the headers say."""

    bits: int
    """32 or 64."""
    big: bool
    """Big endian."""
    machine: int
    type: int
    entry: int
    """As the file says it; by the ABI a virtual address."""
    segments: tuple[LoadSegment, ...]
    """In ascending order of physical address, none of them empty."""

    @property
    def machine_name(self) -> str:
        """The machine's name as ``uname -m`` would say it, or its number."""
        return _MACHINES.get(self.machine, f"machine {self.machine}")


def probe(data: Buffer) -> str | None:
    """Return None if this is an ELF file, else why it is not."""
    found = bytes(data[:4])
    return None if found == MAGIC else f"no ELF magic (found {found.hex(' ')})"


def read_elf(data: Buffer) -> ElfFile:
    """Read the headers.

    Raises :class:`ImageError` for a file that is cut, is no program, or whose headers
    contradict each other. Whose machine it is for, and where its segments lie, is not judged.
    """
    ident = bytes(data[:6])
    if len(ident) < 6 or ident[4] not in _CLASSES or ident[5] not in (1, 2):
        raise ImageError(
            f"the ELF file is of no known class and byte order (e_ident {ident.hex(' ')})",
            offset=4,
            field="e_ident",
        )
    bits, big = _CLASSES[ident[4]], ident[5] == 2
    header = parse_at(_ehdr(bits, big), data, 0, "the ELF header")
    if header.e_type not in (ET_EXEC, ET_DYN):
        raise ImageError(
            f"an ELF file of type {header.e_type}; a kernel is of type 2 (ET_EXEC) or 3 (ET_DYN)",
            offset=16,
            field="e_type",
            hint="a core or an object file cannot be started",
        )
    _require(data, header.e_shoff, header.e_shnum * header.e_shentsize, "its section headers")
    segments = _segments(data, header, _phdr(bits, big))
    return ElfFile(bits, big, header.e_machine, header.e_type, header.e_entry, segments)


@cache
def _ehdr(bits: int, big: bool) -> Struct:
    half, word, xword = (Int16ub, Int32ub, Int64ub) if big else (Int16ul, Int32ul, Int64ul)
    address = xword if bits == 64 else word
    return Struct(
        "e_ident" / Bytes(16),
        "e_type" / half,
        "e_machine" / half,
        "e_version" / word,
        "e_entry" / address,
        "e_phoff" / address,
        "e_shoff" / address,
        "e_flags" / word,
        "e_ehsize" / half,
        "e_phentsize" / half,
        "e_phnum" / half,
        "e_shentsize" / half,
        "e_shnum" / half,
        "e_shstrndx" / half,
    )


@cache
def _phdr(bits: int, big: bool) -> Struct:
    word, xword = (Int32ub, Int64ub) if big else (Int32ul, Int64ul)
    address = xword if bits == 64 else word
    flags = ["p_flags" / word]
    return Struct(
        "p_type" / word,
        *(flags if bits == 64 else []),
        "p_offset" / address,
        "p_vaddr" / address,
        "p_paddr" / address,
        "p_filesz" / address,
        "p_memsz" / address,
        *([] if bits == 64 else flags),
        "p_align" / address,
    )


def _segments(data: Buffer, header: Container[Any], layout: Struct) -> tuple[LoadSegment, ...]:
    if header.e_phentsize != layout.sizeof():
        raise ImageError(
            f"the ELF file is malformed: e_phentsize is {header.e_phentsize}, not "
            f"{layout.sizeof()}",
            offset=54 if layout.sizeof() == 56 else 42,
            field="e_phentsize",
        )
    if header.e_phnum > _PHNUM_MAX:
        raise ImageError(
            f"the ELF file has {header.e_phnum} program headers; at most {_PHNUM_MAX} are taken",
            offset=56 if layout.sizeof() == 56 else 44,
            field="e_phnum",
        )
    _require(data, header.e_phoff, header.e_phnum * layout.sizeof(), "its program headers")
    segments = []
    for index in range(header.e_phnum):
        at = header.e_phoff + index * layout.sizeof()
        entry = parse_at(layout, data, at, "an ELF program header")
        if entry.p_type == _PT_LOAD and entry.p_memsz:
            segments.append(_load_segment(data, index, entry))
    return tuple(sorted(segments, key=lambda segment: segment.paddr))


def _load_segment(data: Buffer, index: int, entry: Container[Any]) -> LoadSegment:
    _require(data, entry.p_offset, entry.p_filesz, f"its segment {index}")
    if entry.p_filesz > entry.p_memsz or entry.p_paddr + entry.p_memsz > _ADDRESS_END:
        raise ImageError(
            f"the ELF file is malformed: its segment {index} has {entry.p_filesz:#x} bytes for "
            f"{entry.p_memsz:#x} bytes of memory at {entry.p_paddr:#x}",
            field="p_memsz",
        )
    if entry.p_align & (entry.p_align - 1):
        raise ImageError(
            f"the ELF file is malformed: p_align of its segment {index} is {entry.p_align:#x}, "
            "no power of two",
            field="p_align",
        )
    content = memoryview(data)[entry.p_offset : entry.p_offset + entry.p_filesz]
    return LoadSegment(entry.p_paddr, entry.p_vaddr, content, entry.p_memsz, max(entry.p_align, 1))


def _require(data: Buffer, start: int, size: int, what: str) -> None:
    if start + size > len(data):
        raise ImageError(
            f"the ELF file is truncated: {what} should take the bytes from {start:#x} to "
            f"{start + size:#x}, there are {len(data):#x}",
            offset=len(data),
            hint="copy the file again",
        )
