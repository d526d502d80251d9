"""ELF cores and VMCOREINFO. Pure.

Reads through a :class:`Reader` and never more than is asked for, so that a core of any size
can be looked at from a small crash kernel. ELF headers are decoded with ``struct``: a core is
three kinds of records, pyelftools costs 40 ms in a place where a panic waits, and it raises
many kinds of errors on a damaged file.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Protocol

from pykexec.architectures import word_bits_of
from pykexec.crash.core_reading import (
    EXIT_EHDR,
    EXIT_EHDR_VERSION,
    EXIT_ELF_BYTE_ORDER,
    EXIT_ELF_CLASS,
    EXIT_NO_ADDRESS,
    EXIT_NO_ELF,
    EXIT_NOTE_READ,
    EXIT_NOTE_SIZE,
    EXIT_PHDR,
    EXIT_PHENTSIZE,
    EXIT_READ,
    MAX_INFO_BYTES,
    MAX_NOTE_BYTES,
    MAX_NOTES,
    MAX_PHDRS,
    PN_XNUM,
    Reader,
    VmcoreError,
    read_exactly,
)
from pykexec.crash.places import Segment, SegmentPlaces
from pykexec.crash.work import size_of
from pykexec.values.data_classes import dataclass
from pykexec.values.elf_headers import PT_NOTE, elf_class
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NOT_ZERO = re.compile(rb"[^\0]")
_XEN_CRASH_REGS = 0x1000002
"""XEN_ELFNOTE_CRASH_REGS: xen/include/public/elfnote.h."""
_XEN_CORE = struct.Struct("<QQQQ")
"""crash_xen_core_t of x86_64, xen/include/asm-x86/x86_64/elf.h: cr0, cr2, cr3, cr4."""


class VmcoreInfo:
    """What the kernel says of itself: Linux Documentation/admin-guide/kdump/vmcoreinfo.rst."""

    def __init__(self, text: bytes, top_tables: Sequence[int] = ()) -> None:
        self.top_tables = tuple(dict.fromkeys(top_tables))
        """Machine addresses of the page tables that the processors used, where Xen has dumped."""
        lines = (line.partition(b"=") for line in text.rstrip(b"\0").split(b"\n"))
        self._values = {
            key.decode("latin-1"): value.decode("latin-1") for key, equals, value in lines if equals
        }

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str) -> str:
        """Return a value as it stands there; "" when missing."""
        return self._values.get(key, "")

    def symbol(self, name: str, code: int) -> int:
        """Return the virtual address of a symbol; ``code`` is the exit code when missing."""
        return self._required(f"SYMBOL({name})", 16, code)

    def size(self, name: str, code: int) -> int:
        """Return the size of a type in bytes."""
        return self._required(f"SIZE({name})", 10, code)

    def offset(self, name: str, code: int) -> int:
        """Return the offset of ``type.member`` in bytes."""
        return self._required(f"OFFSET({name})", 10, code)

    def number(self, name: str) -> int | None:
        """Return a NUMBER, decimal or 0x…, possibly negative; None when missing."""
        return self._parse(f"NUMBER({name})", 0)

    def optional_symbol(self, name: str) -> int | None:
        """Return the virtual address of a symbol; None when missing."""
        return self._parse(f"SYMBOL({name})", 16)

    def optional_offset(self, name: str) -> int | None:
        """Return the offset of ``type.member``; None when missing."""
        return self._parse(f"OFFSET({name})", 10)

    def _required(self, key: str, base: int, code: int) -> int:
        value = self._parse(key, base)
        if value is None:
            raise VmcoreError(f"VMCOREINFO has no {key}, which the log's layout depends on", code)
        if not 0 <= value < 1 << 64 or (base == 10 and value > MAX_INFO_BYTES):
            raise VmcoreError(f"VMCOREINFO: {key}={value:#x} is out of range", code)
        return value

    def _parse(self, key: str, base: int) -> int | None:
        text = self._values.get(key)
        if text is None:
            return None
        # int() alone would also take underscores, other scripts' digits and huge numbers.
        if re.fullmatch(r"-?(0x)?[0-9a-fA-F]{1,20}", text.strip()):
            try:
                return int(text, base)
            except ValueError:
                pass
        raise VmcoreError(f"VMCOREINFO: {key}={text[:40]!r} is no number", EXIT_NOTE_READ)


class PhysicalMemory(Protocol):
    """Memory by physical address."""

    def read_physical(self, paddr: int, size: int) -> bytes:
        """Return ``size`` bytes; raises :class:`VmcoreError` for what the dump has not."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the crashed kernel stores numbers."""

    byte_order: str
    """``<`` or ``>``, as in ``struct``."""
    word: int
    """Size of a ``long`` and of a pointer in bytes, 4 or 8."""
    machine: int
    """ELF ``e_machine``."""

    def unsigned(self, data: bytes) -> int:
        """Decode an unsigned integer of any size."""
        return int.from_bytes(data, "little" if self.byte_order == "<" else "big")


