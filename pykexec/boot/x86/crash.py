"""What a crash load adds on x86: core header, backup of low memory, another memory map. Pure.

Linux Documentation/admin-guide/kdump/kdump.rst. The capture kernel lives in the crash
region and the first 640 KiB; it is told of no other RAM, so that it cannot touch the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.architectures.x86 import I386
from pykexec.boot.core_header import core_header_room
from pykexec.crash.elfcorehdr import build_elfcorehdr, core_headers, elfcorehdr_size, with_copy
from pykexec.formats.bzimage import MIN_PROTOCOL_64BIT
from pykexec.values.data_classes import dataclass
from pykexec.values.elf_headers import ELF32, ELF64
from pykexec.values.errors import ImageError
from pykexec.values.memory import (
    MemoryKind,
    MemoryMap,
    MemoryRegion,
    crash_regions,
    dumped_ram,
)
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import GIB, KIB, align_up

if TYPE_CHECKING:
    from pykexec.formats.bzimage import SetupHeader
    from pykexec.planning.plan_builder import PlanBuilder
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.elf_headers import ElfClass
    from pykexec.values.facts import MachineFacts

LOW_MEMORY = Range(0, 640 * KIB)
"""What the capture kernel's early start uses: trampoline, real-mode code, BIOS data."""

_MOST_GAPS = 2
"""Core header and backup."""
_KEPT_KINDS = tuple(kind for kind in MemoryKind if kind is not MemoryKind.RAM)
_MEMMAP_SIGNS = {
    MemoryKind.RAM: "@",
    MemoryKind.ACPI_TABLES: "#",
    MemoryKind.ACPI_NVS: "#",
    MemoryKind.PRAM: "!",
}
"""Linux Documentation/admin-guide/kernel-parameters.txt, "memmap="."""


@dataclass(frozen=True, slots=True)
class CrashPlan:
    """What a crash load needs beside the segments of every load."""

    low: Range | None
    """RAM below 640 KiB, which the capture kernel uses too."""
    backup: Range | None
    memory_map: MemoryMap
    """What the capture kernel is told about memory."""
    extra_words: bytes
    """What is appended to its command line."""

    @property
    def copy(self) -> tuple[Range, Range] | None:
        """The memory that is copied away and its place, if it is."""
        return (self.low, self.backup) if self.low and self.backup else None


class CrashSegments:
    """Core header and backup: asked for with the other segments, made when those are placed."""

    def __init__(self, facts: MachineFacts, request: LoadRequest, header: SetupHeader) -> None:
        """Decide what there will be; ``header`` is the capture kernel's.

        Raises :class:`ImageError` for a kernel that would not show the dump, and
        :class:`PykexecError` when the running kernel does not tell enough for a core header.
        """
        self._facts = facts
        self._request = request
        ram = dumped_ram(facts.iomem)
        self._ram = ram.minus(facts.crash.unreadable)
        self._low = next((part for part in self._ram if part.end <= LOW_MEMORY.end), None)
        notes = _capture_notes(facts, header, self._ram)
        if self._ram != ram:
            holes = ", ".join(map(str, facts.crash.unreadable))
            notes.append(f"left out of the dump: GART aperture {holes}, reading it would hang")
        low = self._low
        self._backs_up = low is not None and _wants_backup(facts, request, low, notes)
        self._described = core_headers(facts.crash, self._ram)
        self._core_class = _core_class(facts, request, self._ram)
        self.notes = tuple(notes)

    def want(self, builder: PlanBuilder) -> None:
        """Ask for the places of both."""
        if self._low is not None and self._backs_up:
            builder.want(Role.BACKUP, self._low.size, checked=False)
        needed = elfcorehdr_size(len(self._described), self._core_class)
        size = core_header_room(self._facts, self._request, needed)
        builder.want(Role.ELFCOREHDR, size, checked=not self._request.hotplug)

    def finish(self, builder: PlanBuilder) -> CrashPlan:
        """Write the core header, and say what follows from the places."""
        backup = builder.place_if_any(Role.BACKUP)
        elfcorehdr = builder.place_of(Role.ELFCOREHDR)
        builder.fill(Role.ELFCOREHDR, self._core_header(backup))
        hidden = [elfcorehdr, *([backup] if backup else [])]
        return self._told(elfcorehdr, backup, _told_memory(self._facts, self._low, hidden))

    def _core_header(self, backup: Range | None) -> bytes:
        """Build the core header; its size does not depend on where the backup lies."""
        headers = self._described
        if self._low is not None and backup is not None:
            headers = with_copy(headers, self._low, backup.start)
        machine = architecture_of(self._facts.arch).elf_machine
        return build_elfcorehdr(headers, machine, self._core_class)

    def at_most(self) -> CrashPlan:
        """Return a plan whose words and whose map are at least as long as the real one's.

        Each gap in the region adds a range to the map.
        """
        region = crash_regions(self._facts.iomem)[-1]
        behind = Range.sized(region.end + region.size, region.size)
        cut = [MemoryRegion(behind, MemoryKind.RAM, MemoryKind.RAM.value)] * _MOST_GAPS
        longest = MemoryMap((*_told_memory(self._facts, self._low, []), *cut))
        return self._told(behind, None, longest)

    def _told(self, elfcorehdr: Range, backup: Range | None, memory_map: MemoryMap) -> CrashPlan:
        words = [f"elfcorehdr={elfcorehdr.start // KIB}K"]
        if self._request.pass_memmap_cmdline:
            words += _memmap_words(memory_map)
            memory_map = self._facts.memory_map
        return CrashPlan(self._low, backup, memory_map, " ".join(words).encode())


