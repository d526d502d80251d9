"""The E820 map: merging, and the boundary between the zero page and SETUP_E820_EXT."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykexec.boot.x86.e820 import (
    E820Entry,
    E820Type,
    build_e820,
    e820_from_memory_map,
    memory_above_1m,
    parse_e820,
)
from pykexec.values.memory import MemoryKind, MemoryMap, MemoryRegion
from pykexec.values.ranges import Range
from pykexec.values.units import MIB


def region(start: int, end: int, kind: MemoryKind) -> MemoryRegion:
    return MemoryRegion(Range(start, end), kind, kind.value)


def test_every_kind_has_a_type_of_its_own() -> None:
    regions = tuple(region(i * 16, i * 16 + 8, kind) for i, kind in enumerate(MemoryKind))
    types = [entry.type for entry in e820_from_memory_map(MemoryMap(regions))]
    assert sorted(types) == sorted(E820Type)


def test_neighbours_of_one_type_become_one_entry() -> None:
    ram, reserved = MemoryKind.RAM, MemoryKind.RESERVED
    made = MemoryMap((region(0, 8, ram), region(8, 16, ram), region(16, 24, reserved)))
    assert e820_from_memory_map(made) == (
        E820Entry(Range(0, 16), E820Type.E820_TYPE_RAM),
        E820Entry(Range(16, 24), E820Type.E820_TYPE_RESERVED),
    )


entries = st.lists(
    st.builds(
        E820Entry,
        st.tuples(st.integers(0, 1 << 52), st.integers(1, 1 << 40)).map(lambda p: Range.sized(*p)),
        st.integers(0, (1 << 32) - 1),
    ),
    max_size=200,
)


@given(entries)
def test_parse_is_the_inverse_of_build(items: list[E820Entry]) -> None:
    packed = build_e820(items)
    assert len(packed) == 20 * len(items)
    assert parse_e820(packed) == tuple(items)


@pytest.mark.parametrize(
    ("end", "expected"),
    [(MIB, 0), (MIB + 1024, 1), (16 * MIB, 15 * 1024)],
)
def test_memory_above_1m_counts_the_entry_that_spans_it(end: int, expected: int) -> None:
    ram = E820Type.E820_TYPE_RAM
    low = E820Entry(Range(0, 0x9FC00), ram)
    assert (
        memory_above_1m([low, E820Entry(Range(MIB, end), ram)] if end > MIB else [low]) == expected
    )


def test_no_entry_ends_with_the_last_address() -> None:
    """Start and size must not add up to 0: a kernel drops its whole map then."""
    end = 1 << 64
    regions = [
        MemoryRegion(Range(0x1000, 0x2000), MemoryKind.RAM, ""),
        MemoryRegion(Range(0xF0000000, end - 0x800), MemoryKind.RESERVED, ""),
        MemoryRegion(Range(end - 0x800, end), MemoryKind.ACPI_NVS, ""),
    ]
    found = e820_from_memory_map(MemoryMap(tuple(regions)))
    assert [item.range for item in found] == [
        Range(0x1000, 0x2000),
        Range(0xF0000000, end - 0x1000),
    ]
