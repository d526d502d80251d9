"""/proc/kcore and /proc/kallsyms: where the running kernel is mapped.

Read for a crash kernel only. Linux fs/proc/kcore.c.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pykexec.machine.description import KcoreLoad
from pykexec.machine.files import PRIVILEGE_HINT, parse_hexadecimal
from pykexec.values.elf_headers import ELF64, PT_LOAD, PT_NOTE, class_of
from pykexec.values.errors import MachineError
from pykexec.values.ranges import Range
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pykexec.machine.files import MachineFiles
    from pykexec.values.elf_headers import ElfClass, ProgramHeader

KCORE = "proc/kcore"
KALLSYMS = "proc/kallsyms"

PURPOSE = "the ELF core header of a crash kernel"
_NOTES_MAX = 64 << 10
"""Bytes; the notes hold a task's registers and some 4 KiB of VMCOREINFO."""
_FILE_OFFSET_MAX = (1 << 63) - 1


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


def read_vmcoreinfo_numbers(files: MachineFiles, wanted: tuple[str, ...]) -> dict[str, str]:
    """Read the lines ``wanted``, if any, from /proc/kcore's VMCOREINFO note.

    Empty when the kernel has no such file or no such note (before v4.19).
    """
    if not wanted:
        return {}
    with _open_kcore(files) as kcore:
        for header in kcore.headers():
            if header.type == PT_NOTE:
                note = kcore.read(header.offset, min(header.filesz, _NOTES_MAX))
                return _numbers_in(note, wanted)
    return {}


@contextmanager
def physical_reader(files: MachineFiles) -> Iterator[Callable[[int, int], bytes]]:
    """Give a function that reads so many bytes of RAM from a physical address on.

    Where the program headers say physical addresses (since v4.18). It and this raise
    :class:`MachineError` for what /proc/kcore does not have.
    """
    with _open_kcore(files) as kcore:
        loads = [header for header in kcore.headers() if header.type == PT_LOAD]

        def read(address: int, size: int) -> bytes:
            for load in loads:
                if load.paddr <= address and address + size <= load.paddr + load.memsz:
                    data = kcore.read(load.offset + address - load.paddr, size)
                    if len(data) == size:
                        return data
            raise MachineError(f"{files.path(KCORE)} has no {size} bytes at {address:#x}")

        yield read


def _numbers_in(notes: bytes, wanted: tuple[str, ...]) -> dict[str, str]:
    """Return the wanted lines of the VMCOREINFO note: name, type, then text."""
    start = notes.find(b"VMCOREINFO\0")
    if start < 0:
        return {}
    lines = notes[start:].split(b"\0", 2)[-1].lstrip(b"\0").split(b"\0", 1)[0].splitlines()
    pairs = (line.decode("ascii", "replace").partition("=") for line in lines)
    return {name: value for name, _, value in pairs if name in wanted}


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
            f"cannot read {where}, needed for {PURPOSE}: {error.strerror}",
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
        raise MachineError(f"{where} is not an ELF file: {data[:6].hex()}")
    header = elf.unpack_header(data)
    if header.phentsize != elf.phdr.size:
        raise MachineError(
            f"{where}: program headers of {counted(header.phentsize, 'byte')}, not {elf.phdr.size}"
        )
    if header.phoff > _FILE_OFFSET_MAX:
        raise MachineError(f"{where}: program headers at {header.phoff:#x}, beyond any file's end")
    return elf, header.phoff, header.phnum


def read_symbol(files: MachineFiles, symbol: bytes) -> int | None:
    """Return a symbol's virtual address; the zero that kptr_restrict shows is none."""
    ending = re.compile(rb" " + re.escape(symbol) + rb"\s*$")
    lines = files.lines(KALLSYMS, lambda line: ending.search(line) is not None, 1)
    if not lines:
        return None
    return parse_hexadecimal(lines[0].split()[0], files.path(KALLSYMS)) or None


def sized_range(start: int, size: int, where: str) -> Range:
    """Make the range of ``size`` bytes, of which none may lie beyond 64 bits."""
    found = Range.fitting(start, size)
    if found is None:
        raise MachineError(f"{where}: {counted(size, 'byte')} at {start:#x} reach beyond 64 bits")
    return found