def _capture_notes(facts: MachineFacts, header: SetupHeader, ram: RangeSet) -> list[str]:
    """Refuse a kernel that would not show the running one's memory, and say what others miss.

    Linux fs/proc/vmcore.c takes the core of a kernel of its own architecture, and on i386 also
    of x86_64 (arch/x86/include/asm/kexec.h, "vmcore_elf_check_arch_cross").
    """
    if facts.arch == I386.name and header.wide:
        raise ImageError(
            "the running kernel is one of 32 bits, and a 64-bit capture kernel takes no core of "
            "such a kernel: it would have no /proc/vmcore",
            hint="give a 32-bit capture kernel, such as the running one",
        )
    if header.version >= MIN_PROTOCOL_64BIT and not header.wide and _end(ram) > 4 * GIB:
        # arch/x86/kernel/crash_dump_32.c, "is_crashed_pfn_valid".
        return ["there is memory above 4 GiB, which a 32-bit capture kernel reads only with PAE"]
    return []


def _end(ram: RangeSet) -> int:
    return max((part.end for part in ram), default=0)


def _core_class(facts: MachineFacts, request: LoadRequest, ram: RangeSet) -> ElfClass:
    """Return the class of the core header.

    Where ELF32 can name all the memory of a kernel of 32 bits, it is that: a GDB of 32 bits reads
    no other (Linux Documentation/admin-guide/kdump/kdump.rst, "Notes on loading the dump-capture
    kernel").
    """
    if facts.arch != I386.name:
        return ELF64
    if request.core_bits is not None:
        return ELF32 if request.core_bits == 32 else ELF64
    return ELF32 if _end(ram) <= 4 * GIB else ELF64


def _wants_backup(facts: MachineFacts, request: LoadRequest, low: Range, notes: list[str]) -> bool:
    """Decide whether low memory is copied away, and say why in ``notes``."""
    if facts.crash.memory_encryption:
        notes.append(
            f"{low} is not backed up: with memory encryption (SME) the copy would be unreadable"
        )
        return False
    if request.backup is not None:
        chosen = "backed up" if request.backup else "not backed up"
        notes.append(f"{low} is {chosen}: as asked for")
        return request.backup
    if facts.crash.low_memory_reserved:
        notes.append(f"{low} is not backed up: the running kernel keeps nothing there")
        return False
    known = facts.crash.low_memory_reserved is False
    why = "uses it" if known else "does not say whether it uses it"
    notes.append(f"{low} is backed up: the running kernel {why}")
    return True


def _told_memory(facts: MachineFacts, low: Range | None, hidden: list[Range]) -> MemoryMap:
    """Return the map for the capture kernel: its own RAM, and all that is not RAM.

    Core header and backup are hidden in a gap: the capture kernel maps them when it reads
    them and must not hand them out before.
    """
    ram = RangeSet([*crash_regions(facts.iomem), *([low] if low else [])]).minus(hidden)
    kept = [item for item in facts.memory_map if item.kind in _KEPT_KINDS]
    own = [MemoryRegion(item, MemoryKind.RAM, MemoryKind.RAM.value) for item in ram]
    return MemoryMap.from_overlapping([*kept, *own])


def _memmap_words(memory_map: MemoryMap) -> list[str]:
    """Say a memory map in ``memmap=`` words; reserved memory needs none."""
    words = ["memmap=exactmap"]
    for item in memory_map:
        sign = _MEMMAP_SIGNS.get(item.kind)
        if sign is not None:
            start = item.range.start // KIB
            size = align_up(item.range.end, KIB) // KIB - start
            words.append(f"memmap={size}K{sign}{start}K")
    return words
