"""Where a riscv64 kernel says that it is mapped, by its notes and by /proc/kcore."""

from __future__ import annotations

import pytest

from pykexec.machine.description import KcoreLoad
from pykexec.machine.riscv64.mapping import find_mapping
from pykexec.values.errors import MachineError
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.units import GIB, MIB

IMAGE = Range(0x80202000, 0x82400000)
RAM = (Range(0x80080000, 0xF0000000), Range(0x100000000, 0x180000000))
IOMEM = (
    IomemEntry(Range(0x80000000, 0x80080000), "Reserved"),
    IomemEntry(RAM[0], "System RAM", (IomemEntry(IMAGE, "Kernel image"),)),
    IomemEntry(RAM[1], "System RAM"),
)
NUMBERS = {
    "NUMBER(va_kernel_pa_offset)": "0xfffffffeffe00000",
    "NUMBER(PAGE_OFFSET)": "0xff60000000000000",
    "NUMBER(phys_ram_base)": "2147483648",
}
TEXT = 0xFFFFFFFF80002000
ZERO = 0xFF60000000000000 - 0x80000000


def loads(zero: int) -> tuple[KcoreLoad, ...]:
    """The linear map of both ranges, and vmalloc of another size."""
    linear = (KcoreLoad(zero + item.start, item.size) for item in RAM)
    return (KcoreLoad(0xFF20000000000000, 1 << 50), *linear)


def test_the_notes_numbers() -> None:
    """phys_ram_base is decimal, the others hexadecimal."""
    assert find_mapping(NUMBERS, (), IOMEM, None) == (IMAGE, TEXT, ZERO)
    assert find_mapping(NUMBERS, (), IOMEM, TEXT) == (IMAGE, TEXT, ZERO)


def test_a_kernel_before_the_numbers_is_found_by_kcore_and_kallsyms() -> None:
    zero = 0xFFFFFFD800000000 - 0x80200000
    assert find_mapping({}, loads(zero), IOMEM, TEXT) == (IMAGE, TEXT, zero)
    assert find_mapping({}, loads(zero), IOMEM, None) == (None, None, zero)


def test_nothing_is_guessed() -> None:
    assert find_mapping({}, (), IOMEM, None) == (None, None, None)
    one = (KcoreLoad(0xFFFFFFD800000000, RAM[0].size),)
    assert find_mapping({}, one, IOMEM, None)[2] is None
    twice = loads(ZERO) + loads(ZERO + GIB)
    assert find_mapping({}, twice, IOMEM, None)[2] is None
    assert find_mapping(NUMBERS, (), IOMEM[:1], None) == (None, None, ZERO)


def test_sources_that_contradict_each_other() -> None:
    with pytest.raises(MachineError, match="_text is at 0xffffffff80202000 by /proc/kallsyms"):
        find_mapping(NUMBERS, (), IOMEM, TEXT + 2 * MIB)
    with pytest.raises(MachineError, match=r"PAGE_OFFSET\)=none cannot be"):
        find_mapping(NUMBERS | {"NUMBER(PAGE_OFFSET)": "none"}, (), IOMEM, None)
