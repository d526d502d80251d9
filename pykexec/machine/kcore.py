"""What an ELF core header is made from: the kernel's text, its direct map, and notes.

Read for a crash kernel only. /proc/kcore's program headers say where the running kernel
is mapped (Linux fs/proc/kcore.c), /proc/kallsyms where its text starts.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pykexec.architectures import X86
from pykexec.errors import MachineError
from pykexec.machine.arm64.crash import ARM64_NUMBERS, find_arm64_mapping
from pykexec.machine.description import KcoreLoad
from pykexec.machine.files import PRIVILEGE_HINT, parse_hexadecimal
from pykexec.machine.x86.crash import (
    read_gart,
    read_low_memory_reserved,
    read_memory_encryption,
)
from pykexec.values.elf_headers import ELF64, PT_LOAD, PT_NOTE, class_of
from pykexec.values.facts import CrashFacts
from pykexec.values.ranges import Range
from pykexec.values.units import GIB, MIB, align_down, align_up, counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.machine.description import Description
    from pykexec.machine.files import MachineFiles
    from pykexec.values.elf_headers import ElfClass, ProgramHeader
    from pykexec.values.memory import IomemEntry

KCORE = "proc/kcore"
KALLSYMS = "proc/kallsyms"
CPUS = "sys/devices/system/cpu"
VMCOREINFO = "sys/kernel/vmcoreinfo"

_PURPOSE = "the ELF core header of a crash kernel"
_NOTE_SIZE = 1024  # What kernels without crash_notes_size reserve for each CPU.
_NOTES_MAX = 64 << 10
"""Bytes; the notes hold a task's registers and some 4 KiB of VMCOREINFO."""
_FILE_OFFSET_MAX = (1 << 63) - 1

# Linux Documentation/arch/x86/x86_64/mm.rst: the kernel is mapped in these 1 GiB (512 MiB
# without KASLR; what follows then is modules, whose mapping ends beyond).
_START_KERNEL_MAP = 0xFFFFFFFF80000000
_KERNEL_IMAGE_SIZE = GIB
_PAGE_OFFSET_STEP = 128 * MIB
"""Linux arch/x86/Kconfig, "PAGE_OFFSET": 0xc0000000, or 0xb0000000 down to 0x40000000."""


def read_crash_facts(
    files: MachineFiles,
    description: Description,
    iomem: tuple[IomemEntry, ...],
    *,
    xen: bool,
) -> CrashFacts:
    """Read what an ELF core header needs.

    The facts about the kernel's mapping are known for arm64, and for x86 without Xen, and None
    where the machine does not say. Raises :class:`MachineError` naming a file that
    cannot be read or is malformed.
    """
    is_x86 = description.arch in X86
    text, text_vaddr, page_offset, direct_map_end = None, None, None, None
    if is_x86 and not xen:
        loads = description.kcore
        if loads is None:
            loads = read_kcore_loads(files)
        if description.arch == "x86_64":
            text, text_vaddr = _find_text(files, loads, iomem, description.page_size)
            page_offset = find_page_offset(loads)
        else:
            page_offset, direct_map_end = find_i386_mapping(loads)
    elif description.arch == "aarch64":
        numbers = description.vmcoreinfo
        if numbers is None:
            numbers = read_vmcoreinfo_numbers(files)
        text, text_vaddr, page_offset = find_arm64_mapping(
            numbers, iomem, _read_symbol(files, b"_text")
        )
    return CrashFacts(
        crash_notes=_read_crash_notes(files),
        vmcoreinfo=_read_vmcoreinfo(files),
        kernel_text=text,
        kernel_text_vaddr=text_vaddr,
        page_offset_vaddr=page_offset,
        direct_map_end=direct_map_end,
        low_memory_reserved=read_low_memory_reserved(files, iomem) if is_x86 else None,
        gart=read_gart(files) if is_x86 else (),
        memory_encryption=is_x86 and read_memory_encryption(files),
    )


def read_kcore_loads(files: MachineFiles) -> tuple[KcoreLoad, ...]:
    """Read the PT_LOADs of /proc/kcore; none when the kernel has no such file.

    Only the headers are read: the rest of the file is all of memory.
    """
    with _open_kcore(files) as kcore:
        return tuple(
            KcoreLoad(vaddr=header.vaddr, memsz=header.memsz)
            for header in kcore.headers()
            if header.type == PT_LOAD and header.memsz
        )


