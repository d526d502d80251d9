"""The rules that read /proc/iomem and the firmware's map."""

from __future__ import annotations

from pykexec.values.memory import (
    IomemEntry,
    MemoryKind,
    MemoryMap,
    MemoryRegion,
    crash_regions,
    memory_map_from_iomem,
    placeable_ram,
)
from pykexec.values.ranges import Range, RangeSet


def entry(first: int, last: int, name: str, *children: IomemEntry) -> IomemEntry:
    return IomemEntry(Range.inclusive(first, last), name, children)


def region(start: int, end: int, kind: MemoryKind) -> MemoryRegion:
    return MemoryRegion(Range(start, end), kind, kind.value)


NO_FIRMWARE = MemoryMap()


def test_only_the_running_kernels_own_image_may_be_overwritten() -> None:
    tree = (
        entry(
            0x100000,
            0xFFFFFF,
            "System RAM",
            entry(0x200000, 0x2FFFFF, "Kernel image", entry(0x280000, 0x28FFFF, "Reserved")),
            entry(0x300000, 0x3FFFFF, "Kernel code"),
            entry(0x400000, 0x40FFFF, "reserved"),
            entry(0x500000, 0x5FFFFF, "Crash kernel"),
            entry(0x600000, 0x60FFFF, "GART"),
        ),
    )
    assert placeable_ram(tree, NO_FIRMWARE) == RangeSet(
        [
            Range(0x100000, 0x280000),
            Range(0x290000, 0x400000),
            Range(0x410000, 0x500000),
            Range(0x610000, 0x1000000),
            Range(0x600000, 0x600000),
        ]
    )


def test_neighbouring_lines_are_one_range() -> None:
    tree = (entry(0x1000, 0x1FFF, "System RAM"), entry(0x2000, 0x2FFF, "System RAM"))
    assert placeable_ram(tree, NO_FIRMWARE) == RangeSet([Range(0x1000, 0x3000)])


def test_hot_added_and_nested_ram_is_not_used() -> None:
    tree = (
        entry(0x1000, 0x1FFF, "System RAM"),
        entry(0x3000, 0x3FFF, "System RAM (virtio_mem)"),
        entry(0x5000, 0x6FFF, "Persistent Memory (legacy)", entry(0x5000, 0x5FFF, "System RAM")),
    )
    assert placeable_ram(tree, NO_FIRMWARE) == RangeSet([Range(0x1000, 0x2000)])


def test_ram_that_firmware_does_not_know_is_not_used() -> None:
    tree = (entry(0x1000, 0x4FFF, "System RAM"),)
    firmware = MemoryMap((region(0x0, 0x3000, MemoryKind.RAM),))
    assert placeable_ram(tree, firmware) == RangeSet([Range(0x1000, 0x3000)])


def test_a_crash_kernel_at_top_level_is_ram_that_is_reserved() -> None:
    tree = (entry(0x1000, 0x1FFF, "System RAM"), entry(0x2000, 0x2FFF, "Crash kernel"))
    assert memory_map_from_iomem(tree).of_kind(MemoryKind.RAM) == RangeSet([Range(0x1000, 0x3000)])
    assert placeable_ram(tree, NO_FIRMWARE) == RangeSet([Range(0x1000, 0x2000)])
    assert crash_regions(tree) == (Range(0x2000, 0x3000),)


def test_a_crash_kernel_of_one_byte_at_zero_means_none() -> None:
    tree = (entry(0, 0x1FFF, "System RAM", entry(0, 0, "Crash kernel")),)
    assert crash_regions(tree) == ()


def test_names_in_any_capitalisation() -> None:
    tree = (entry(0, 0xFFF, "reserved"), entry(0x1000, 0x1FFF, "Reserved"))
    kinds = {item.kind for item in memory_map_from_iomem(tree)}
    assert kinds == {MemoryKind.RESERVED}


def test_where_regions_overlap_what_is_not_ram_wins_and_nothing_is_lost() -> None:
    made = MemoryMap.from_overlapping(
        [region(0, 0x8000, MemoryKind.RAM), region(0x2000, 0x3000, MemoryKind.RESERVED)]
    )
    assert [(item.range.start, item.range.end, item.kind) for item in made] == [
        (0, 0x2000, MemoryKind.RAM),
        (0x2000, 0x3000, MemoryKind.RESERVED),
        (0x3000, 0x8000, MemoryKind.RAM),
    ]
