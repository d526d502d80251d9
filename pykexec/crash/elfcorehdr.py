"""The ELF core header: where the capture kernel finds the crashed kernel's memory. Pure.

Linux Documentation/admin-guide/kdump/kdump.rst; the kernel builds its own in
kernel/crash_core.c, "crash_prepare_elf64_headers". The capture kernel turns it into
/proc/vmcore: offsets are physical addresses until then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass, replace
from pykexec.values.elf_headers import ELF64, PT_LOAD, PT_NOTE, ElfHeader, ProgramHeader, class_of
from pykexec.values.errors import ImageError, PykexecError
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import ADDRESS_MAX, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pykexec.values.elf_headers import ElfClass
    from pykexec.values.facts import CrashFacts

_PF_RWX = 7
_ET_CORE = 4
NO_VADDR = ADDRESS_MAX
"""The virtual address of memory that has none; in an ELF32 file, as far as it has bits."""
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


def _load(paddr: int, size: int, vaddr: int) -> CoreHeader:
    return CoreHeader(PT_LOAD, paddr, paddr, vaddr, size, _PF_RWX)


def core_headers(facts: CrashFacts, ram: Iterable[Range]) -> tuple[CoreHeader, ...]:
    """Describe a crashed kernel: its notes, its text, its memory.

    ``ram`` are physical ranges. Raises :class:`PykexecError` when /proc/kcore did not say where
    memory is mapped.
    """
    if facts.page_offset_vaddr is None and not facts.in_machine_addresses:
        raise PykexecError(
            "the running kernel's direct map was not found in /proc/kcore",
            hint="a crash kernel needs /proc/kcore (CONFIG_PROC_KCORE) and the right to read it",
        )
    headers = [_note(where) for _, where in facts.crash_notes]
    if facts.vmcoreinfo is not None:
        headers.append(_note(facts.vmcoreinfo))
    if facts.xen_vmcoreinfo is not None:
        headers.append(_note(facts.xen_vmcoreinfo))
    if facts.in_machine_addresses:
        return (*headers, *(_load(part.start, part.size, NO_VADDR) for part in ram))
    if facts.kernel_text is not None and facts.kernel_text_vaddr is not None:
        text = facts.kernel_text
        headers.append(_load(text.start, text.size, facts.kernel_text_vaddr))
    page_offset = facts.page_offset_vaddr or 0
    for part in _mapped(facts, ram):
        headers.append(_load(part.start, part.size, (part.start + page_offset) & ADDRESS_MAX))
    if facts.direct_map_end is not None:
        high = RangeSet(ram).minus([Range(0, facts.direct_map_end)])
        headers += [_load(part.start, part.size, NO_VADDR) for part in high]
    return tuple(headers)


def with_copy(headers: Iterable[CoreHeader], copied: Range, to: int) -> tuple[CoreHeader, ...]:
    """Say that ``copied`` was copied to the address ``to`` before the capture kernel started.

    It is one of the ranges of memory that ``headers`` describe.
    """
    return tuple(
        replace(item, offset=to) if (item.type, item.paddr) == (PT_LOAD, copied.start) else item
        for item in headers
    )


def _mapped(facts: CrashFacts, ram: Iterable[Range]) -> Iterable[Range]:
    """Return the part of ``ram`` that the crashed kernel has mapped for good."""
    if facts.direct_map_end is None:
        return ram
    return RangeSet(ram).intersect([Range(0, facts.direct_map_end)])


def build_elfcorehdr(headers: Sequence[CoreHeader], machine: int, elf: ElfClass = ELF64) -> bytes:
    """Encode a core header for ELF ``machine``, little endian.

    Raises :class:`PykexecError` for more headers than e_phnum can count, and for memory that
    ``elf`` has no addresses for.
    """
    if len(headers) > _PHNUM_MAX:
        raise PykexecError(
            f"the core header needs {len(headers)} program headers, ELF counts to {_PHNUM_MAX}",
            hint="memory is cut into too many ranges: see /proc/iomem",
        )
    most = elf.value_max
    for item in headers:
        if max(item.offset, item.paddr) + item.size > most + 1:
            raise PykexecError(
                f"the core header would have {elf.bits}-bit fields, and there is memory at "
                f"{Range.sized(item.paddr, item.size)}",
                hint="leave out --elf32-core-headers, for ELF64 headers",
            )
    ehdr = ElfHeader(
        type=_ET_CORE,
        machine=machine,
        version=1,
        entry=0,
        phoff=elf.ehdr.size,
        shoff=0,
        flags=0,
        ehsize=elf.ehdr.size,
        phentsize=elf.phdr.size,
        phnum=len(headers),
        shentsize=0,
        shnum=0,
        shstrndx=0,
    )
    packed = (
        ProgramHeader(h.type, h.flags, h.offset, h.vaddr & most, h.paddr, h.size, h.size, 0)
        for h in headers
    )
    return elf.pack_header(ehdr) + b"".join(map(elf.pack, packed))


def elfcorehdr_size(count: int, elf: ElfClass = ELF64) -> int:
    """Return the bytes that ``count`` program headers and the ELF header take; ELF64 takes most."""
    return elf.ehdr.size + count * elf.phdr.size


def parse_elfcorehdr(data: bytes) -> tuple[CoreHeader, ...]:
    """Decode what :func:`build_elfcorehdr` made; raises :class:`ImageError` for anything else."""
    elf = class_of(data)
    if elf is None or len(data) < elf.ehdr.size:
        raise ImageError(
            f"no ELF core header in {counted(len(data), 'byte')}", offset=0, field="e_ident"
        )
    ehdr = elf.unpack_header(data)
    end = ehdr.phoff + ehdr.phnum * elf.phdr.size
    if ehdr.type != _ET_CORE or ehdr.phentsize != elf.phdr.size or end > len(data):
        raise ImageError(
            f"the core header's {ehdr.phnum} program headers end at {end}, it has "
            f"{counted(len(data), 'byte')}",
            offset=ehdr.phoff,
            field="e_phnum",
        )
    headers = []
    for kind, flags, offset, vaddr, paddr, _, memsz, _ in elf.unpack(data[ehdr.phoff : end]):
        if paddr + memsz > 1 << 64:
            raise ImageError(
                f"the core header has {memsz:#x} bytes at {paddr:#x}, beyond 64 bits",
                field="p_memsz",
            )
        headers.append(CoreHeader(kind, offset, paddr, vaddr, memsz, flags))
    return tuple(headers)


def elfcorehdr_machine(data: bytes) -> int | None:
    """Return e_machine of what :func:`build_elfcorehdr` made, None for no ELF file."""
    elf = class_of(data)
    return None if elf is None else elf.unpack_header(data).machine