def read_vmcoreinfo_numbers(files: MachineFiles) -> dict[str, str]:
    """Read from /proc/kcore's VMCOREINFO note what :func:`find_arm64_mapping` uses.

    Empty when the kernel has no such file or no such note (before v4.19).
    """
    with _open_kcore(files) as kcore:
        for header in kcore.headers():
            if header.type == PT_NOTE:
                note = kcore.read(header.offset, min(header.filesz, _NOTES_MAX))
                return _numbers_in(note)
    return {}


def _numbers_in(notes: bytes) -> dict[str, str]:
    """Return the wanted lines of the VMCOREINFO note: name, type, then text."""
    start = notes.find(b"VMCOREINFO\0")
    if start < 0:
        return {}
    lines = notes[start:].split(b"\0", 2)[-1].lstrip(b"\0").split(b"\0", 1)[0].splitlines()
    pairs = (line.decode("ascii", "replace").partition("=") for line in lines)
    return {name: value for name, _, value in pairs if name in ARM64_NUMBERS}


class _Kcore:
    """The ELF file /proc/kcore, or nothing."""

    def __init__(self, descriptor: int | None, where: str) -> None:
        self._descriptor = descriptor
        self._where = where

    def headers(self) -> Iterator[ProgramHeader]:
        """Yield the program headers."""
        if self._descriptor is None:
            return
        elf, offset, count = _parse_header(self.read(0, ELF64.ehdr.size), self._where)
        size = elf.phdr.size * count
        data = self.read(offset, size)
        if len(data) < size:
            raise MachineError(
                f"{self._where}: {count} program headers have {counted(size, 'byte')}, found "
                f"{len(data)}"
            )
        yield from elf.unpack(data)

    def read(self, offset: int, size: int) -> bytes:
        """Return the bytes at a file offset."""
        assert self._descriptor is not None
        return os.pread(self._descriptor, size, offset)


@contextmanager
def _open_kcore(files: MachineFiles) -> Iterator[_Kcore]:
    """Open /proc/kcore; refusals become a :class:`MachineError`."""
    where = files.path(KCORE)
    descriptor = None
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            descriptor = files.open(KCORE)
        yield _Kcore(descriptor, where)
    except OSError as error:
        raise MachineError(
            f"cannot read {where}, needed for {_PURPOSE}: {error.strerror}",
            hint=f"{PRIVILEGE_HINT}; lockdown=confidentiality forbids it to root too",
        ) from error
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _parse_header(data: bytes, where: str) -> tuple[ElfClass, int, int]:
    """Return class, e_phoff and e_phnum; a kernel of 32 bits shows an ELF32 file."""
    elf = class_of(data)
    needed = (elf or ELF64).ehdr.size
    if len(data) < needed:
        raise MachineError(
            f"{where}: an ELF header has {counted(needed, 'byte')}, found {len(data)}"
        )
    if elf is None:
        raise MachineError(f"{where} is not a little-endian ELF file: {data[:6].hex()}")
    header = elf.unpack_header(data)
    if header.phentsize != elf.phdr.size:
        raise MachineError(
            f"{where}: program headers of {counted(header.phentsize, 'byte')}, not {elf.phdr.size}"
        )
    if header.phoff > _FILE_OFFSET_MAX:
        raise MachineError(f"{where}: program headers at {header.phoff:#x}, beyond any file's end")
    return elf, header.phoff, header.phnum


def find_page_offset(loads: tuple[KcoreLoad, ...]) -> int | None:
    """Return the virtual address at which physical address 0 is mapped, None without loads.

    The direct map of x86_64 is the lowest that kcore shows, KASLR moves it in steps of
    1 GiB, and RAM starts below the first GiB.
    """
    return align_down(min(load.vaddr for load in loads), GIB) if loads else None


