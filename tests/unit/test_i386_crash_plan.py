"""Crash loads on a running kernel of 32 bits, and 32-bit capture kernels on others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pykexec.crash.elfcorehdr import NO_VADDR, elfcorehdr_machine
from pykexec.errors import ImageError, NoCrashRegionError, NoRoomError, PykexecError
from pykexec.planning.remedies import Change, remedies
from pykexec.values.calls import Target
from pykexec.values.elf_headers import ELF32, ELF64, class_of
from pykexec.values.facts import CrashFacts, MachineFacts
from pykexec.values.memory import IomemEntry, crash_regions
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from tests.builders.bzimage import build_bzimage
from tests.builders.plans import I386_KERNEL as CAPTURE
from tests.builders.plans import I386_SPEC, KERNEL, RAM, build_facts, build_request
from tests.unit.test_x86_crash_plan import LOW, REGION, crash_facts, crash_plan, loads

MAPPED = 0x36FFE000
CRASH = CrashFacts(
    crash_notes=((0, Range.sized(0x2FC00000, 368)),),
    vmcoreinfo=Range.sized(0x2FD00000, 0x1024),
    page_offset_vaddr=0xC0000000,
    direct_map_end=MAPPED,
)
SMALL_RAM = (LOW, Range(MIB, 2 * GIB))


def i386_facts(*regions: Range, **more: Any) -> MachineFacts:
    children = [IomemEntry(region, "Crash kernel") for region in regions or (REGION,)]
    given = {"ram": SMALL_RAM, "crash": CRASH, **more}
    return replace(build_facts(children=children, **given), arch="i386")


def core_of(facts: MachineFacts, **more: Any) -> bytes:
    segment = crash_plan(facts, kernel=CAPTURE, **more).segment(Role.ELFCOREHDR)
    assert segment is not None
    return bytes(segment.data)


def test_everything_lies_in_the_region() -> None:
    made = crash_plan(i386_facts(), kernel=CAPTURE)
    assert all(REGION.contains(item.dest) for item in made.segments)
    assert made.flags == 0x30001


def test_all_ram_is_described_and_highmem_has_no_virtual_address() -> None:
    found = loads(crash_plan(i386_facts(), kernel=CAPTURE))
    described = RangeSet(Range.sized(item.paddr, item.size) for item in found)
    assert described == RangeSet(SMALL_RAM).minus([REGION])
    for item in found:
        high = item.paddr >= MAPPED
        assert item.paddr + item.size <= MAPPED or high
        assert item.vaddr == (NO_VADDR & ELF32.value_max if high else item.paddr + 0xC0000000)


@pytest.mark.parametrize(
    ("ram", "asked", "expected"),
    [
        (SMALL_RAM, None, ELF32),
        (SMALL_RAM, 32, ELF32),
        (SMALL_RAM, 64, ELF64),
        ((LOW, Range(MIB, 3 * GIB), Range(GIB * 7 // 2, 4 * GIB)), None, ELF32),
        (RAM, None, ELF64),
        (RAM, 64, ELF64),
    ],
)
def test_the_class_of_the_core_header(ram: Any, asked: int | None, expected: object) -> None:
    data = core_of(i386_facts(ram=ram), core_bits=asked)
    assert class_of(data) is expected
    assert elfcorehdr_machine(data) == 3


def test_memory_above_4_gib_is_out_of_reach_of_elf32() -> None:
    with pytest.raises(PykexecError, match="and there is memory at 0x100000000-0x17fffffff"):
        core_of(i386_facts(ram=RAM), core_bits=32)


@pytest.mark.parametrize("asked", [None, 32, 64])
@pytest.mark.parametrize("kernel", [KERNEL, CAPTURE])
def test_the_core_of_a_64_bit_kernel_is_elf64(asked: int | None, kernel: bytes) -> None:
    """A 32-bit capture kernel takes it as well."""
    segment = crash_plan(kernel=kernel, core_bits=asked).segment(Role.ELFCOREHDR)
    assert segment is not None
    data = bytes(segment.data)
    assert (class_of(data), elfcorehdr_machine(data)) == (ELF64, 62)


def test_a_64_bit_capture_kernel_would_show_no_dump() -> None:
    with pytest.raises(ImageError, match="it would have no /proc/vmcore") as caught:
        crash_plan(i386_facts())
    assert "give a 32-bit capture kernel" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("facts", "kernel", "noted"),
    [
        (i386_facts(), CAPTURE, False),
        (i386_facts(ram=RAM), CAPTURE, True),
        (crash_facts(), CAPTURE, True),
        (crash_facts(), KERNEL, False),
        (crash_facts(), build_bzimage(replace(I386_SPEC, version=0x020B)), False),
    ],
)
def test_memory_above_4_gib_wants_a_capture_kernel_with_pae(
    facts: MachineFacts, kernel: bytes, noted: bool
) -> None:
    made = crash_plan(facts, kernel=kernel)
    assert any("reads only with PAE" in note for note in made.notes) is noted


def test_without_the_direct_map_there_is_no_core() -> None:
    facts = i386_facts(crash=replace(CRASH, page_offset_vaddr=None, direct_map_end=None))
    with pytest.raises(PykexecError, match="direct map was not found in /proc/kcore"):
        crash_plan(facts, kernel=CAPTURE)


@pytest.mark.parametrize("start", [0x37000000, GIB])
def test_the_running_kernel_cannot_reach_a_region_above_what_it_maps(start: int) -> None:
    region = Range.sized(start, 128 * MIB)
    with pytest.raises(NoCrashRegionError) as caught:
        crash_plan(i386_facts(region), kernel=CAPTURE)
    assert caught.value.message == (
        f"the crash kernel region {region} lies above the memory that the running 32-bit kernel "
        "has mapped, which ends at 0x36ffe000; its own code for the jump goes there"
    )
    assert "without an address" in (caught.value.hint or "")


@pytest.mark.parametrize("caller_bits", [32, 64])
def test_a_32_bit_capture_kernel_lies_in_memory_that_it_maps(caller_bits: int) -> None:
    """On a 64-bit kernel, where the region may be anywhere."""
    region = Range(0x70000000, 0x80000000)
    facts = replace(crash_facts(region), caller_bits=caller_bits)
    with pytest.raises(NoRoomError) as caught:
        crash_plan(facts, kernel=CAPTURE)
    assert caught.value.message.startswith("cannot place kernel: need 20 MiB between ")
    assert "0x35ffffff (a 32-bit kernel runs in memory that it always maps)" in caught.value.message
    request = build_request(kernel=CAPTURE, target=Target.CRASH)
    (remedy,) = remedies(facts, request, caught.value)
    assert remedy.change is Change.CRASH_REGION
    assert remedy.text.endswith("a crash region at or below 0x35ffffff")
    assert all(item.last <= 0x35FFFFFF for item in crash_regions(remedy.facts.iomem))
    assert crash_plan(facts).segments
