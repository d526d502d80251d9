"""The memory of a crashed kernel: ELF cores, VMCOREINFO and virtual addresses. Pure.

Reads through a :class:`Reader` and never more than is asked for, so that a core of any size
can be looked at from a small crash kernel. ELF headers are decoded with ``struct``: a core is
three kinds of records, pyelftools costs 40 ms in a place where a panic waits, and it raises
many kinds of errors on a damaged file. Dumps of makedumpfile are in ``makedumpfile.py``.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pykexec.crash.places import Segment, SegmentPlaces
from pykexec.crash.work import Work, size_of
from pykexec.errors import EXIT_FAILURE, PykexecError
from pykexec.values.elf_headers import EM_386, EM_AARCH64, EM_X86_64, PT_NOTE, elf_class
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

EXIT_CANNOT_OPEN = 2
EXIT_NO_ELF = 4
EXIT_ELF_CLASS = 6
EXIT_ELF_BYTE_ORDER = 7
EXIT_EHDR = 10
EXIT_EHDR_VERSION = 11
EXIT_PHENTSIZE = 12
EXIT_PHDR = 16
EXIT_NOTE_SIZE = 20
EXIT_NOTE_READ = 22
EXIT_NO_ADDRESS = 30
EXIT_READ = 65
EXIT_CYCLE = 68

MAX_NOTE_BYTES = 64 << 20
"""More than the notes of any machine: some 400 bytes for each CPU."""
MAX_NOTES = 1 << 18
MAX_PHDRS = 1 << 20
MAX_INFO_BYTES = 1 << 20
PN_XNUM = 0xFFFF
"""The number of program headers is in the first section header: elf(5), "e_phnum"."""


class VmcoreError(PykexecError):
    """A core cannot be read; the exit code is what vmcore-dmesg(8) gives for the cause."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILURE, hint: str | None = None):
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


class Reader(Protocol):
    """A file, or what a container format makes look like one."""

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes at ``offset``; less means the file ends there."""


def read_exactly(reader: Reader, offset: int, size: int, what: str, code: int) -> bytes:
    """Return ``size`` bytes at ``offset``; raises :class:`VmcoreError` when there are less."""
    data = reader.read(offset, size)
    if len(data) != size:
        raise VmcoreError(
            f"cannot read {what}: {counted(size, 'byte')} at {offset:#x} needed, {len(data)} there",
            code,
        )
    return data


class VmcoreInfo:
    """What the kernel says of itself: Linux Documentation/admin-guide/kdump/vmcoreinfo.rst."""

    def __init__(self, text: bytes) -> None:
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
        word = 8 if self._wide and machine != EM_386 else 4
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
                    return VmcoreInfo(desc)
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


_NOT_ZERO = re.compile(rb"[^\0]")
_PAGE = 4096
"""Bytes for which any translation goes on, from a multiple of it."""
_PAGES_KNOWN = 1024


class KernelMemory:
    """The crashed kernel's memory by virtual address.

    Asked in this order: the program headers, the linear maps whose offsets VMCOREINFO tells,
    the page tables of x86_64.
    """

    def __init__(
        self,
        layout: Layout,
        info: VmcoreInfo,
        physical: PhysicalMemory,
        elf: ElfCore | None = None,
        *,
        work: Work,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self.layout = layout
        self.info = info
        self._physical = physical
        self._elf = elf
        self._pages: dict[int, int] = {}
        self.work = work
        self.warnings = warnings
        """What is wrong with the dump that did not keep it from being read."""

    def read(self, vaddr: int, size: int) -> bytes:
        """Return ``size`` bytes at ``vaddr``; raises :class:`VmcoreError` (exit code 30)."""
        self.work.count(size)
        data = bytearray()
        while len(data) < size:
            at, left = vaddr + len(data), size - len(data)
            piece = self._elf.read_virtual(at, left) if self._elf else b""
            if not piece:
                paddr, run = self._page(at)
                piece = self._physical.read_physical(paddr, min(run, left))
            data += piece
        return bytes(data)

    def unsigned(self, vaddr: int, size: int) -> int:
        """Return the unsigned integer of ``size`` bytes at ``vaddr``."""
        return self.layout.unsigned(self.read(vaddr, size))

    def pointer(self, vaddr: int) -> int:
        """Return the pointer, or unsigned long, at ``vaddr``."""
        return self.unsigned(vaddr, self.layout.word)

    def _page(self, vaddr: int) -> tuple[int, int]:
        """Translate, with a memory for the pages met last: walks cost most of the time."""
        number, within = divmod(vaddr, _PAGE)
        start = self._pages.get(number)
        if start is None:
            paddr, _ = self._translate(vaddr)
            if len(self._pages) >= _PAGES_KNOWN:
                self._pages.clear()
            start = self._pages[number] = paddr - within
        return start + within, _PAGE - within

    def _translate(self, vaddr: int) -> tuple[int, int]:
        """Return the physical address, and for how many bytes it goes on like that."""
        if not 0 <= vaddr < 1 << 64:
            raise VmcoreError(f"{vaddr:#x} is no address", EXIT_NO_ADDRESS)
        if self.layout.machine == EM_X86_64:
            return x86_64_translate(vaddr, self.info, self._physical)
        if self.layout.machine == EM_AARCH64:
            return arm64_translate(vaddr, self.info)
        page_offset = self.info.number("PAGE_OFFSET")
        phys_offset = self.info.number("PHYS_OFFSET")
        if phys_offset is None:
            phys_offset = self.info.number("phys_ram_base")
        if page_offset is None or phys_offset is None or vaddr < page_offset & (1 << 64) - 1:
            raise VmcoreError(f"no program header covers {vaddr:#x}", EXIT_NO_ADDRESS)
        paddr = vaddr - (page_offset & (1 << 64) - 1) + phys_offset
        if paddr < 0:
            raise VmcoreError(f"{vaddr:#x} is below the linear map", EXIT_NO_ADDRESS)
        return paddr, 4096


def arm64_translate(vaddr: int, info: VmcoreInfo) -> tuple[int, int]:
    """Undo the two linear maps of arm64: physical address, bytes for which that surely holds.

    Since Linux 5.4 memory is in the lower half of the kernel's addresses, the kernel's image
    in the upper one: Linux Documentation/arch/arm64/memory.rst.
    """
    bits = info.number("VA_BITS")
    voffset, phys_offset = info.number("kimage_voffset"), info.number("PHYS_OFFSET")
    if bits is None or voffset is None or phys_offset is None or not 36 <= bits <= 52:
        raise VmcoreError(
            f"nothing covers {vaddr:#x}, and VMCOREINFO does not tell of the linear map",
            EXIT_NO_ADDRESS,
        )
    page_offset = (1 << 64) - (1 << bits)
    if vaddr < page_offset:
        raise VmcoreError(f"{vaddr:#x} is no address of the kernel", EXIT_NO_ADDRESS)
    if vaddr >> bits - 1 & 1:
        return vaddr - voffset & (1 << 64) - 1, 4096
    paddr = vaddr - page_offset + phys_offset
    if paddr < 0:
        raise VmcoreError(f"{vaddr:#x} is below the linear map", EXIT_NO_ADDRESS)
    return paddr, 4096


START_KERNEL_MAP = 0xFFFFFFFF80000000
"""Where the kernel's image is mapped: Linux Documentation/arch/x86/x86_64/mm.rst."""
_PAGE_ADDRESS = 0x000FFFFFFFFFF000
_PAGE_PRESENT = 1
_PAGE_PSE = 1 << 7