class ElfCore:
    """An ELF core: /proc/vmcore, or a copy of it."""

    def __init__(self, reader: Reader, file_size: int | None = None) -> None:
        """Read the headers; raises :class:`VmcoreError`.

        ``file_size`` is that of the file itself where ``reader`` undoes a container.
        """
        self._reader = reader
        self._file_size = size_of(reader) if file_size is None else file_size
        ident = reader.read(0, 16)
        if len(ident) < 16:
            raise VmcoreError(f"not a core: only {counted(len(ident), 'byte')}", 3)
        if ident[:4] != b"\x7fELF":
            raise VmcoreError("not a core: neither ELF nor a dump of makedumpfile", EXIT_NO_ELF)
        if ident[6] != 1:
            raise VmcoreError(f"ELF version {ident[6]}, only 1 is known", 5)
        if ident[4] not in (1, 2):
            raise VmcoreError(f"ELF class {ident[4]} is neither 32 nor 64 bits", EXIT_ELF_CLASS)
        if ident[5] not in (1, 2):
            raise VmcoreError(f"ELF byte order {ident[5]} is unknown", EXIT_ELF_BYTE_ORDER)
        self._wide = ident[4] == 2
        self._order = "<" if ident[5] == 1 else ">"
        machine, headers = self._headers()
        # An i386 kernel with PAE writes ELF64 cores, its pointers have 32 bits all the same.
        word = 8 if self._wide and word_bits_of(machine) == 64 else 4
        self.layout = Layout(self._order, word, machine)
        self.segments = tuple(segment for kind, segment in headers if kind != PT_NOTE)
        self._notes = tuple(segment for kind, segment in headers if kind == PT_NOTE)
        self._virtual = SegmentPlaces((segment.vaddr, segment) for segment in self.segments)
        # The kernel's text has a header of its own beside that of the direct map.
        self._physical = SegmentPlaces((segment.paddr, segment) for segment in self.segments)

    def _headers(self) -> tuple[int, list[tuple[int, Segment]]]:
        elf = elf_class(64 if self._wide else 32, self._order)
        data = read_exactly(self._reader, 0, elf.ehdr.size, "the ELF header", EXIT_EHDR)
        header, phdr_size = elf.unpack_header(data), elf.phdr.size
        if header.version != 1:
            raise VmcoreError(
                f"ELF header version {header.version}, only 1 is known", EXIT_EHDR_VERSION
            )
        if header.phentsize != phdr_size:
            raise VmcoreError(
                f"e_phentsize is {header.phentsize}, not {counted(phdr_size, 'byte')}",
                EXIT_PHENTSIZE,
            )
        phnum = header.phnum
        if phnum == PN_XNUM:
            info = header.shoff + (44 if self._wide else 28)
            phnum = struct.unpack(
                self._order + "I",
                read_exactly(self._reader, info, 4, "the first section header", EXIT_PHDR),
            )[0]
        most = min(MAX_PHDRS, self._file_size // phdr_size)
        if phnum > most:
            raise VmcoreError(
                f"{phnum} program headers, more than {most}, which is as much as a file of "
                f"{counted(self._file_size, 'byte')} has room for and is taken",
                EXIT_PHDR,
            )
        table = read_exactly(
            self._reader, header.phoff, phnum * phdr_size, "the program headers", EXIT_PHDR
        )
        return header.machine, [
            (item.type, Segment(item.offset, item.vaddr, item.paddr, item.filesz))
            for item in elf.unpack(table)
        ]

    def vmcoreinfo(self) -> VmcoreInfo:
        """Return the VMCOREINFO note; raises :class:`VmcoreError` when there is none."""
        left, count = MAX_NOTE_BYTES, 0
        # Those of processors stand before it.
        top_tables: list[int] = []
        for segment in self._notes:
            left -= segment.filesz
            if left < 0:
                raise VmcoreError(
                    f"notes of {counted(MAX_NOTE_BYTES - left, 'byte')}, more than "
                    f"{MAX_NOTE_BYTES}",
                    EXIT_NOTE_SIZE,
                )
            notes = read_exactly(
                self._reader, segment.offset, segment.filesz, "the notes", EXIT_NOTE_READ
            )
            for name, kind, desc in _notes(notes, self._order):
                if name == b"VMCOREINFO" and kind == 0:
                    return VmcoreInfo(desc, top_tables)
                if (name, kind, len(desc)) == (b"Xen", _XEN_CRASH_REGS, _XEN_CORE.size):
                    top_tables.append(_XEN_CORE.unpack(desc)[2] & ~0xFFF)
                count += 1
                if count > MAX_NOTES:
                    raise VmcoreError(f"more than {MAX_NOTES} notes", EXIT_NOTE_SIZE)
        raise VmcoreError(
            "no VMCOREINFO note in the core",
            EXIT_NOTE_READ,
            hint="was the dump taken by kdump, from a kernel with CONFIG_VMCORE_INFO?",
        )

    def read_virtual(self, vaddr: int, size: int) -> bytes:
        """Return what the program headers have from ``vaddr`` on, up to ``size`` bytes."""
        return self._piece(self._virtual, vaddr, size)

    def read_physical(self, paddr: int, size: int) -> bytes:
        """Return ``size`` bytes of physical memory; raises :class:`VmcoreError`."""
        data = bytearray()
        while len(data) < size:
            piece = self._piece(self._physical, paddr + len(data), size - len(data))
            if not piece:
                at = paddr + len(data)
                raise VmcoreError(f"physical address {at:#x} is not in the core", EXIT_NO_ADDRESS)
            data += piece
        return bytes(data)

    def _piece(self, places: SegmentPlaces, address: int, size: int) -> bytes:
        offset, left = places.find(address)
        if not left:
            return b""
        return read_exactly(self._reader, offset, min(size, left), "memory", EXIT_READ)


def _notes(data: bytes, order: str) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield (name without NULs, type, description); ends quietly at a cut note."""
    at = 0
    while (found := _NOT_ZERO.search(data, at)) is not None:
        # Zeros, of which a note may be nothing but, are passed over at once.
        at += (found.start() - at) // 12 * 12
        if at + 12 > len(data):
            return
        namesz, descsz, kind = struct.unpack_from(order + "III", data, at)
        desc = at + 12 + (namesz + 3 & ~3)
        if desc + descsz > len(data):
            return
        yield data[at + 12 : at + 12 + namesz].rstrip(b"\0"), kind, data[desc : desc + descsz]
        at = desc + (descsz + 3 & ~3)
