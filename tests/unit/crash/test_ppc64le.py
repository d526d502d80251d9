"""What a crashed ppc64le kernel says of its addresses, and where one reserves."""

from __future__ import annotations

from typing import Any

import pytest

from pykexec.crash.core_reading import VmcoreError
from pykexec.crash.elf_core import VmcoreInfo
from pykexec.crash.ppc64le import translate
from pykexec.crash.reservation import fault
from pykexec.values.facts import MachineFacts
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.units import GIB

MEMORY: Any = None


@pytest.mark.parametrize(
    ("vaddr", "paddr"),
    [
        (0xC000000000000000, 0),
        (0xC000000123456789, 0x123456789),
        (0xC007FFFFFFFFFFFF, 0x7FFFFFFFFFFFF),
    ],
)
def test_all_memory_is_in_one_map(vaddr: int, paddr: int) -> None:
    assert translate(vaddr, VmcoreInfo(b""), MEMORY)[0] == paddr


@pytest.mark.parametrize("vaddr", [0xC008000000000000, 0xD000000000000000, 0x1000])
def test_addresses_of_other_maps(vaddr: int) -> None:
    with pytest.raises(VmcoreError, match="is not in the linear map"):
        translate(vaddr, VmcoreInfo(b""), MEMORY)


def test_a_region_lies_in_one_piece_of_any_memory() -> None:
    nodes = (Range(0, GIB), Range(8 * GIB, 10 * GIB))
    facts = MachineFacts(
        arch="ppc64le",
        page_size=65536,
        iomem=tuple(IomemEntry(item, "System RAM") for item in nodes),
        cmdline=b"crashkernel=2560M",
    )
    assert "the longest of RAM is 0x200000000-0x27fffffff" in fault(facts).text