def x86_64_translate(vaddr: int, info: VmcoreInfo, physical: PhysicalMemory) -> tuple[int, int]:
    """Walk the kernel's page tables: physical address, bytes left in the page.

    Intel SDM volume 3, 5.5 "4-level paging and 5-level paging". The top table lies in the
    kernel's image, whose place NUMBER(phys_base) tells.
    """
    top = info.optional_symbol("init_top_pgt")
    if top is None:
        top = info.optional_symbol("swapper_pg_dir")
    phys_base = info.number("phys_base")
    if top is None or phys_base is None or top < START_KERNEL_MAP:
        raise VmcoreError(
            f"nothing covers {vaddr:#x}, and VMCOREINFO does not tell where the page tables are",
            EXIT_NO_ADDRESS,
        )
    table = top - START_KERNEL_MAP + phys_base
    if table < 0:
        raise VmcoreError(f"the page tables cannot be at {table:#x}", EXIT_NO_ADDRESS)
    mask = _PAGE_ADDRESS & ~(info.number("sme_mask") or 0)
    levels = 5 if info.number("pgtable_l5_enabled") else 4
    for shift in range(12 + 9 * (levels - 1), 11, -9):
        entry_addr = table + (vaddr >> shift & 511) * 8
        entry = int.from_bytes(physical.read_physical(entry_addr, 8), "little")
        if not entry & _PAGE_PRESENT:
            break
        table = entry & mask
        if shift == 12 or (entry & _PAGE_PSE and shift in (21, 30)):
            within = (1 << shift) - 1
            return (table & ~within) + (vaddr & within), (1 << shift) - (vaddr & within)
    raise VmcoreError(f"the crashed kernel has no page at {vaddr:#x}", EXIT_NO_ADDRESS)


def open_core(reader: Reader, *others: Reader) -> KernelMemory:
    """Return the memory in a core or dump of any known kind; raises :class:`VmcoreError`.

    ``others`` are further parts of a dump that ``makedumpfile --split`` wrote.
    """
    from pykexec.crash.makedumpfile import FlattenedFile, KdumpFile, SplitDump

    work = Work(sum(map(size_of, (reader, *others))))
    warnings: list[str] = []
    files: list[Reader] = []
    for file in (reader, *others):
        if FlattenedFile.probe(file):
            flattened = FlattenedFile(file)
            warnings += flattened.warnings
            files.append(flattened)
        else:
            files.append(file)
    dumps = [KdumpFile(file, work) for file in files if KdumpFile.probe(file)]
    if others:
        if len(dumps) < len(files):
            raise VmcoreError(
                f"of {len(files)} files {len(files) - len(dumps)} are no compressed dumps: only "
                "the parts of a split dump are read together",
                EXIT_NO_ELF,
            )
        split = SplitDump(dumps)
        warnings += (text for dump in dumps for text in dump.warnings)
        return KernelMemory(
            split.layout, split.vmcoreinfo(), split, work=work, warnings=tuple(warnings)
        )
    if dumps:
        dump = dumps[0]
        warnings += dump.warnings
        return KernelMemory(
            dump.layout, dump.vmcoreinfo(), dump, work=work, warnings=tuple(warnings)
        )
    core = ElfCore(files[0], work.file_size)
    return KernelMemory(
        core.layout, core.vmcoreinfo(), core, core, work=work, warnings=tuple(warnings)
    )
