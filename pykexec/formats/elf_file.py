"""ELF files as a loader sees them: the entry point and the loadable segments. Pure.

System V ABI, "ELF Header" and "Program Header", both classes and both byte orders. Sections
are not looked at, but a file that ends before its section headers has been cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import by_elf_machine
from pykexec.formats.layers import KERNEL_LIMIT
from pykexec.values.data_classes import dataclass
from pykexec.values.elf_headers import MAGIC, PT_LOAD, elf_class
from pykexec.values.errors import ImageError
from pykexec.values.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pykexec.values.buffers import Buffer
    from pykexec.values.elf_headers import ElfClass, ElfHeader, ProgramHeader

ET_EXEC = 2
ET_DYN = 3
_PT_DYNAMIC = 2
_DT_NULL, _DT_NEEDED, _DT_RELA, _DT_RELASZ = 0, 1, 7, 8
_DYNAMIC_MAX = 1024
"""Entries of the dynamic section that are looked at; those that matter come first."""
_CLASSES = {1: 32, 2: 64}
_BYTE_ORDERS = {1: "<", 2: ">"}
_ADDRESS_END = 1 << 64
_PHNUM_MAX = 1024
"""Kernels have some five; with 65535 it would take seconds to say what is wrong with them."""


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
    machine: int
    type: int
    entry: int
    """As the file says it; by the ABI a virtual address."""
    segments: tuple[LoadSegment, ...]
    """In ascending order of physical address, none of them empty."""
    needs_libraries: bool = False
    """The dynamic section names shared libraries: some loader of programs is to find them."""
    relocations: tuple[int, int] = (0, 0)
    """Where the relocations are that a program applies to itself: virtual address and bytes."""

    @property
    def machine_name(self) -> str:
        """The machine's name as ``uname -m`` would say it, or its number."""
        found = by_elf_machine(self.machine)
        return found.name if found is not None else f"machine {self.machine}"


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
    if len(ident) < 6 or ident[4] not in _CLASSES or ident[5] not in _BYTE_ORDERS:
        raise ImageError(
            f"the ELF file is of no known class and byte order (e_ident {ident.hex(' ')})",
            offset=4,
            field="e_ident",
        )
    bits = _CLASSES[ident[4]]
    elf = elf_class(bits, _BYTE_ORDERS[ident[5]])
    header = elf.unpack_header(bytes(_take(data, 0, elf.ehdr.size, "its header")))
    if header.type not in (ET_EXEC, ET_DYN):
        raise ImageError(
            f"an ELF file of type {header.type}; a kernel is of type 2 (ET_EXEC) or 3 (ET_DYN)",
            offset=16,
            field="e_type",
            hint="a core or an object file cannot be started",
        )
    _take(data, header.shoff, header.shnum * header.shentsize, "its section headers")
    entries = _program_headers(data, header, elf)
    dynamic = {tag: value for item in entries for tag, value in _dynamic(data, item, elf)}
    return ElfFile(
        bits,
        header.machine,
        header.type,
        header.entry,
        _segments(data, entries),
        _DT_NEEDED in dynamic,
        (dynamic.get(_DT_RELA, 0), dynamic.get(_DT_RELASZ, 0)),
    )


def _program_headers(data: Buffer, header: ElfHeader, elf: ElfClass) -> tuple[ProgramHeader, ...]:
    if header.phentsize != elf.phdr.size:
        raise ImageError(
            f"the ELF file is malformed: e_phentsize is {header.phentsize}, not {elf.phdr.size}",
            offset=54 if elf.bits == 64 else 42,
            field="e_phentsize",
        )
    if header.phnum > _PHNUM_MAX:
        raise ImageError(
            f"the ELF file has {header.phnum} program headers; at most {_PHNUM_MAX} are taken",
            offset=56 if elf.bits == 64 else 44,
            field="e_phnum",
        )
    table = _take(data, header.phoff, header.phnum * elf.phdr.size, "its program headers")
    return tuple(elf.unpack(bytes(table)))


def _segments(data: Buffer, entries: Sequence[ProgramHeader]) -> tuple[LoadSegment, ...]:
    segments = [
        _load_segment(data, index, entry)
        for index, entry in enumerate(entries)
        if entry.type == PT_LOAD and entry.memsz
    ]
    return tuple(sorted(segments, key=lambda segment: segment.paddr))


def _dynamic(data: Buffer, entry: ProgramHeader, elf: ElfClass) -> Iterator[tuple[int, int]]:
    """Yield tags and values, if a program header is of a dynamic section.

    What is cut off is not missed: a program that links itself reads it in memory.
    """
    if entry.type != _PT_DYNAMIC:
        return
    word = elf.bits // 8
    size = min(entry.filesz, _DYNAMIC_MAX * 2 * word)
    section = bytes(data[entry.offset : entry.offset + size])
    for at in range(0, len(section), 2 * word):
        tag, value = (
            int.from_bytes(section[start : start + word], elf.byte_order)
            for start in (at, at + word)
        )
        if tag == _DT_NULL:
            return
        yield tag, value


def _load_segment(data: Buffer, index: int, entry: ProgramHeader) -> LoadSegment:
    content = _take(data, entry.offset, entry.filesz, f"its segment {index}")
    if entry.filesz > entry.memsz or entry.paddr + entry.memsz > _ADDRESS_END:
        raise ImageError(
            f"the ELF file is malformed: its segment {index} has {entry.filesz:#x} bytes for "
            f"{entry.memsz:#x} bytes of memory at {entry.paddr:#x}",
            field="p_memsz",
        )
    if entry.align & (entry.align - 1):
        raise ImageError(
            f"the ELF file is malformed: p_align of its segment {index} is {entry.align:#x}, "
            "no power of two",
            field="p_align",
        )
    return LoadSegment(entry.paddr, entry.vaddr, content, entry.memsz, max(entry.align, 1))


def _take(data: Buffer, start: int, size: int, what: str) -> memoryview:
    if start + size > len(data):
        raise ImageError(
            f"the ELF file is truncated: {what} should take the bytes from {start:#x} to "
            f"{start + size:#x}, there are {len(data):#x}",
            offset=len(data),
            hint="copy the file again",
        )
    return memoryview(data)[start : start + size]


def refuse_spread(size: int) -> None:
    """Raise :class:`ImageError` for segments that would take ``size`` bytes as one piece."""
    if size > KERNEL_LIMIT:
        raise ImageError(
            f"the ELF file's segments spread over {format_size(size)}; at most "
            f"{format_size(KERNEL_LIMIT)} are taken",
            field="p_paddr",
        )


def flat_memory(segments: Sequence[LoadSegment], start: int) -> memoryview:
    """Return what physical memory holds from ``start`` to the end of the last segment's data.

    The segments do not overlap. A single one that begins at ``start`` or before is not copied;
    gaps are filled with zeros.
    """
    last = segments[-1]
    if len(segments) == 1 and last.paddr <= start:
        return last.data[start - last.paddr :]
    flat = bytearray(last.paddr + len(last.data) - start)
    for segment in segments:
        piece = segment.data[max(start - segment.paddr, 0) :]
        end = segment.paddr + len(segment.data) - start
        flat[end - len(piece) : end] = piece
    return memoryview(flat).toreadonly()
