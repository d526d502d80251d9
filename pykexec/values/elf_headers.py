"""The ELF header and program headers of kernels and cores, of both classes. Pure.

System V ABI, "ELF Header" and "Program Header". By ``struct``: what a load needs of ELF are these
two records, and pyelftools takes 40 ms to import.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal, NamedTuple

from pykexec.values.data_classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"\x7fELF"
PT_LOAD = 1
PT_NOTE = 4
_IDENT_SIZE = 16
_CLASSES = {32: 1, 64: 2}
_BYTE_ORDERS = {"<": 1, ">": 2}
_VERSION = 1


class ElfHeader(NamedTuple):
    """What is behind ``e_ident``."""

    type: int
    machine: int
    version: int
    entry: int
    phoff: int
    shoff: int
    flags: int
    ehsize: int
    phentsize: int
    phnum: int
    shentsize: int
    shnum: int
    shstrndx: int


class ProgramHeader(NamedTuple):
    """A program header, in the order of fields that ELF64 has."""

    type: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


@dataclass(frozen=True, slots=True)
class ElfClass:
    """How the headers of one class and byte order are stored."""

    bits: int
    ident: bytes
    """The beginning of ``e_ident``, up to EI_VERSION."""
    ehdr: struct.Struct
    phdr: struct.Struct

    @property
    def byte_order(self) -> Literal["little", "big"]:
        """The byte order, by the name that Python gives it."""
        return "big" if self.ident[5] == _BYTE_ORDERS[">"] else "little"

    @property
    def value_max(self) -> int:
        """The largest address, offset or size."""
        return (1 << self.bits) - 1

    def pack_header(self, header: ElfHeader) -> bytes:
        """Encode the ELF header, ``e_ident`` included."""
        return self.ehdr.pack(self.ident.ljust(_IDENT_SIZE, b"\0"), *header)

    def unpack_header(self, data: bytes) -> ElfHeader:
        """Decode the ELF header at the start of ``data``, which is long enough for it."""
        return ElfHeader._make(self.ehdr.unpack_from(data)[1:])

    def pack(self, header: ProgramHeader) -> bytes:
        """Encode a program header, whose values are at most ``value_max``."""
        if self.bits == 64:
            return self.phdr.pack(*header)
        kind, flags, *places, align = header
        return self.phdr.pack(kind, *places, flags, align)

    def unpack(self, data: bytes) -> Iterator[ProgramHeader]:
        """Decode program headers, of which ``data`` has a whole number."""
        for fields in self.phdr.iter_unpack(data):
            if self.bits == 64:
                yield ProgramHeader._make(fields)
            else:
                kind, *places, flags, align = fields
                yield ProgramHeader._make((kind, flags, *places, align))


def elf_class(bits: int, byte_order: str = "<") -> ElfClass:
    """Return the class of ``bits``, 32 or 64, with a byte order as ``struct`` names it."""
    ehdr, phdr = ("16sHHIIIIIHHHHHH", "8I") if bits == 32 else ("16sHHIQQQIHHHHHH", "II6Q")
    ident = MAGIC + bytes([_CLASSES[bits], _BYTE_ORDERS[byte_order], _VERSION])
    return ElfClass(bits, ident, struct.Struct(byte_order + ehdr), struct.Struct(byte_order + phdr))


ELF32, ELF64 = elf_class(32), elf_class(64)
"""Little endian, as nearly all kernels and their cores are."""
ELF32_BIG, ELF64_BIG = elf_class(32, ">"), elf_class(64, ">")


def class_of(data: bytes) -> ElfClass | None:
    """Return the class of an ELF file, its byte order included, by how it begins.

    One of the four above; None for anything else.
    """
    for found in (ELF64, ELF32, ELF64_BIG, ELF32_BIG):
        if data.startswith(found.ident):
            return found
    return None
