"""The ELF core header: where the capture kernel finds the crashed kernel's memory. Pure.

Linux Documentation/admin-guide/kdump/kdump.rst; the kernel builds its own in
kernel/crash_core.c, "crash_prepare_elf64_headers". The capture kernel turns it into
/proc/vmcore: offsets are physical addresses until then.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pykexec.errors import ImageError, PykexecError
from pykexec.ranges import Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pykexec.facts import CrashFacts

PT_LOAD = 1
PT_NOTE = 4
_PF_RWX = 7
_ET_CORE = 4
_ELF_MAGIC = b"\x7fELF\x02\x01\x01"
_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_PHNUM_MAX = 0xFFFE
"""e_phnum has 16 bits; 0xffff is PN_XNUM, which the kernel's reader does not know."""


@dataclass(frozen=True, slots=True)
class CoreHeader:
    """One program header; ``offset`` is a physical address as well."""

    type: int
    offset: int
    paddr: int
    vaddr: int
    size: int
    """p_filesz and p_memsz, in bytes."""
    flags: int = 0


def _note(where: Range) -> CoreHeader:
    return CoreHeader(PT_NOTE, where.start, where.start, 0, where.size)


def _load(paddr: int, size: int, vaddr: int, offset: int | None = None) -> CoreHeader:
    return CoreHeader(PT_LOAD, paddr if offset is None else offset, paddr, vaddr, size, _PF_RWX)


def core_headers(
    facts: CrashFacts, ram: Iterable[Range], moved: Sequence[tuple[Range, int]] = ()
) -> tuple[CoreHeader, ...]:
    """Describe a crashed kernel: its notes, its text, its memory.

    ``ram`` are physical ranges. ``moved`` are pairs of a range in them and the address that
    its content was copied to before the capture kernel started. Raises
    :class:`PykexecError` when /proc/kcore did not say where memory is mapped.
    """
    if facts.page_offset_vaddr is None:
        raise PykexecError(
            "the running kernel's direct map was not found in /proc/kcore",
            hint="a crash kernel needs /proc/kcore (CONFIG_PROC_KCORE) and the right to read it",
        )
    headers = [_note(where) for _, where in facts.crash_notes]
    if facts.vmcoreinfo is not None:
        headers.append(_note(facts.vmcoreinfo))
    if facts.kernel_text is not None and facts.kernel_text_vaddr is not None:
        text = facts.kernel_text
        headers.append(_load(text.start, text.size, facts.kernel_text_vaddr))
    copies = {source.start: target for source, target in moved}
    page_offset = facts.page_offset_vaddr
    for part in ram:
        vaddr = (part.start + page_offset) & 0xFFFF_FFFF_FFFF_FFFF
        headers.append(_load(part.start, part.size, vaddr, copies.get(part.start)))
    return tuple(headers)


def build_elfcorehdr(headers: Sequence[CoreHeader], machine: int) -> bytes:
    """Encode an ELF64 core header for ELF ``machine``, little endian.

    Raises :class:`PykexecError` for more headers than e_phnum can count.
    """
    if len(headers) > _PHNUM_MAX:
        raise PykexecError(
            f"the core header needs {len(headers)} program headers, ELF counts to {_PHNUM_MAX}",
            hint="memory is cut into too many ranges: see /proc/iomem",
        )
    ehdr = _EHDR.pack(
        _ELF_MAGIC.ljust(16, b"\0"),
        _ET_CORE,
        machine,
        1,
        0,
        _EHDR.size,
        0,
        0,
        _EHDR.size,
        _PHDR.size,
        len(headers),
        0,
        0,
        0,
    )
    packed = (
        _PHDR.pack(h.type, h.flags, h.offset, h.vaddr, h.paddr, h.size, h.size, 0) for h in headers
    )
    return ehdr + b"".join(packed)


def elfcorehdr_size(count: int) -> int:
    """Return the bytes that ``count`` program headers and the ELF header take."""
    return _EHDR.size + count * _PHDR.size


def parse_elfcorehdr(data: bytes) -> tuple[CoreHeader, ...]:
    """Decode what :func:`build_elfcorehdr` made; raises :class:`ImageError` for anything else."""
    if len(data) < _EHDR.size or not data.startswith(_ELF_MAGIC):
        raise ImageError(f"no ELF64 core header in {len(data)} bytes", offset=0, field="e_ident")
    fields = _EHDR.unpack_from(data)
    offset, count = fields[5], fields[10]
    end = offset + count * _PHDR.size
    if fields[1] != _ET_CORE or fields[9] != _PHDR.size or end > len(data):
        raise ImageError(
            f"the core header's {count} program headers end at {end}, it has {len(data)} bytes",
            offset=offset,
            field="e_phnum",
        )
    found = _PHDR.iter_unpack(data[offset:end])
    return tuple(
        CoreHeader(kind, start, paddr, vaddr, size, flags)
        for kind, flags, start, vaddr, paddr, size, _, _ in found
    )
