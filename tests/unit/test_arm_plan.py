"""A plan for 32-bit ARM, judged by addresses from the kernel's own start code."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pykexec.boot.arm.unpacking import base_of
from pykexec.calls.call_choice import choose
from pykexec.crash.elfcorehdr import parse_elfcorehdr
from pykexec.errors import (
    CommandLineError,
    FileCallUnusableError,
    ImageError,
    NoRoomError,
    OptionError,
    PykexecError,
)
from pykexec.formats import identify
from pykexec.formats.zimage import ZImage
from pykexec.planning.invariants import SEGMENT_INVARIANTS, invariants_of, verify
from pykexec.planning.plans import PurgatoryOptions, SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.arm import ArmRegisters
from pykexec.purgatory_objects.parameters import read_parameters
from pykexec.values.calls import Call, CallWish, Target
from pykexec.values.elf_headers import ELF32, PT_LOAD, PT_NOTE, class_of
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import GIB, KIB, MIB
from tests.builders.arm import (
    BSS,
    CRASH_FACTS,
    DRAM,
    IMAGE,
    INFLATED,
    LOWMEM_END,
    MALLOC,
    TEXT_OFFSET,
    build_facts,
    build_plan,
    build_request,
    build_tree,
    build_zimage,
)
from tests.builders.device_trees import Spec, cells, read_blob, wide
from tests.builders.tree_requests import INITRD

CRASH = Target.CRASH
REGION = Range(DRAM + 128 * MIB, DRAM + 256 * MIB)
TARGET = Range(DRAM + TEXT_OFFSET - 20 * KIB, DRAM + TEXT_OFFSET + INFLATED + BSS)
"""Page tables of LPAE, and the kernel with its BSS."""


def crash_facts(region: Range = REGION, **more: Any) -> Any:
    return build_facts(children=[IomemEntry(region, "Crash kernel")], **more)


def place_of(plan: SegmentPlan, role: Role) -> Range:
    segment = plan.segment(role)
    assert segment is not None
    return segment.dest


def tree_of(plan: SegmentPlan) -> Any:
    """Follow r2 to the tree."""
    purgatory = plan.segment(Role.PURGATORY)
    assert purgatory is not None
    registers = read_parameters(load("arm"), bytes(purgatory.data)).registers
    assert isinstance(registers, ArmRegisters)
    assert registers.pc == plan.kernel_entry
    dtb = plan.segment_at(registers.r2)
    assert dtb is not None
    assert dtb.role is Role.DTB
    assert dtb.dest.start == registers.r2
    return read_blob(bytes(dtb.data))


def test_everything_lies_above_the_unpacked_kernel() -> None:
    plan = build_plan()
    kernel = plan.segment(Role.KERNEL)
    assert kernel is not None
    assert plan.kernel_entry == kernel.dest.start
    assert kernel.dest.start - TARGET.end in range(4 * KIB)
    assert kernel.dest.size >= len(IMAGE) + MALLOC + 0x1000 + 0x1800
    assert kernel.dest.end <= DRAM + 128 * MIB
    assert bytes(kernel.data) == IMAGE
    assert plan.flags == 40 << 16
    assert plan.entry % 4 == 0
    assert all(item.dest.start >= TARGET.end for item in plan.segments)
    assert place_of(plan, Role.INITRD).end == DRAM + 512 * MIB
    assert place_of(plan, Role.DTB).end <= DRAM + 512 * MIB
    assert not verify(plan, build_facts())


def test_chosen_says_what_the_plan_says() -> None:
    plan = build_plan()
    start = place_of(plan, Role.INITRD).start
    assert tree_of(plan).properties["/chosen"] == {
        "bootargs": b"ro quiet\0",
        "linux,initrd-start": wide(start),
        "linux,initrd-end": wide(start + len(INITRD)),
        "kaslr-seed": b"kaslr-8b",
        "rng-seed": b"r" * 32,
        "linux,booted-from-kexec": b"",
    }


@pytest.mark.parametrize(
    ("start", "told", "usable", "base"),
    [
        (0x40000000, [(0x40000000, GIB)], None, 0x40000000),
        (0x48000000, [(0x40000000, GIB)], None, 0x48000000),
        # A phone's: memory begins 2 MiB behind a multiple of 128.
        (0x80000000, [(0x80200000, GIB)], None, 0x80200000),
        (0x80000000, [(0x80100000, GIB)], None, 0x80200000),
        (0xC0000000, [(0x80200000, 0x10000000)], None, 0x80200000),
        # What is above 4 GiB does not count.
        (0x80000000, [(0x800000000, GIB)], None, 0x80000000),
        (0x80000000, [], None, 0x80000000),
        # Of a capture kernel.
        (0x48000000, [(0x40000000, GIB)], (0x49000000, MIB), 0x49000000),
        (0x48000000, [(0x40000000, GIB)], (0x49100000, MIB), 0x49200000),
    ],
)
def test_base_of_memory(
    start: int, told: list[tuple[int, int]], usable: tuple[int, int] | None, base: int
) -> None:
    """Linux arch/arm/boot/compressed/fdt_check_mem_start.c."""
    memory = RangeSet(Range.sized(*item) for item in told)
    assert base_of(start, memory, Range.sized(*usable) if usable else None) == base


def test_a_kernel_without_table_gets_room_for_any() -> None:
    image = build_zimage(words=None)
    plan = build_plan(kernel=image)
    assert place_of(plan, Role.KERNEL).start >= DRAM + 0x308000 + 5 * len(image)
    assert any("does not say how large" in note for note in plan.notes)
    assert not verify(plan, build_facts())


def test_a_table_without_text_offset_gets_the_largest() -> None:
    plan = build_plan(kernel=build_zimage(words=(BSS,)))
    assert place_of(plan, Role.KERNEL).start >= DRAM + 0x308000 + INFLATED + BSS
    assert any("how far from the base" in note for note in plan.notes)


@pytest.mark.parametrize("how", ["node", "no-map", "memreserve"])
def test_a_reservation_where_the_kernel_would_be_unpacked(how: str) -> None:
    """/proc/iomem shows none of them: the next block is taken, and what that costs is told."""
    reserved = (DRAM + 16 * MIB, MIB)
    flag = {"no-map": b""} if how == "no-map" else {}
    parent = {"#address-cells": [2], "#size-cells": [2], "ranges": b""}
    node = Spec("firmware@41000000", {"reg": wide(*reserved), **flag})
    if how == "memreserve":
        tree = build_tree(reservations=[reserved])
    else:
        tree = build_tree((Range(DRAM, DRAM + GIB),), {}, Spec("reserved-memory", parent, (node,)))
    facts = build_facts(device_tree=tree)
    plan = build_plan(facts)
    assert place_of(plan, Role.KERNEL).start >= DRAM + 128 * MIB + TEXT_OFFSET + INFLATED
    assert any("128 MiB of RAM below the kernel are lost" in note for note in plan.notes)
    assert all(item.dest.start >= DRAM + 128 * MIB for item in plan.segments)
    assert not verify(plan, facts)


def test_memory_that_begins_between_multiples_of_128_mib() -> None:
    ram = (Range(0x80200000, 0xA0000000),)
    facts = build_facts(ram, device_tree=build_tree(ram))
    plan = build_plan(facts)
    assert place_of(plan, Role.KERNEL).start >= 0x80200000 + TEXT_OFFSET + INFLATED + BSS
    assert any("kernels before Linux 5.12" in note for note in plan.notes)
    assert not verify(plan, facts)


def test_memory_above_4_gib_is_left_alone() -> None:
    ram = (Range(DRAM, DRAM + GIB), Range(4 * GIB, 8 * GIB))
    facts = build_facts(ram, device_tree=build_tree(ram))
    plan = build_plan(facts)
    assert all(item.dest.end <= DRAM + 512 * MIB for item in plan.segments)
    assert len(plan.memory_map) == 2
    assert not verify(plan, facts)


def test_the_efi_map_is_kept() -> None:
    told = {
        "linux,uefi-system-table": wide(0x7F000000),
        "linux,uefi-mmap-start": wide(DRAM + 512 * MIB - 0x1234),
        "linux,uefi-mmap-size": cells(0x1000),
    }
    facts = build_facts(device_tree=build_tree(chosen=told))
    plan = build_plan(facts)
    assert place_of(plan, Role.INITRD).end <= DRAM + 512 * MIB - 0x2000
    assert not verify(plan, facts)
    assert any("EFI may still name" in note for note in build_plan(facts, initrd=None).notes)


def test_a_large_initrd_may_reach_to_the_end_of_lowmem() -> None:
    plan = build_plan(initrd=bytes(600 * MIB), purgatory=PurgatoryOptions(skip_checks=True))
    assert DRAM + 512 * MIB < place_of(plan, Role.INITRD).end <= LOWMEM_END


def test_an_initrd_that_no_kernel_maps() -> None:
    with pytest.raises(NoRoomError) as caught:
        build_plan(initrd=memoryview(bytes(760 * MIB)))
    assert caught.value.role == Role.INITRD
    assert "from the base of memory are mapped" in caught.value.message


def test_too_little_memory_to_unpack_in() -> None:
    ram = (Range(DRAM, DRAM + 16 * MIB),)
    with pytest.raises(NoRoomError) as caught:
        build_plan(build_facts(ram, device_tree=build_tree(ram)))
    assert "cannot place the unpacked kernel" in caught.value.message
    assert "unpacked behind the base of memory, 0x40000000" in caught.value.message


@pytest.mark.parametrize(("length", "fits"), [(1023, True), (1024, False)])
def test_command_lines(length: int, fits: bool) -> None:
    if fits:
        assert build_plan(cmdline=b"x" * length).cmdline == b"x" * length
        return
    with pytest.raises(CommandLineError, match="arm kernels take at most 1023"):
        build_plan(cmdline=b"x" * length)


def test_a_tree_that_is_too_large() -> None:
    tree = build_tree((Range(DRAM, DRAM + GIB),), {}, Spec("large", {"data": bytes(MIB)}))
    with pytest.raises(ImageError, match="arm kernels take at most 1048576"):
        build_plan(build_facts(device_tree=tree))


def test_the_tree_behind_a_zimage_is_used() -> None:
    own = build_tree((), {}, Spec("marked", {"by": "the zImage"}))
    plan = build_plan(kernel=build_zimage(behind=own))
    assert tree_of(plan).properties["/marked"]["by"] == b"the zImage\0"
    assert place_of(plan, Role.KERNEL).size == place_of(build_plan(), Role.KERNEL).size
    kernel = plan.segment(Role.KERNEL)
    assert kernel is not None
    assert bytes(kernel.data) == IMAGE
    assert "the device tree is the zImage's" in plan.notes
    assert any("memory: " in note for note in plan.notes)


def test_zimage_in_other_wrappings() -> None:
    assert build_plan(kernel=gzip.compress(IMAGE)).segments == build_plan().segments


def test_the_only_call() -> None:
    image = identify(IMAGE, "arm").image
    request, facts = build_request(), build_facts()
    choice = choose(CallWish.AUTO, request, image, facts)
    assert choice.call is Call.KEXEC_LOAD
    assert choice.reason == "arm has no kexec_file_load"
    with pytest.raises(FileCallUnusableError):
        choose(CallWish.FILE, request, image, facts)


class TestCrash:
    def test_it_lies_in_the_region_below_the_core_header(self) -> None:
        facts = crash_facts()
        plan = build_plan(facts, target=CRASH)
        header = place_of(plan, Role.ELFCOREHDR)
        assert header.start % (2 * MIB) == 0
        assert REGION.contains(header)
        base = REGION.start
        for role in (Role.KERNEL, Role.DTB, Role.INITRD, Role.PURGATORY):
            place = place_of(plan, role)
            assert base + TEXT_OFFSET + INFLATED + BSS <= place.start
            assert place.end <= header.start
        assert plan.flags == 40 << 16 | 1
        assert not verify(plan, facts)

    def test_it_is_told_both_ways(self) -> None:
        plan = build_plan(crash_facts(), target=CRASH)
        header = place_of(plan, Role.ELFCOREHDR)
        size = (header.start - REGION.start) // KIB
        words = f"elfcorehdr={header.start:#x} mem={size}K@{REGION.start:#x}"
        assert plan.cmdline == f"ro quiet {words}".encode()
        chosen = tree_of(plan).properties["/chosen"]
        assert chosen["bootargs"] == plan.cmdline + b"\0"
        assert chosen["linux,usable-memory-range"] == wide(REGION.start, REGION.size)
        core = plan.segment(Role.ELFCOREHDR)
        assert core is not None
        assert chosen["linux,elfcorehdr"] == wide(header.start, len(core.data))

    def test_the_users_own_mem_goes(self) -> None:
        plan = build_plan(crash_facts(), target=CRASH, cmdline=b"ro mem=512M -- mem=init's")
        assert plan.cmdline.startswith(b"ro elfcorehdr=0x")
        assert plan.cmdline.endswith(b" -- mem=init's")
        assert plan.cmdline.count(b"mem=") == 2
        assert any("mem= is left out" in note for note in plan.notes)
        assert not verify(plan, crash_facts())

    def test_core_header(self) -> None:
        ram = (Range(DRAM, DRAM + GIB), Range(4 * GIB, 5 * GIB))
        high = RangeSet([Range(4 * GIB, 5 * GIB)])
        facts = build_facts(
            ram,
            children=[IomemEntry(REGION, "Crash kernel")],
            device_tree=build_tree(ram),
            crash=replace(CRASH_FACTS, unreadable=tuple(high)),
        )
        plan = build_plan(facts, target=CRASH)
        core = plan.segment(Role.ELFCOREHDR)
        assert core is not None
        assert class_of(bytes(core.data)) is ELF32
        headers = parse_elfcorehdr(bytes(core.data))
        assert [item.type for item in headers[:3]] == [PT_NOTE] * 3
        loads = [(item.paddr, item.vaddr, item.size) for item in headers if item.type == PT_LOAD]
        assert loads == [
            (DRAM, 0xC0000000, 128 * MIB),
            (REGION.end, 0xC0000000 + 256 * MIB, 512 * MIB),
            (LOWMEM_END, 0xFFFFFFFF, 256 * MIB),
        ]
        assert any("nothing above 4 GiB" in note for note in plan.notes)
        assert not verify(plan, facts)

    def test_a_region_at_an_address_of_its_own(self) -> None:
        region = Range.sized(DRAM + 130 * MIB, 64 * MIB)
        facts = crash_facts(region)
        plan = build_plan(facts, target=CRASH)
        assert place_of(plan, Role.KERNEL).start >= region.start + TEXT_OFFSET + INFLATED
        assert any("kernels before Linux 5.16" in note for note in plan.notes)
        assert not verify(plan, facts)

    def test_a_region_that_is_too_small(self) -> None:
        with pytest.raises(NoRoomError, match="the unpacked kernel"):
            build_plan(crash_facts(Range.sized(REGION.start, 24 * MIB)), target=CRASH)

    def test_refusals(self) -> None:
        hotplug = replace(crash_facts().kernel, crash_elfcorehdr_size=4096)
        with pytest.raises(PykexecError, match="do not update a core header"):
            build_plan(crash_facts(kernel=hotplug), target=CRASH, hotplug=True)
        with pytest.raises(OptionError, match="ELF32 ones alone"):
            build_plan(crash_facts(), target=CRASH, core_bits=64)
        unknown = replace(CRASH_FACTS, page_offset_vaddr=None)
        with pytest.raises(PykexecError, match="/proc/kallsyms") as caught:
            build_plan(crash_facts(crash=unknown), target=CRASH)
        assert "kptr_restrict" in str(caught.value.hint)

    def test_command_lines(self) -> None:
        """The longest words have 52 bytes."""
        assert build_plan(crash_facts(), target=CRASH, cmdline=b"x" * 960)
        with pytest.raises(CommandLineError):
            build_plan(crash_facts(), target=CRASH, cmdline=b"x" * 980)


def moved(plan: SegmentPlan, role: Role, start: int) -> SegmentPlan:
    """Put a segment elsewhere, and tell nobody."""
    segments = tuple(
        replace(item, dest=Range.sized(start, item.dest.size)) if item.role is role else item
        for item in plan.segments
    )
    return replace(plan, segments=segments)


def kernel_at(plan: SegmentPlan, start: int) -> SegmentPlan:
    return replace(moved(plan, Role.KERNEL, start), kernel_entry=start)


def with_data(plan: SegmentPlan, role: Role, data: bytes) -> SegmentPlan:
    segments = tuple(
        replace(item, data=data) if item.role is role else item for item in plan.segments
    )
    return replace(plan, segments=segments)


Change = Callable[[SegmentPlan], SegmentPlan]


@pytest.mark.parametrize(
    ("invariant", "detail", "change"),
    [
        ("entry-aligned", "multiple of 4", lambda p: replace(p, entry=p.entry + 1)),
        ("image-placement", "copy itself", lambda p: kernel_at(p, DRAM + 16 * MIB)),
        # Where the next block begins the program would look for memory there.
        ("image-placement", "copy itself", lambda p: kernel_at(p, DRAM + 128 * MIB)),
        ("image-placement", "no 0x16f2818", lambda p: with_data(p, Role.KERNEL, bytes(4096))),
        ("unpacked-kernel", "initrd", lambda p: moved(p, Role.INITRD, DRAM + 8 * MIB)),
        ("lowmem", "maps", lambda p: moved(p, Role.INITRD, LOWMEM_END)),
        ("initrd-is-told", "told", lambda p: moved(p, Role.INITRD, DRAM + 256 * MIB)),
        ("command-line", "differ", lambda p: replace(p, cmdline=b"other")),
        ("device-tree", "no segment", lambda p: moved(p, Role.DTB, DRAM + 300 * MIB)),
    ],
)
def test_violations(invariant: str, detail: str, change: Change) -> None:
    plan = build_plan()
    found = [item for item in verify(change(plan), build_facts()) if item.invariant == invariant]
    assert any(detail in item.detail for item in found), found
    assert invariant in invariants_of(plan)
    assert set(SEGMENT_INVARIANTS) < set(invariants_of(plan))


@pytest.mark.parametrize(
    ("detail", "change"),
    [
        ("normal kernel", lambda p: replace(p, target=Target.NORMAL)),
        ("the command line says", lambda p: replace(p, cmdline=b"ro quiet")),
        ("outside of", lambda p: moved(p, Role.INITRD, DRAM + 255 * MIB)),
    ],
)
def test_crash_violations(detail: str, change: Change) -> None:
    plan = build_plan(crash_facts(), target=CRASH)
    found = [v for v in verify(change(plan), crash_facts()) if v.invariant == "crash-memory"]
    assert any(detail in item.detail for item in found), found


def test_a_reservation_that_has_come_since() -> None:
    """In the tree of the plan it is not; so the running machine's /proc/iomem has to say it."""
    plan = build_plan()
    hole = (Range(DRAM, DRAM + 8 * MIB), Range(DRAM + 16 * MIB, DRAM + GIB))
    found = {item.invariant for item in verify(plan, build_facts(hole))}
    assert found == {"unpacked-kernel"}


def test_what_inspect_gets() -> None:
    image = identify(IMAGE, "arm").image
    assert isinstance(image, ZImage)
    assert image.release == "6.12.0-arm"
