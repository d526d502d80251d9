"""Where a 32-bit ARM kernel has mapped memory, by what its files say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec import read_machine
from pykexec.machine.arm.mapping import find_lowmem_end, find_page_offset
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.units import GIB, MIB
from tests.builders.machines import MachineDirectory, iomem_of


def iomem(code: int) -> tuple[IomemEntry, ...]:
    children = [IomemEntry(Range.sized(code, 16 * MIB), "Kernel code")]
    return tuple(iomem_of([Range(0x40000000, 0xF0000000)], children))


@pytest.mark.parametrize(
    ("code", "stext", "expected"),
    [
        # Debian's: TEXT_OFFSET 0x208000, then up to the next section of 1 or 2 MiB.
        (0x40208000, 0xC0300000, 0x80000000),
        (0x40208000, 0xC0400000, 0x80000000),
        # Without CONFIG_STRICT_KERNEL_RWX, and with another split.
        (0x40008000, 0xC00082C0, 0x80000000),
        (0x40008000, 0x80008240, 0x40000000),
        (0x80208000, 0xC0300000, 0x40000000),
        # RAM above what is mapped to.
        (0xC0008000, 0x40100000, 0x80000000),
        (0x40208000, None, None),
    ],
)
def test_page_offset(code: int, stext: int | None, expected: int | None) -> None:
    assert find_page_offset(iomem(code), stext) == expected


def test_page_offset_without_code() -> None:
    assert find_page_offset((), 0xC0300000) is None


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["Node 0, zone   Normal", "start_pfn:           262144"], None),
        (
            [
                *("Node 0, zone   Normal", "start_pfn:           262144"),
                *("Node 0, zone  HighMem", "start_pfn:           458752"),
                "Node 0, zone  Movable",
            ],
            0x70000000,
        ),
        (["Node 0, zone  HighMem", "Node 0, zone  Movable"], None),
        ([], None),
    ],
)
def test_end_of_lowmem(lines: list[str], expected: int | None) -> None:
    assert find_lowmem_end(lines, 4096) == expected


def test_a_machine(tmp_path: Path) -> None:
    machine = MachineDirectory(tmp_path / "machine")
    machine.write_description("armv7l", page_size=4096, cpus=1)
    ram = [Range(0x40000000, 0x80000000), Range(4 * GIB, 5 * GIB)]
    children = [IomemEntry(Range.sized(0x40208000, MIB), "Kernel code")]
    machine.write_iomem(iomem_of(ram, children))
    machine.write("proc/kallsyms", "c0300000 T _stext\n")
    machine.write("proc/cmdline", "quiet\n")
    machine.write("proc/cpuinfo", "CPU implementer\t: 0x41\nCPU part\t: 0xc0f\n")
    zones = "Node 0, zone  HighMem\n  pages free     1\n  start_pfn:           458752\n"
    machine.write("proc/zoneinfo", zones)
    facts = read_machine(tmp_path / "machine", crash=True)
    assert facts.arch == "arm"
    assert facts.hashing == "cached"
    assert facts.crash.page_offset_vaddr == 0x80000000
    assert facts.crash.direct_map_end == 0x70000000
    assert facts.crash.unreadable == (Range(4 * GIB, 5 * GIB),)
