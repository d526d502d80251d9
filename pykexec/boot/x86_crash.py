"""What a crash load adds on x86: core header, backup of low memory, another memory map. Pure.

Linux Documentation/admin-guide/kdump/kdump.rst. The capture kernel lives in the crash
region and the first 640 KiB; it is told of no other RAM, so that it cannot touch the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pykexec.architectures import I386
from pykexec.crash.elfcorehdr import build_elfcorehdr, core_headers
from pykexec.elf_headers import CORE_MACHINES, ELF32, ELF64
from pykexec.errors import ImageError, PykexecError
from pykexec.formats.bzimage import MIN_PROTOCOL_64BIT
from pykexec.memory import (
    MemoryKind,
    MemoryMap,
    MemoryRegion,
    crash_regions,
    dumped_ram,
)
from pykexec.plans import PlanBuilder, Role
from pykexec.ranges import Range, RangeSet
from pykexec.units import GIB, KIB, align_up

if TYPE_CHECKING:
    from pykexec.elf_headers import ElfClass
    from pykexec.facts import MachineFacts
    from pykexec.formats.bzimage import SetupHeader
    from pykexec.plans import LoadRequest

LOW_MEMORY = Range(0, 640 * KIB)
"""What the capture kernel's early start uses: trampoline, real-mode code, BIOS data."""

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
    notes: tuple[str, ...]

    @property
    def copy(self) -> tuple[Range, Range] | None:
        """The memory that is copied away and its place, if it is."""
        return (self.low, self.backup) if self.low and self.backup else None


def place_crash_segments(
    facts: MachineFacts, request: LoadRequest, header: SetupHeader, builder: PlanBuilder
) -> CrashPlan:
    """Place core header and backup, and say what follows from their places.

    ``header`` is the capture kernel's. Raises :class:`NoRoomError`, :class:`ImageError` for a
    kernel that would not show the dump, and :class:`PykexecError` when the running kernel does
    not tell enough for a core header.
    """
    ram = dumped_ram(facts.iomem).minus(facts.crash.gart)
    low = next((part for part in ram if part.end <= LOW_MEMORY.end), None)
    notes = _capture_notes(facts, header, ram)
    if any(part.overlaps(hole) for part in dumped_ram(facts.iomem) for hole in facts.crash.gart):
        holes = ", ".join(map(str, facts.crash.gart))
        notes.append(f"left out of the dump: GART aperture {holes}, reading it would hang")
    backup = None
    if low is not None and _wants_backup(facts, request, low, notes):
        backup = builder.place(Role.BACKUP, low.size, checked=False)
    moved = [(low, backup.start)] if low is not None and backup is not None else []
    headers = core_headers(facts.crash, ram, moved)
    data = build_elfcorehdr(headers, CORE_MACHINES[facts.arch], _core_class(facts, request, ram))
    size = _elfcorehdr_size(facts, request, len(data))
    elfcorehdr = builder.place(Role.ELFCOREHDR, size, data=data, checked=not request.hotplug)
    memory_map = _told_memory(facts, low, [elfcorehdr, *([backup] if backup else [])])
    words = [f"elfcorehdr={elfcorehdr.start // KIB}K"]
    if request.pass_memmap_cmdline:
        words += _memmap_words(memory_map)
    return CrashPlan(
        low=low,
        backup=backup,
        memory_map=facts.memory_map if request.pass_memmap_cmdline else memory_map,
        extra_words=" ".join(words).encode(),
        notes=tuple(notes),
    )


def _capture_notes(facts: MachineFacts, header: SetupHeader, ram: RangeSet) -> list[str]:
    """Refuse a kernel that would not show the running one's memory, and say what others miss.

    Linux fs/proc/vmcore.c takes the core of a kernel of its own architecture, and on i386 also
    of x86_64 (arch/x86/include/asm/kexec.h, "vmcore_elf_check_arch_cross").
    """
    if facts.arch == I386 and header.wide:
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
    if facts.arch != I386:
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


def _elfcorehdr_size(facts: MachineFacts, request: LoadRequest, needed: int) -> int:
    """Return the bytes for the core header: as many as the kernel wants if it will rewrite it."""
    if not request.hotplug:
        return needed
    size = facts.kernel.crash_elfcorehdr_size or 0
    if size < needed:
        raise PykexecError(
            f"--hotplug: the kernel allows {size} bytes for the core header, this machine "
            f"needs {needed}",
            hint="leave out --hotplug and reload the crash kernel when memory or CPUs change",
        )
    return size


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