def find_i386_mapping(loads: tuple[KcoreLoad, ...]) -> tuple[int, int] | tuple[None, None]:
    """Return where a 32-bit kernel maps physical address 0, and the physical end of that map.

    The map is what kcore shows below the area of vmalloc, which is the highest; with
    CONFIG_HIGHMEM it is one PT_LOAD, else one for each range of RAM (Linux fs/proc/kcore.c,
    "kcore_ram_list"; arch/x86/include/asm/pgtable_32_areas.h). RAM starts far below what any
    choice of CONFIG_PAGE_OFFSET is a multiple of. None where kcore does not show both.
    """
    direct = sorted(loads, key=lambda load: load.vaddr)[:-1]
    if not direct:
        return None, None
    page_offset = align_down(direct[0].vaddr, _PAGE_OFFSET_STEP)
    return page_offset, max(load.vaddr + load.memsz for load in direct) - page_offset


def _find_text(
    files: MachineFiles,
    loads: tuple[KcoreLoad, ...],
    iomem: tuple[IomemEntry, ...],
    page_size: int,
) -> tuple[Range, int] | tuple[None, None]:
    """Return where the kernel's image lies, physical and virtual; None where unknown."""
    code = [item.range for entry in iomem for item in entry.walk() if item.name == "Kernel code"]
    load = _text_load(loads, _read_symbol(files, b"_stext"))
    if len(code) != 1 or load is None:
        return None, None
    # Kernels before 2.6.31 map from _stext, a little behind the image's start, which is
    # what "Kernel code" starts with and which is aligned at least this far.
    vaddr = align_down(load.vaddr, MIB)
    size = align_up(load.vaddr + load.memsz, page_size) - vaddr
    return _sized(code[0].start, size, files.path(KCORE)), vaddr


def _text_load(loads: tuple[KcoreLoad, ...], stext: int | None) -> KcoreLoad | None:
    """Return the PT_LOAD with ``_stext``, else the one inside the kernel's own window."""
    for load in loads:
        if stext is not None and load.vaddr <= stext < load.vaddr + load.memsz:
            return load
    end = _START_KERNEL_MAP + _KERNEL_IMAGE_SIZE
    for load in loads:
        if load.vaddr >= _START_KERNEL_MAP and load.vaddr + load.memsz <= end:
            return load
    return None


def _read_symbol(files: MachineFiles, symbol: bytes) -> int | None:
    """Return a symbol's virtual address; the zero that kptr_restrict shows is none."""
    ending = re.compile(rb" " + re.escape(symbol) + rb"\s*$")
    lines = files.lines(KALLSYMS, lambda line: ending.search(line) is not None, 1)
    if not lines:
        return None
    return parse_hexadecimal(lines[0].split()[0], files.path(KALLSYMS)) or None


def _read_crash_notes(files: MachineFiles) -> tuple[tuple[int, Range], ...]:
    """Return (cpu, note buffer) by ascending CPU; a CPU without the file has none."""
    matches = (re.fullmatch(r"cpu(\d+)", name) for name in files.names(CPUS, _PURPOSE))
    notes = []
    for cpu in sorted(int(match[1]) for match in matches if match):
        start = files.hexadecimal(f"{CPUS}/cpu{cpu}/crash_notes", _PURPOSE)
        if start is not None:
            size = files.decimal(f"{CPUS}/cpu{cpu}/crash_notes_size", _PURPOSE)
            where = files.path(f"{CPUS}/cpu{cpu}/crash_notes")
            notes.append((cpu, _sized(start, _NOTE_SIZE if size is None else size, where)))
    return tuple(notes)


def _read_vmcoreinfo(files: MachineFiles) -> Range | None:
    """Read address and size, both hexadecimal: Linux kernel/ksysfs.c, "vmcoreinfo_show"."""
    text = files.read_text(VMCOREINFO, _PURPOSE)
    if text is None:
        return None
    fields = text.split()
    if len(fields) != 2:
        raise MachineError(f"{files.path(VMCOREINFO)}: address and size are needed: {text!r}")
    start, size = (parse_hexadecimal(field, files.path(VMCOREINFO)) for field in fields)
    return _sized(start, size, files.path(VMCOREINFO))


def _sized(start: int, size: int, where: str) -> Range:
    """Make the range of ``size`` bytes, of which none may lie beyond 64 bits."""
    found = Range.fitting(start, size)
    if found is None:
        raise MachineError(f"{where}: {counted(size, 'byte')} at {start:#x} reach beyond 64 bits")
    return found
