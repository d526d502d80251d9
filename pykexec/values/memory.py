"""What lies where in physical memory: /proc/iomem as a tree, the firmware's map as a list.

Pure values and the rules that read them. The rules go by what an entry is called and by
what it is nested in, because that is all the kernel says.
"""

from __future__ import annotations

from enum import Enum
from heapq import heappop, heappush
from itertools import pairwise

from pykexec.values.data_classes import dataclass
from pykexec.values.ranges import Range, RangeSet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeVar

    Answer = TypeVar("Answer")


class MemoryKind(Enum):
    """What a region is, by the names that the kernel prints for E820 types.

    Linux arch/x86/kernel/e820.c, "e820_type_to_string"; the values are those names.
    """

    RAM = "System RAM"
    RESERVED = "Reserved"
    ACPI_TABLES = "ACPI Tables"
    ACPI_NVS = "ACPI Non-volatile Storage"
    UNUSABLE = "Unusable memory"
    PMEM = "Persistent Memory"
    PRAM = "Persistent Memory (legacy)"
    SOFT_RESERVED = "Soft Reserved"


_KINDS_BY_NAME = {kind.value.lower(): kind for kind in MemoryKind}
_CRASH_KERNEL = "crash kernel"
RTAS = "RTAS"
OPAL = "OPAL"
"""What POWER's firmware keeps, as entries are called that no kernel shows."""


def kind_of_name(name: str) -> MemoryKind | None:
    """Return the kind that an entry's name stands for, None for a device or a detail.

    Capitalisation differs between kernel versions ("reserved", "Reserved") and is ignored.
    """
    return _KINDS_BY_NAME.get(name.lower())


@dataclass(frozen=True, slots=True)
class IomemEntry:
    """One line of /proc/iomem with the lines nested below it."""

    range: Range
    name: str
    children: tuple[IomemEntry, ...] = ()

    def walk(self) -> Iterator[IomemEntry]:
        """Yield this entry and everything below it, in file order."""
        yield self
        if self.children:
            yield from walk(self.children)


def walk(entries: Iterable[IomemEntry]) -> Iterator[IomemEntry]:
    """Yield the entries and everything below them, in file order."""
    for entry in entries:
        yield entry
        if entry.children:
            yield from walk(entry.children)


def _remembered(
    of: Callable[[Iterable[IomemEntry]], Answer],
) -> Callable[[Iterable[IomemEntry]], Answer]:
    """Keep the answer about the tuple of entries that was asked about last.

    A load asks half a dozen times about the same one, which may have tens of thousands.
    """
    last: tuple[object, Answer] | None = None

    def answer(entries: Iterable[IomemEntry]) -> Answer:
        nonlocal last
        if last is None or last[0] is not entries:
            found = of(entries)
            if not isinstance(entries, tuple):
                return found
            last = entries, found
        return last[1]

    answer.__name__, answer.__doc__ = of.__name__, of.__doc__
    return answer


@dataclass(frozen=True, slots=True)
class MemoryRegion:
    """A region of the machine's memory, as firmware or the kernel describes it."""

    range: Range
    kind: MemoryKind
    name: str


def _start_and_end(item: MemoryRegion) -> tuple[int, int]:
    return item.range.start, item.range.end


def _without_overlaps(
    ordered: Sequence[MemoryRegion],
) -> list[tuple[int, int, MemoryRegion]]:
    """Return (start, end, region) for every stretch of memory, by the region that wins it.

    ``ordered`` are sorted and not empty. One sweep from the lowest address up; the regions that
    cover the present address wait in a heap, the winner on top.
    """
    pieces: list[tuple[int, int, MemoryRegion]] = []
    covering: list[tuple[bool, int, MemoryRegion]] = []
    index = at = 0
    while index < len(ordered) or covering:
        if not covering:
            at = max(at, ordered[index].range.start)
        while index < len(ordered) and ordered[index].range.start <= at:
            heappush(covering, (ordered[index].kind is MemoryKind.RAM, index, ordered[index]))
            index += 1
        while covering and covering[0][2].range.end <= at:
            heappop(covering)
        if not covering:
            continue
        winner = covering[0][2]
        end = winner.range.end
        if index < len(ordered):
            end = min(end, ordered[index].range.start)
        start = at
        if pieces and pieces[-1][2] is winner and pieces[-1][1] == at:
            start = pieces.pop()[0]
        pieces.append((start, end, winner))
        at = end
    return pieces


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """Sorted, non-overlapping regions."""

    regions: tuple[MemoryRegion, ...] = ()

    @classmethod
    def from_overlapping(cls, regions: Iterable[MemoryRegion]) -> MemoryMap:
        """Build a map from regions that may overlap.

        Where two overlap, what is not RAM wins, because handing firmware's memory to a
        kernel as RAM is the mistake that cannot be mended; among equals the earlier start
        wins. Nothing is dropped: what is left of the loser stays.
        """
        ordered = sorted((item for item in regions if item.range.size), key=_start_and_end)
        if all(lower.range.end <= upper.range.start for lower, upper in pairwise(ordered)):
            return cls(tuple(ordered))
        return cls(
            tuple(
                MemoryRegion(Range(start, end), region.kind, region.name)
                for start, end, region in _without_overlaps(ordered)
            )
        )

    def of_kind(self, *kinds: MemoryKind) -> RangeSet:
        """Return the bytes whose kind is one of ``kinds``."""
        return RangeSet(item.range for item in self.regions if item.kind in kinds)

    def __iter__(self) -> Iterator[MemoryRegion]:
        return iter(self.regions)

    def __len__(self) -> int:
        return len(self.regions)


