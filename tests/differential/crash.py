"""What either tool has to make of a crash load: core header, command line, memory map.

A second opinion, from /proc/iomem and the documented rules, without pykexec's code. What
pykexec does on purpose in another way stands in :data:`DIFFERENCES`; anything else that
differs fails the comparison. docs/compatibility.md explains each title to users.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tests.differential import differences
from tests.differential.decode import Handover
from tests.differential.differences import Entry, Expected
from tests.differential.model import PAGE, Machine, Span, joined, subtract
from tests.differential.sandbox import CapturedCall, CapturedSegment

KIB = 1 << 10
LOW_END = 640 * KIB
SMALLEST_OF_C = 16 * KIB
"""Bytes that the C tool gives the core header at least."""

_NOTE, _LOAD = 4, 1
_ET_CORE = 4
_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_EHDR_32 = struct.Struct("<16sHHIIIIIHHHHHH")
_PHDR_32 = struct.Struct("<8I")
_IDENT_32 = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
_IDENT = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
_KPF_RESERVED = 1 << 32
_RAM = 1
_IOMEM_KINDS = {
    "reserved": 2,
    "Reserved": 2,
    "ACPI Tables": 3,
    "ACPI Non-volatile Storage": 4,
    "Persistent Memory": 7,
    "Persistent Memory (legacy)": 12,
}
_MEMMAP_SIGNS = {1: "@", 3: "#", 4: "#", 12: "!"}
_SMALLEST_WORD = 100 * KIB
"""RAM below this, such as the rest of the backup's last page, has no word of the C tool's."""


@dataclass(frozen=True, slots=True)
class Header:
    """A program header of a core header; sizes in bytes."""

    kind: int
    flags: int
    offset: int
    vaddr: int
    paddr: int
    filesz: int
    memsz: int
    align: int


def core_headers(segment: CapturedSegment, machine: int = 62) -> tuple[Header, ...]:
    """Decode a core header for an ELF ``machine``; raises ValueError when it is an unusual one."""
    if segment.data[4:5] == b"\1":
        return _narrow_headers(segment, machine)
    fields = _EHDR.unpack_from(segment.data)
    count = fields[10]
    expected = (_IDENT, _ET_CORE, machine, 1, 0, _EHDR.size, 0, 0, _EHDR.size, _PHDR.size, count)
    end = _EHDR.size + count * _PHDR.size
    if fields != (*expected, 0, 0, 0) or any(segment.data[end:]):
        raise ValueError(f"an unexpected ELF header: {fields}")
    return tuple(Header(*item) for item in _PHDR.iter_unpack(segment.data[_EHDR.size : end]))


def _narrow_headers(segment: CapturedSegment, machine: int) -> tuple[Header, ...]:
    """Decode a core header of 32 bits, as of an ELF file of that class."""
    fields = _EHDR_32.unpack_from(segment.data)
    count = fields[10]
    expected = (_IDENT_32, _ET_CORE, machine, 1, 0, _EHDR_32.size, 0, 0)
    end = _EHDR_32.size + count * _PHDR_32.size
    if fields != (*expected, _EHDR_32.size, _PHDR_32.size, count, 0, 0, 0) or any(
        segment.data[end:]
    ):
        raise ValueError(f"an unexpected ELF header: {fields}")
    return tuple(
        Header(kind, flags, offset, vaddr, paddr, filesz, memsz, align)
        for kind, offset, vaddr, paddr, filesz, memsz, flags, align in _PHDR_32.iter_unpack(
            segment.data[_EHDR_32.size : end]
        )
    )


def core_segments(call: CapturedCall) -> dict[str, CapturedSegment]:
    """Find the core header, and the backup by the core header's mention of it."""
    cores = [s for s in call.segments if s.data[:16] == _IDENT and s.data[16] == _ET_CORE]
    if len(cores) != 1:
        raise ValueError(f"{len(cores)} core headers")
    found = {"elfcorehdr": cores[0]}
    moved = {h.offset for h in core_headers(cores[0]) if h.offset != h.paddr}
    for segment in call.segments:
        if segment.mem in moved:
            found["backup"] = segment
    if len(found) != 1 + len(moved):
        raise ValueError(f"a program header leads nowhere: {sorted(map(hex, moved))}")
    return found


