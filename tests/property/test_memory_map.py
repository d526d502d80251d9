"""Overlapping regions become a map: against a naive model, byte by byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pykexec.values.memory import MemoryKind, MemoryMap, MemoryRegion
from pykexec.values.ranges import Range

TOP = 32
KINDS = (MemoryKind.RAM, MemoryKind.RESERVED, MemoryKind.ACPI_NVS)


@st.composite
def regions(draw: st.DrawFn) -> list[MemoryRegion]:
    found = []
    for number in range(draw(st.integers(0, 8))):
        start, end = sorted(draw(st.tuples(st.integers(0, TOP), st.integers(0, TOP))))
        kind = draw(st.sampled_from(KINDS))
        found.append(MemoryRegion(Range(start, end), kind, str(number)))
    return found


@given(regions())
def test_what_is_not_ram_wins_and_nothing_is_lost(given_regions: list[MemoryRegion]) -> None:
    made = MemoryMap.from_overlapping(given_regions)
    ordered = sorted(given_regions, key=lambda item: (item.kind is MemoryKind.RAM, item.range))
    for byte in range(TOP):
        here = Range.sized(byte, 1)
        covering = [item for item in ordered if item.range.contains(here)]
        found = [item for item in made if item.range.contains(here)]
        assert len(found) == bool(covering)
        if covering:
            assert found[0].name == covering[0].name or found[0].kind is covering[0].kind
            assert (found[0].kind is MemoryKind.RAM) is (covering[0].kind is MemoryKind.RAM)
    listed = list(made)
    assert listed == sorted(listed, key=lambda item: item.range)