@_remembered
def memory_map_from_iomem(entries: Iterable[IomemEntry]) -> MemoryMap:
    """Read the top level of /proc/iomem as a memory map, for want of the firmware's own.

    A ``Crash kernel`` at top level is RAM: some LoongArch kernels list it there and lose
    its ``System RAM`` parent. ``System RAM`` nested in something else, or with a suffix
    such as ``(kmem)``, is left out: firmware does not describe it as RAM, so the next
    kernel finds it as the present one did.
    """
    regions = []
    for entry in entries:
        kind = kind_of_name(entry.name)
        if kind is None and entry.name.lower().startswith(_CRASH_KERNEL) and entry.range.size > 1:
            kind = MemoryKind.RAM
        if kind is not None:
            regions.append(MemoryRegion(entry.range, kind, entry.name))
    return MemoryMap.from_overlapping(regions)


def is_crash_region(entry: IomemEntry) -> bool:
    """Tell whether an entry is a ``crashkernel=`` reservation.

    ``0-0 : Crash kernel`` is how old kernels say that there is none.
    """
    return entry.name.lower().startswith(_CRASH_KERNEL) and entry.range.size > 1


@_remembered
def crash_regions(entries: Iterable[IomemEntry]) -> tuple[Range, ...]:
    """Return the crash kernel reservations in ascending order, nested at any depth."""
    found = {item.range for item in walk(entries) if is_crash_region(item)}
    return tuple(sorted(found))


def crash_region(entries: Iterable[IomemEntry]) -> Range | None:
    """Return the region that a crash kernel is loaded into; None without a reservation.

    With crashkernel=X,high there are two. The kernel takes segments for the high one only
    (Linux kernel/kexec_core.c, "sanity_check_segment_list"); the low one is for DMA.
    """
    regions = crash_regions(entries)
    return regions[-1] if regions else None


@_remembered
def dumped_ram(entries: Iterable[IomemEntry]) -> RangeSet:
    """Return the RAM that belongs into a crash dump.

    Every entry that is RAM by its name, ``System RAM (kmem)`` and nested ones included,
    without the crash regions, and without a GART aperture: reading that through
    /proc/vmcore hangs the machine. What POWER's firmware keeps is in it also where it lies in a
    crash region (Linux arch/powerpc/kexec/ranges.c, "get_crash_memory_ranges").
    """
    items = list(walk(entries))
    name = MemoryKind.RAM.value
    ram = (item.range for item in items if item.name.startswith(name))
    left_out = (item.range for item in items if item.name == "GART" or is_crash_region(item))
    firmware = (item.range for item in items if item.name in (RTAS, OPAL))
    return RangeSet((*RangeSet(ram).minus(left_out), *firmware))


@dataclass(frozen=True, slots=True)
class CrashMemory:
    """What a crash load depends on of a machine's memory: equal if a reload would say the same."""

    sha256: str
    """Of every range below, in ascending order."""
    ram: int
    """Bytes of RAM that belong into a dump."""
    ranges: int


def crash_memory(entries: Iterable[IomemEntry]) -> CrashMemory:
    """Sum up what a core header describes, :func:`dumped_ram`, and the crash regions."""
    from hashlib import sha256

    items = tuple(entries)
    ram = dumped_ram(items)
    lines = [f"ram {item.start:#x} {item.end:#x}\n" for item in ram]
    lines += [f"crash {item.start:#x} {item.end:#x}\n" for item in crash_regions(items)]
    return CrashMemory(sha256("".join(lines).encode()).hexdigest(), ram.size, len(ram))


def _occupied(entry: IomemEntry) -> Iterator[Range]:
    """Yield what may not be overwritten below a ``System RAM`` entry.

    Only the running kernel's own image may be: it is dead by the time the segments are
    moved to their places. All else that the kernel marks inside RAM (``reserved``,
    ``Crash kernel``, ``GART``, ACPI tables, GICv3 tables …) stays untouched.
    """
    for child in entry.children:
        if child.name.startswith("Kernel "):
            yield from _occupied(child)
        else:
            yield child.range


def placeable_ram(entries: Iterable[IomemEntry], firmware: MemoryMap) -> RangeSet:
    """Return the RAM where segments of a normal load may lie.

    Top-level ``System RAM`` of /proc/iomem without what is reserved inside it. Hot-added
    RAM (``System RAM (virtio_mem)``, ``(kmem)``) is not used: the next kernel does not
    know of it when it starts. Where the firmware's map is known (``firmware`` not empty),
    memory that it does not call RAM is not used either.
    """
    ram: list[Range] = []
    occupied: list[Range] = []
    for entry in entries:
        if kind_of_name(entry.name) is MemoryKind.RAM:
            ram.append(entry.range)
            occupied += _occupied(entry)
        elif is_crash_region(entry):
            occupied.append(entry.range)
    usable = RangeSet(ram).minus(occupied)
    if len(firmware):
        usable = usable.intersect(firmware.of_kind(MemoryKind.RAM))
    return usable