def regions(machine: Machine) -> list[Span]:
    """Return the reservations for a crash kernel; the last is the one to load into."""
    return sorted(span for _, span, name in machine.iomem if name == "Crash kernel")


def low_ram(machine: Machine) -> Span:
    """Return the RAM below 640 KiB that a capture kernel uses."""
    ram = [span for _, span, name in machine.iomem if "System RAM" in name]
    return next(span for span in sorted(ram) if span[1] <= LOW_END)


def keeps_nothing_low(machine: Machine) -> bool:
    """Tell whether each page of low RAM is reserved, by /proc/kpageflags."""
    file = machine.path / "proc/kpageflags"
    if not file.exists():
        return False
    flags = [word for (word,) in struct.iter_unpack("<Q", file.read_bytes())]
    start, end = low_ram(machine)
    return all(flags[page] & _KPF_RESERVED for page in range(-(-start // PAGE), end // PAGE))


@dataclass(frozen=True, slots=True)
class Case:
    """One crash load: what was asked for, and where either tool put what it is about."""

    load: differences.Case
    memmap: bool
    """--pass-memmap-cmdline."""
    theirs: Handover
    ours: Handover

    @property
    def machine(self) -> Machine:
        """The machine."""
        return self.load.machine


def _own_ram(case: Case, hidden: Sequence[Span]) -> list[Entry]:
    """Return the capture kernel's RAM: low memory and the reservations, less ``hidden``."""
    spans = subtract([low_ram(case.machine), *regions(case.machine)], hidden)
    return [(start, end, _RAM) for start, end in spans]


def map_of_c(case: Case) -> list[Entry]:
    """Return the C tool's map: /proc/iomem, nested lines too, exact to the KiB."""
    start, end = low_ram(case.machine)
    header, backup = (case.theirs.segments[name] for name in ("elfcorehdr", "backup"))
    size = -(-(end - start) // KIB) * KIB
    hidden = [(header.mem, header.mem + header.memsz), (backup.mem, backup.mem + size)]
    kept = [
        (*span, _IOMEM_KINDS[name]) for _, span, name in case.machine.iomem if name in _IOMEM_KINDS
    ]
    return sorted([*kept, *_own_ram(case, hidden)])


def map_of_ours(case: Case) -> list[Entry]:
    """Return pykexec's map: the firmware's but for RAM, exact to the page."""
    names = ("elfcorehdr", "backup")
    segments = [case.ours.segments[name] for name in names if name in case.ours.segments]
    hidden = [(segment.mem, segment.mem + segment.memsz) for segment in segments]
    kept = [(*span, kind) for span, kind in differences.numbered(case.machine) if kind != _RAM]
    return differences.join(sorted([*kept, *_own_ram(case, hidden)]))


def _memory_map(case: Case) -> Expected:
    if not case.memmap:
        return differences.told_map(map_of_c(case), map_of_ours(case))
    maps = differences.e820_of_c(case.load), differences.e820_of_ours(case.load)
    return {**differences.told_map(*maps), **differences.told_size(*maps)}


def _memmap_words(entries: Sequence[Entry], smallest: int = 0) -> list[str]:
    words = ["memmap=exactmap"]
    for start, end, kind in entries:
        sign = _MEMMAP_SIGNS.get(kind)
        if sign and (kind != _RAM or end - start >= smallest):
            words.append(f"memmap={-(-(end - start) // KIB)}K{sign}{start // KIB}K")
    return words


def _words(case: Case, handover: Handover, *, efi: bool, words: Sequence[str]) -> str:
    """Return what is appended to a capture kernel's command line."""
    rsdp = case.load.running["acpi_rsdp_addr"]
    start = [] if efi or not rsdp else [f"acpi_rsdp={rsdp:#x}"]
    header = handover.segments["elfcorehdr"].mem // KIB
    return " ".join([*start, f"elfcorehdr={header}K", *words])


def _command_line(case: Case) -> Expected:
    load = case.load
    theirs, ours = load.append, load.append
    if load.reuse_cmdline:
        theirs, ours = differences.reused(load.machine.cmdline, load.append, crash=True)
    words_of_c = _memmap_words(map_of_c(case), _SMALLEST_WORD) if case.memmap else []
    words_of_ours = _memmap_words(map_of_ours(case)) if case.memmap else []
    ends = (
        _words(case, case.theirs, efi=differences.efi_of_c(load), words=words_of_c),
        _words(case, case.ours, efi=differences.efi_of_ours(load), words=words_of_ours),
    )
    return {"cmdline": (f"{theirs} {ends[0]}".encode(), f"{ours} {ends[1]}".encode())}


MAP = "A capture kernel is told of the firmware's map"
WORDS = "The words for a capture kernel say where things are"
JOINED = "Neighbouring memory is one program header"
BACKUP = "Low memory is copied away only where the kernel uses it"
TOO_LARGE = "A reused command line loses what takes a capture kernel's memory"

FIELDS = ((MAP, _memory_map), (WORDS, _command_line))
DIFFERENCES = (MAP, WORDS, JOINED, BACKUP, TOO_LARGE)


def loses_words(case: Case) -> bool:
    """Tell whether the load leaves out what the C tool hands on, but for crashkernel=."""
    gone = differences.NOT_FOR_CRASHES
    words = case.load.machine.cmdline.split() if case.load.reuse_cmdline else []
    return any(word.partition("=")[0] in gone for word in words)


def expected_fields(case: Case) -> Expected:
    """Return the differences in what is told that must occur in ``case``."""
    told = [difference.expect(case.load) for difference in differences.OF_EVERY_LOAD]
    told += [expect(case) for _, expect in FIELDS]
    expected: Expected = {}
    for item in told:
        assert not expected.keys() & item.keys(), "two entries of the list are about one field"
        expected |= item
    return {name: pair for name, pair in expected.items() if pair[0] != pair[1]}


def expected_headers(case: Case) -> tuple[list[Header], set[str]]:
    """Return pykexec's program headers, made of the C tool's, and the differences applied."""
    theirs = core_headers(case.theirs.segments["elfcorehdr"])
    backup = case.ours.segments.get("backup")
    applied: set[str] = set()
    loads: list[Header] = []
    memory = [h for h in theirs if h.kind == _LOAD][1:]  # the first is the kernel's text
    for header in sorted(memory, key=lambda item: item.paddr):
        last = loads[-1] if loads else None
        if header.offset != header.paddr:
            offset = header.paddr if backup is None else backup.mem
            applied |= {BACKUP} if backup is None else set()
            loads.append(_changed(header, offset, header.memsz))
        elif last and _goes_on(last, header):
            loads[-1] = _changed(last, last.offset, last.memsz + header.memsz)
            applied.add(JOINED)
        else:
            loads.append(header)
    return [*theirs[: len(theirs) - len(memory)], *loads], applied


def _goes_on(last: Header, header: Header) -> bool:
    """Tell whether ``header`` begins where ``last`` ends, in memory and in the dump."""
    return last.paddr + last.memsz == header.paddr and last.offset + last.memsz == header.offset


def _changed(header: Header, offset: int, size: int) -> Header:
    return Header(
        header.kind, header.flags, offset, header.vaddr, header.paddr, size, size, header.align
    )


def ram_of_dump(machine: Machine) -> list[Span]:
    """Return the memory that belongs into the dump: all RAM but reservations and GART."""
    ram = [span for _, span, name in machine.iomem if "System RAM" in name]
    return subtract(
        joined(ram), [*regions(machine), *(s for _, s, name in machine.iomem if name == "GART")]
    )
