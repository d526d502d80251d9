"""What a crashed riscv64 kernel says of its addresses, and where one reserves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pykexec.crash.core_reading import VmcoreError
from pykexec.crash.elf_core import VmcoreInfo
from pykexec.crash.riscv64 import rules, translate
from pykexec.values.kernel_state import KernelState
from pykexec.values.units import GIB, MIB
from tests.builders.riscv64 import LARGE_RAM, build_facts

INFO = VmcoreInfo(
    b"NUMBER(phys_ram_base)=2147483648\nNUMBER(PAGE_OFFSET)=0xff60000000000000\n"
    b"NUMBER(KERNEL_LINK_ADDR)=0xffffffff80000000\n"
    b"NUMBER(va_kernel_pa_offset)=0xfffffffeffe00000\n"
)
MEMORY: Any = None


@pytest.mark.parametrize(
    ("vaddr", "paddr"),
    [
        (0xFFFFFFFF80002000, 0x80202000),
        (0xFF60000000000000, 0x80000000),
        (0xFF60000110000123, 0x190000123),
    ],
)
def test_both_linear_maps(vaddr: int, paddr: int) -> None:
    assert translate(vaddr, INFO, MEMORY)[0] == paddr


@pytest.mark.parametrize(
    ("vaddr", "info", "words"),
    [
        (0xFF20000000000000, INFO, "is not in the linear map"),
        (0xFF60000000000000, VmcoreInfo(b""), "does not tell of the linear map"),
    ],
)
def test_addresses_that_nothing_tells_of(vaddr: int, info: VmcoreInfo, words: str) -> None:
    with pytest.raises(VmcoreError, match=words):
        translate(vaddr, info, MEMORY)


def test_low_memory_ends_at_4_gib_or_with_all_memory() -> None:
    assert rules(build_facts(LARGE_RAM)).low_end == 4 * GIB
    facts = build_facts()
    assert rules(facts).low_end == facts.iomem[-1].range.end
    assert rules(facts).align == 2 * MIB


@pytest.mark.parametrize(("release", "high"), [("6.1.100", False), ("6.12.1", True), ("", True)])
def test_who_knows_high(release: str, high: bool) -> None:
    facts = replace(build_facts(), kernel=KernelState(release=release))
    assert rules(facts).high is high
