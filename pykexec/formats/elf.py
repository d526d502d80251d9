"""The ELF ``vmlinux`` of arm64, made into the ``Image`` that it is built into. Pure.

Its loadable segments, laid out by physical address from the entry point on, are what
``objcopy -O binary`` writes: arch/arm64/boot/Makefile makes ``Image`` by that, and
arch/arm64/kernel/vmlinux.lds.S puts the Image header at the entry point. System V ABI, "ELF
Header" and "Program Header"; only 64 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from construct import Bytes, Container, Int16ub, Int16ul, Int32ub, Int32ul, Int64ub, Int64ul, Struct

from pykexec.errors import ImageError
from pykexec.formats.layers import KERNEL_LIMIT, Layer
from pykexec.formats.structs import parse_at
from pykexec.units import format_size

if TYPE_CHECKING:
    from pykexec.plans import Buffer

NAME = "ELF vmlinux"
MAGIC = b"\x7fELF"

_CLASS_64 = 2
_PT_LOAD = 1
_EXECUTABLE = {2: "ET_EXEC", 3: "ET_DYN"}
_MACHINES = {3: "i386", 62: "x86_64", 183: "aarch64", 243: "riscv64", 258: "loongarch64"}
_MACHINE = 183
_HINTS = {
    "x86_64": "give the bzImage that was built with it",
    "i386": "give the bzImage that was built with it",
}


@dataclass(frozen=True, slots=True)
class _Segment:
    """One PT_LOAD that the file has bytes of."""

    paddr: int
    vaddr: int
    data: memoryview


def _ehdr(*, big: bool) -> Struct:
    half, word, xword = (Int16ub, Int32ub, Int64ub) if big else (Int16ul, Int32ul, Int64ul)
    return Struct(
        "e_ident" / Bytes(16),
        "e_type" / half,
        "e_machine" / half,
        "e_version" / word,
        "e_entry" / xword,
        "e_phoff" / xword,
        "e_shoff" / xword,
        "e_flags" / word,
        "e_ehsize" / half,
        "e_phentsize" / half,
        "e_phnum" / half,
        "e_shentsize" / half,
        "e_shnum" / half,
        "e_shstrndx" / half,
    )


def _phdr(*, big: bool) -> Struct:
    word, xword = (Int32ub, Int64ub) if big else (Int32ul, Int64ul)
    return Struct(
        "p_type" / word,
        "p_flags" / word,
        "p_offset" / xword,
        "p_vaddr" / xword,
        "p_paddr" / xword,
        "p_filesz" / xword,
        "p_memsz" / xword,
        "p_align" / xword,
    )


def probe(data: Buffer) -> str | None:
    """Return None if this is an ELF file, else why it is not."""
    found = bytes(data[:4])
    return None if found == MAGIC else f"no ELF magic (found {found.hex(' ')})"


def unwrap(data: Buffer) -> Layer:
    """Lay the segments out as the Image.

    Raises :class:`ImageError` for an ELF file that is no arm64 kernel, is cut, or whose
    segments overlap or lie too far apart.
    """
    ident = bytes(data[:6])
    if len(ident) < 6 or ident[4] != _CLASS_64 or ident[5] not in (1, 2):
        raise ImageError(
            f"the ELF file is not of 64 bits with a known byte order (e_ident {ident.hex(' ')})",
            offset=4,
            field="e_ident",
        )
    big = ident[5] == 2
    header = parse_at(_ehdr(big=big), data, 0, "the ELF header")
    machine = _MACHINES.get(header.e_machine, f"machine {header.e_machine}")
    if header.e_machine != _MACHINE:
        raise ImageError(
            f"an ELF file for {machine}; of ELF kernels, those for aarch64 can be started",
            offset=18,
            field="e_machine",
            hint=_HINTS.get(machine),
        )
    if header.e_type not in _EXECUTABLE:
        raise ImageError(
            f"an ELF file of type {header.e_type}; a kernel is of type 2 (ET_EXEC) or 3 (ET_DYN)",
            offset=16,
            field="e_type",
            hint="a core or an object file cannot be started",
        )
    _require(data, header.e_shoff, header.e_shnum * header.e_shentsize, "its section headers")
    return Layer(NAME, _flat(_segments(data, header, big=big), header.e_entry))


def _segments(data: Buffer, header: Container[Any], *, big: bool) -> list[_Segment]:
    """Return the segments that the file has bytes of, in ascending physical order."""
    layout = _phdr(big=big)
    if header.e_phentsize != layout.sizeof():
        raise ImageError(
            f"the ELF file is malformed: e_phentsize is {header.e_phentsize}, not "
            f"{layout.sizeof()}",
            offset=54,
            field="e_phentsize",
        )
    _require(data, header.e_phoff, header.e_phnum * layout.sizeof(), "its program headers")
    segments = []
    for index in range(header.e_phnum):
        at = header.e_phoff + index * layout.sizeof()
        entry = parse_at(layout, data, at, "an ELF program header")
        if entry.p_type != _PT_LOAD or not entry.p_filesz:
            continue
        _require(data, entry.p_offset, entry.p_filesz, f"its segment {index}")
        content = memoryview(data)[entry.p_offset : entry.p_offset + entry.p_filesz]
        segments.append(_Segment(entry.p_paddr, entry.p_vaddr, content))
    return sorted(segments, key=lambda segment: segment.paddr)


def _require(data: Buffer, start: int, size: int, what: str) -> None:
    if start + size > len(data):
        raise ImageError(
            f"the ELF file is truncated: {what} should take the bytes from {start:#x} to "
            f"{start + size:#x}, there are {len(data):#x}",
            offset=len(data),
            hint="copy the file again",
        )


def _flat(segments: list[_Segment], entry_vaddr: int) -> Buffer:
    """Return memory from the entry point on; gaps between segments are zeros."""
    first = next((s for s in segments if s.vaddr <= entry_vaddr < s.vaddr + len(s.data)), None)
    if first is None:
        raise ImageError(
            f"the ELF file is malformed: no segment has its entry point {entry_vaddr:#x}",
            offset=24,
            field="e_entry",
        )
    start = first.paddr + entry_vaddr - first.vaddr
    segments = [s for s in segments if s.paddr + len(s.data) > start]
    if len(segments) == 1:
        return first.data[start - first.paddr :]
    size = segments[-1].paddr + len(segments[-1].data) - start
    if size > KERNEL_LIMIT:
        raise ImageError(
            f"the ELF file's segments spread over {format_size(size)}; at most "
            f"{format_size(KERNEL_LIMIT)} are taken",
            field="p_paddr",
        )
    flat = bytearray()
    for segment in segments:
        gap = segment.paddr - start - len(flat)
        skipped = max(start - segment.paddr, 0)
        if gap + skipped < 0:
            raise ImageError(
                f"the ELF file is malformed: two segments overlap at {segment.paddr:#x}",
                field="p_paddr",
            )
        flat += bytes(gap + skipped)
        flat += segment.data[skipped:]
    return bytes(flat)
