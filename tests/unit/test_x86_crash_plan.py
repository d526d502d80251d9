"""Crash loads on x86: where they lie, what they describe, what the capture kernel is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pykexec.crash.elfcorehdr import CoreHeader, parse_elfcorehdr
from pykexec.errors import NoCrashRegionError, NoRoomError, PykexecError
from pykexec.planning.invariants import verify
from pykexec.planning.planner import plan, plan_file_load
from pykexec.planning.plans import SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import read_parameters
from pykexec.values.calls import Target
from pykexec.values.facts import CrashFacts, MachineFacts
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry, MemoryKind
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from tests.builders.machines import EFI
from tests.builders.plans import build_facts, build_request
from tests.unit.test_x86_plan import RUNNING, told

LOW = Range(0x1000, 0x9FC00)
REGION = Range(512 * MIB, 768 * MIB)
HIGH_REGION = Range(5 * GIB, 5 * GIB + 512 * MIB)
CRASH = CrashFacts(
    crash_notes=((0, Range.sized(0x2FC00000, 368)),),
    vmcoreinfo=Range.sized(0x2FD00000, 0x1024),
    kernel_text=Range.sized(0x1000000, 0x2000000),
    kernel_text_vaddr=0xFFFFFFFF81000000,
    page_offset_vaddr=0xFFFF888000000000,
)


def crash_facts(*regions: Range, **more: Any) -> MachineFacts:
    children = [IomemEntry(region, "Crash kernel") for region in regions or (REGION,)]
    return build_facts(children=children, **{"crash": CRASH, **more})


def crash_plan(facts: MachineFacts | None = None, **more: Any) -> SegmentPlan:
    facts = facts or crash_facts()
    made = plan(facts, build_request(target=Target.CRASH, **more))
    assert verify(made, facts) == []
    return made


def loads(made: SegmentPlan) -> list[CoreHeader]:
    segment = made.segment(Role.ELFCOREHDR)
    assert segment is not None
    return [item for item in parse_elfcorehdr(bytes(segment.data)) if item.type == 1]


def test_everything_lies_in_the_region() -> None:
    made = crash_plan()
    assert all(REGION.contains(item.dest) for item in made.segments)
    assert made.flags == 0x3E0001


def test_of_two_regions_the_high_one_is_loaded() -> None:
    facts = crash_facts(REGION, HIGH_REGION)
    made = crash_plan(facts)
    assert all(HIGH_REGION.contains(item.dest) for item in made.segments)
    ram = RangeSet(Range.sized(item.paddr, item.size) for item in loads(made))
    assert not ram.intersect([REGION, HIGH_REGION])
    told_ram = made.memory_map.of_kind(MemoryKind.RAM)
    assert told_ram.covering(REGION) == REGION


def test_the_dump_has_all_ram_but_the_region() -> None:
    described = RangeSet(Range.sized(item.paddr, item.size) for item in loads(crash_plan()))
    ram = [LOW, Range(MIB, REGION.start), Range(REGION.end, 3 * GIB), Range(4 * GIB, 6 * GIB)]
    assert described == RangeSet(ram)


def test_hot_added_and_nested_memory_is_dumped_but_not_used() -> None:
    facts = crash_facts()
    added = IomemEntry(Range(8 * GIB, 9 * GIB), "System RAM (virtio_mem)")
    nested = IomemEntry(
        Range(16 * GIB, 18 * GIB),
        "Persistent Memory",
        (IomemEntry(Range(16 * GIB, 17 * GIB), "System RAM (kmem)"),),
    )
    facts = replace(facts, iomem=(*facts.iomem, added, nested))
    made = crash_plan(facts)
    described = RangeSet(Range.sized(item.paddr, item.size) for item in loads(made))
    assert described.covering(added.range)
    assert described.covering(Range(16 * GIB, 17 * GIB))
    assert not described.intersect([Range(17 * GIB, 18 * GIB)])


def test_the_capture_kernel_is_told_of_its_own_memory_only() -> None:
    made = crash_plan()
    hidden = [made.segment(role) for role in (Role.ELFCOREHDR, Role.BACKUP)]
    holes = [item.dest for item in hidden if item is not None]
    assert len(holes) == 2
    ram = RangeSet(item.range for item in told(made).e820 if item.type == 1)
    assert ram == RangeSet([LOW, REGION]).minus(holes)


def test_the_command_line_says_where_the_core_header_is() -> None:
    made = crash_plan(crash_facts(boot_params=RUNNING))
    header = made.segment(Role.ELFCOREHDR)
    assert header is not None
    words = f"acpi_rsdp=0xf59d0 elfcorehdr={header.dest.start // 1024}K"
    assert made.cmdline.decode() == f"ro quiet {words}"


def test_the_words_go_before_those_of_init() -> None:
    facts = crash_facts(boot_params=RUNNING)
    made = crash_plan(facts, cmdline=b"ro -- single")
    assert made.cmdline.startswith(b"ro acpi_rsdp=0xf59d0 elfcorehdr=")
    assert made.cmdline.endswith(b"K -- single")
    assert not verify(made, facts)
    broken = verify(replace(made, cmdline=b"ro -- " + made.cmdline), facts)
    assert any("is not on the command line" in item.detail for item in broken)


def test_with_efi_there_is_no_acpi_rsdp_word() -> None:
    facts = crash_facts(boot_params=RUNNING, efi=EFI)
    assert b"acpi_rsdp" not in crash_plan(facts).cmdline
    assert b"acpi_rsdp" in crash_plan(facts, no_efi=True).cmdline


@pytest.mark.parametrize(
    ("reserved", "asked", "encrypted", "backed_up", "words"),
    [
        (None, None, False, True, "does not say whether it uses it"),
        (False, None, False, True, "the running kernel uses it"),
        (True, None, False, False, "keeps nothing there"),
        (True, True, False, True, "as asked for"),
        (False, False, False, False, "as asked for"),
        (False, None, True, False, "memory encryption (SME)"),
        (False, True, True, False, "memory encryption (SME)"),
    ],
)
def test_low_memory_is_backed_up_where_needed(
    reserved: bool | None, asked: bool | None, encrypted: bool, backed_up: bool, words: str
) -> None:
    crash = replace(CRASH, low_memory_reserved=reserved, memory_encryption=encrypted)
    made = crash_plan(crash_facts(crash=crash), backup=asked)
    assert any(words in note for note in made.notes)
    backup, purgatory = made.segment(Role.BACKUP), made.segment(Role.PURGATORY)
    assert purgatory is not None
    copied = read_parameters(load("x86_64"), bytes(purgatory.data))
    low = next(item for item in loads(made) if item.paddr == LOW.start)
    if backed_up:
        assert backup is not None
        assert (copied.backup_src_start, copied.backup_src_size) == (LOW.start, LOW.size)
        assert copied.backup_dst_start == low.offset == backup.dest.start
    else:
        assert backup is None
        assert copied.backup_src_size == 0
        assert low.offset == LOW.start


def test_a_gart_aperture_is_left_out() -> None:
    aperture = Range(2 * GIB, 2 * GIB + 64 * MIB)
    for facts in (
        crash_facts(crash=replace(CRASH, unreadable=(aperture,))),
        build_facts(
            children=[IomemEntry(REGION, "Crash kernel"), IomemEntry(aperture, "GART")],
            crash=CRASH,
        ),
    ):
        described = RangeSet(Range.sized(i.paddr, i.size) for i in loads(crash_plan(facts)))
        assert not described.intersect([aperture])
    assert any("GART" in note for note in crash_plan(
        crash_facts(crash=replace(CRASH, unreadable=(aperture,)))
    ).notes)  # fmt: skip


def test_the_memory_map_may_go_on_the_command_line() -> None:
    facts = crash_facts()
    made = crash_plan(facts, pass_memmap_cmdline=True)
    words = made.cmdline.decode().split()
    assert words[2].startswith("elfcorehdr=")
    assert words[3] == "memmap=exactmap"
    assert "memmap=635K@4K" in words
    assert made.memory_map == facts.memory_map


def test_hotplug_takes_the_kernels_size_and_leaves_the_digest() -> None:
    state = KernelState(crash_elfcorehdr_size=110592)
    made = crash_plan(crash_facts(kernel=state), hotplug=True)
    header = made.segment(Role.ELFCOREHDR)
    assert header is not None
    assert header.dest.size == 110592
    assert made.flags == 0x3E0005
    assert not header.checked


@pytest.mark.parametrize(
    ("devices", "cmdline", "advised"),
    [
        (True, b"irqpoll", True),
        (True, b"irqpoll acpi_no_memhotplug", False),
        (True, b"xacpi_no_memhotplug", True),
        (True, b"irqpoll -- acpi_no_memhotplug", True),
        (False, b"irqpoll", False),
    ],
)
def test_plugged_memory_is_to_be_left_alone(devices: bool, cmdline: bytes, advised: bool) -> None:
    facts = crash_facts(memory_devices=devices)
    request = build_request(target=Target.CRASH, cmdline=cmdline)
    for made in (plan(facts, request), plan_file_load(facts, request)):
        assert any("acpi_no_memhotplug" in note for note in made.notes) is advised
    assert not any("plugged" in note for note in plan(facts, build_request()).notes)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (None, "does not update a core header"),
        (0, "does not update"),
        (128, "allows 128 bytes for the core header, this machine needs"),
    ],
)
def test_hotplug_that_the_kernel_cannot_do(size: int | None, words: str) -> None:
    facts = crash_facts(kernel=KernelState(crash_elfcorehdr_size=size))
    with pytest.raises(PykexecError, match=words):
        plan(facts, build_request(target=Target.CRASH, hotplug=True))


def test_without_a_region_there_is_a_hint_and_an_exit_code() -> None:
    with pytest.raises(NoCrashRegionError, match="no memory is reserved") as caught:
        plan(build_facts(crash=CRASH), build_request(target=Target.CRASH))
    assert caught.value.exit_code == 254
    assert "crashkernel=" in (caught.value.hint or "")


def test_a_region_that_is_too_small_names_the_segment() -> None:
    facts = crash_facts(Range(512 * MIB, 528 * MIB))
    with pytest.raises(NoRoomError, match="cannot place kernel: need 32 MiB"):
        plan(facts, build_request(target=Target.CRASH))


@pytest.mark.parametrize("count", [1_000, 8_000, 32_000])
def test_many_ranges_are_planned(count: int) -> None:
    ram = [LOW, Range(MIB, GIB), *(Range.sized(GIB + i * MIB, MIB // 2) for i in range(count))]
    facts = build_facts(ram, children=[IomemEntry(REGION, "Crash kernel")], crash=CRASH)
    made = plan(facts, build_request(target=Target.CRASH))
    assert (
        len(loads(made)) == count + 3
    )  # text, low, both sides of the region, one of which goes on
    assert verify(made, facts) == []
