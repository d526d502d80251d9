"""A plan for riscv64, judged by addresses from the documents and a decoder of its own."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pykexec.calls.call_choice import choose
from pykexec.crash.elfcorehdr import parse_elfcorehdr
from pykexec.errors import CommandLineError, ImageError, NoRoomError, PykexecError
from pykexec.formats import identify
from pykexec.formats.elf_file import read_elf
from pykexec.formats.linux_image import LinuxImage
from pykexec.planning.invariants import SEGMENT_INVARIANTS, invariants_of, verify
from pykexec.planning.planner import plan_file_load
from pykexec.planning.plans import Segment, SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import read_parameters
from pykexec.purgatory_objects.riscv64 import Riscv64Registers
from pykexec.values.calls import Call, CallWish, Target
from pykexec.values.elf_headers import PT_LOAD
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, KIB, MIB
from tests.builders.device_trees import read_blob, wide
from tests.builders.images import build_vmlinux
from tests.builders.riscv64 import (
    DRAM,
    IMAGE,
    IMAGE_SIZE,
    OPENSBI,
    ROUNDED_SIZE,
    build_facts,
    build_image,
    build_plan,
    build_request,
    build_tree,
)
from tests.builders.tree_requests import INITRD

CRASH = Target.CRASH
LOW = IomemEntry(Range(0xF0000000, 0xF8000000), "Crash kernel")
HIGH = IomemEntry(Range(0x180000000, 0x190000000), "Crash kernel")
LARGE = (Range(DRAM, DRAM + 8 * GIB),)


Pack = Callable[[bytes], bytes]


def build_elf(image: bytes = IMAGE, paddr: int = 0) -> bytes:
    """Return the vmlinux that the Image is made of."""
    data = bytearray(build_vmlinux(image, paddr=paddr))
    struct.pack_into("<H", data, 18, 243)
    return bytes(data)


def tree_of(plan: SegmentPlan) -> Any:
    """Follow a1 to the tree."""
    purgatory = plan.segment(Role.PURGATORY)
    assert purgatory is not None
    registers = read_parameters(load("riscv64"), bytes(purgatory.data)).registers
    assert isinstance(registers, Riscv64Registers)
    assert registers.pc == plan.kernel_entry
    dtb = plan.segment_at(registers.a1)
    assert dtb is not None
    assert dtb.role is Role.DTB
    assert dtb.dest.start == registers.a1
    return read_blob(bytes(dtb.data))


def place_of(plan: SegmentPlan, role: Role) -> Range:
    segment = plan.segment(role)
    assert segment is not None
    return segment.dest


def test_lowest_base_above_the_firmware_and_everything_above_it() -> None:
    plan = build_plan()
    kernel = plan.segment(Role.KERNEL)
    assert kernel is not None
    assert plan.kernel_entry == kernel.dest.start == DRAM + 2 * MIB
    # Up to the next 2 MiB, which the kernel reserves for itself.
    assert kernel.dest.size == ROUNDED_SIZE
    assert bytes(kernel.data) == IMAGE
    assert plan.flags == 243 << 16
    assert plan.entry % 4 == 0
    initrd = plan.segment(Role.INITRD)
    assert initrd is not None
    assert initrd.data == INITRD
    assert initrd.dest.end == DRAM + 2 * GIB
    assert all(item.dest.start >= kernel.dest.start for item in plan.segments)
    assert not verify(plan, build_facts())


@pytest.mark.parametrize("no_map", [True, False])
def test_the_firmwares_reservation_stays_and_nothing_lies_on_it(no_map: bool) -> None:
    facts = build_facts(device_tree=build_tree(no_map=no_map))
    plan = build_plan(facts)
    assert all(not segment.dest.overlaps(OPENSBI) for segment in plan.segments)
    found = tree_of(plan).properties
    assert found["/reserved-memory/mmode_resv1@80000000"]["reg"] == wide(DRAM, 256 * KIB)
    assert ("no-map" in found["/reserved-memory/mmode_resv0@80040000"]) is no_map


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


def test_the_tree_is_the_first_segment_whatever_the_others_begin_with() -> None:
    """The running kernel takes the first that is one: here the initrd is a tree too."""
    plan = build_plan(initrd=build_tree())
    assert plan.segments[0].role is Role.DTB
    assert not verify(plan, build_facts())
    ascending = tuple(sorted(plan.segments, key=lambda item: item.dest, reverse=True))
    found = verify(replace(plan, segments=ascending), build_facts())
    assert [item.invariant for item in found] == ["tree-first"]


@pytest.mark.parametrize(
    ("release", "lost"), [("6.3.9", True), ("6.4.0-rc1", False), ("7.2.13", False), ("", True)]
)
def test_memory_below_a_kernel_before_6_4_is_lost(release: str, lost: bool) -> None:
    kernel = build_image(release=release)
    plan = build_plan(kernel=kernel)
    assert any("2 MiB of RAM below the kernel are lost" in note for note in plan.notes) is lost
    low = DRAM + 2 * MIB
    scarce = build_facts([Range(DRAM, low + 4 * MIB)])
    if lost:
        with pytest.raises(NoRoomError):
            build_plan(scarce, kernel=kernel, initrd=None)
    else:
        # What has no room above goes below the kernel.
        assert min(item.dest for item in build_plan(scarce, kernel=kernel).segments).start < low


def test_an_initrd_goes_where_there_is_room() -> None:
    """There is no window: here it lies 100 GiB away from the kernel."""
    ram = (Range(DRAM, DRAM + 8 * MIB), Range(100 * GIB, 101 * GIB))
    facts = build_facts(ram)
    plan = build_plan(facts, initrd=memoryview(bytes(8 * MIB)))
    assert place_of(plan, Role.INITRD).end == 101 * GIB
    assert not verify(plan, facts)


@pytest.mark.parametrize("size", [2047, 2048])
def test_length_of_the_command_line(size: int) -> None:
    if size < 2048:
        assert build_plan(cmdline=b"x" * size).segments
        return
    with pytest.raises(CommandLineError, match="riscv64 kernels take at most 2047"):
        build_plan(cmdline=b"x" * size)


def test_a_tree_that_is_too_large() -> None:
    tree = build_tree(chosen={"stdout-path": bytes(3 * MIB)})
    with pytest.raises(ImageError, match="riscv64 kernels take at most 2097152"):
        build_plan(build_facts(device_tree=tree))


# Images.


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_size": 0}, r"how much memory the kernel needs \(image_size is 0\)"),
        ({"image_size": 4096}, r"asks for 4 KiB of memory .*, its kernel alone has"),
        ({"flags": 1}, r"says that the kernel is big-endian \(flags 0x1\)"),
        ({"version": 0x10000}, "header is of version 1.0; known are those of 0"),
        ({"text_offset": 0}, "text_offset is 0x0: a kernel for machine mode"),
        ({"text_offset": 4 * MIB}, "text_offset is 0x400000: a kernel for riscv32"),
        ({"magic": b"none", "old_magic": bytes(8)}, "not a kernel image that can be loaded"),
    ],
)
def test_header_rules(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ImageError, match=words):
        identify(build_image(**change))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"version": 1, "magic": bytes(4)}, id="0.1 has the old magic alone"),
        pytest.param({"old_magic": bytes(8)}, id="the old magic may be removed"),
        pytest.param({"version": 3}, id="a later minor version"),
        pytest.param({"text_offset": 6 * MIB}, id="a wish is no law"),
    ],
)
def test_headers_of_other_versions(change: dict[str, Any]) -> None:
    plan = build_plan(kernel=build_image(**change))
    assert plan.kernel_entry == DRAM + 2 * MIB
    assert not verify(plan, build_facts())


def test_what_the_header_does_not_say() -> None:
    image = identify(build_image(flags=0b1110)).image
    assert isinstance(image, LinuxImage)
    assert (image.arch, image.page_size, image.big_endian) == ("riscv64", None, False)
    assert (image.base_offset, image.text_offset) == (0, 2 * MIB)


def test_a_kernel_for_another_machine_is_refused_with_both_names() -> None:
    with pytest.raises(ImageError, match=r"for riscv64 \(Image\) cannot be started by .* aarch64"):
        identify(IMAGE, "aarch64")


@pytest.mark.parametrize("paddr", [0, 0x80200000])
def test_vmlinux_becomes_the_image(paddr: int) -> None:
    data = build_elf(paddr=paddr)
    found = identify(data, "riscv64")
    assert bytes(found.file)[: len(IMAGE)] == IMAGE
    assert [wrapping.name for wrapping in found.wrappings] == ["ELF vmlinux"]
    assert not verify(build_plan(kernel=data), build_facts())


def test_what_a_vmlinux_has_behind_the_kernel_is_left() -> None:
    """The kernel's own loader takes no Image that is longer than it says."""
    elf = bytearray(build_elf())
    (phoff,) = struct.unpack_from("<Q", elf, 32)
    # The third program header is of a note: let it be loaded, right behind the kernel.
    at = phoff + 2 * 56
    behind = read_elf(bytes(elf)).segments[0].paddr + IMAGE_SIZE
    struct.pack_into("<IIQQQQQQ", elf, at, PT_LOAD, 4, 0, 0, behind, 0x1000, 0x1000, 0x1000)
    found = identify(bytes(elf), "riscv64")
    assert len(found.file) == len(identify(build_elf(), "riscv64").file)
    assert len(found.file) <= IMAGE_SIZE


@pytest.mark.parametrize("pack", [bytes, gzip.compress, build_elf], ids=["plain", "gzip", "elf"])
@pytest.mark.parametrize(
    ("release", "in_elf"), [("6.12.117", True), ("6.15.9", True), ("6.16.0", False), ("", False)]
)
def test_the_file_call_gets_what_the_running_kernel_takes(
    release: str, in_elf: bool, pack: Pack
) -> None:
    facts = build_facts(kernel=KernelState(release=release))
    request = build_request(kernel=pack(IMAGE))
    found = identify(request.kernel, "riscv64")
    for wish in (CallWish.AUTO, CallWish.FILE):
        assert choose(wish, request, found.image, facts).call is Call.KEXEC_FILE_LOAD
    made = plan_file_load(facts, request)
    told = any("takes ELF files alone" in note for note in made.notes)
    assert told is in_elf
    if not in_elf:
        assert bytes(made.kernel)[: len(IMAGE)] == IMAGE
        return
    again = identify(made.kernel, "riscv64")
    assert bytes(again.file)[: len(IMAGE)] == IMAGE
    elf = read_elf(made.kernel)
    (segment,) = elf.segments
    # Linux arch/riscv/kernel/kexec_elf.c enters at e_entry less the lowest p_vaddr.
    assert elf.entry == segment.vaddr
    assert segment.memsz == IMAGE_SIZE
    assert len(made.kernel) >= ROUNDED_SIZE
    assert len(made.kernel) % (2 * MIB) == 0


WITHOUT_FIRMWARE = (Range(DRAM + 512 * KIB, DRAM + 8 * GIB),)


def test_a_dump_that_would_have_the_firmwares_memory_goes_by_kexec_load() -> None:
    image, request = identify(IMAGE).image, build_request(target=CRASH)
    chosen = choose(CallWish.AUTO, request, image, crash_facts())
    assert chosen.call is Call.KEXEC_LOAD
    assert "covers firmware's memory (0x80000000-0x8007ffff)" in chosen.reason
    (warning,) = choose(CallWish.FILE, request, image, crash_facts()).warnings
    assert warning.startswith("the dump by kexec_file_load will break off: ")
    normal = choose(CallWish.FILE, build_request(), image, crash_facts())
    assert not normal.warnings
    # With no-map that memory is none of the kernel's.
    facts = build_facts(WITHOUT_FIRMWARE, children=(LOW, HIGH))
    for wish in (CallWish.AUTO, CallWish.FILE):
        chosen = choose(wish, request, image, facts)
        assert (chosen.call, chosen.warnings) == (Call.KEXEC_FILE_LOAD, ())


def test_the_file_call_puts_a_word_before_a_capture_kernels_command_line() -> None:
    facts = build_facts(WITHOUT_FIRMWARE, children=(LOW, HIGH))
    image = identify(IMAGE).image
    # "elfcorehdr=0x" with 14 digits and a blank, and the NUL.
    longest = 2048 - 28 - 1
    for size, call in ((longest, Call.KEXEC_FILE_LOAD), (longest + 1, Call.KEXEC_LOAD)):
        request = build_request(target=CRASH, cmdline=b"x" * size)
        assert choose(CallWish.AUTO, request, image, facts).call is call
    with pytest.raises(CommandLineError, match=f"2020 bytes, at most {longest} are taken"):
        choose(CallWish.FILE, request, image, facts)
    normal = build_request(cmdline=b"x" * 2047)
    assert choose(CallWish.FILE, normal, image, facts).call is Call.KEXEC_FILE_LOAD


# Crash loads.


def crash_facts(*regions: IomemEntry, **more: Any) -> Any:
    return build_facts(LARGE, children=regions or (LOW, HIGH), **more)


def test_crash_load_lies_in_the_highest_region() -> None:
    facts = crash_facts()
    plan = build_plan(facts, target=CRASH)
    assert plan.flags == 243 << 16 | 1
    assert all(HIGH.range.contains(segment.dest) for segment in plan.segments)
    chosen = tree_of(plan).properties["/chosen"]
    core = plan.segment(Role.ELFCOREHDR)
    assert core is not None
    assert chosen["linux,elfcorehdr"] == wide(core.dest.start, len(core.data))
    assert chosen["linux,usable-memory-range"] == wide(
        HIGH.range.start, HIGH.range.size, LOW.range.start, LOW.range.size
    )
    assert plan.cmdline == b"ro quiet"
    assert plan.segments[0].role is Role.DTB
    assert not verify(plan, facts)


def test_core_header_of_a_crash_load() -> None:
    core = build_plan(crash_facts(), target=CRASH).segment(Role.ELFCOREHDR)
    assert core is not None
    assert struct.unpack_from("<H", core.data, 18) == (243,)
    headers = parse_elfcorehdr(bytes(core.data))
    assert [
        (item.paddr, item.paddr + item.size, item.vaddr) for item in headers if item.type == PT_LOAD
    ] == [
        (0x80202000, 0x82400000, 0xFFFFFFFF80002000),
        (0x80000000, 0xF0000000, 0xFF60000000000000),
        (0xF8000000, 0x180000000, 0xFF60000078000000),
        (0x190000000, 0x280000000, 0xFF60000110000000),
    ]


def test_no_kernel_updates_its_core_header() -> None:
    facts = crash_facts(kernel=KernelState(crash_elfcorehdr_size=4096))
    with pytest.raises(PykexecError, match="riscv64 kernels do not update"):
        build_plan(facts, target=CRASH, hotplug=True)


def test_a_normal_load_may_lie_in_the_crash_region_of_a_loaded_crash_kernel() -> None:
    """riscv64 kernels leave the region mapped, and move segments without any map."""
    inside = {"mem_min": HIGH.range.start, "mem_max": HIGH.range.last}
    plan = build_plan(crash_facts(kernel=KernelState(crash_loaded=True)), **inside)
    assert all(HIGH.range.contains(segment.dest) for segment in plan.segments)


# Each invariant, violated once.


def changed(plan: SegmentPlan, role: Role, change: Callable[[Segment], Segment]) -> SegmentPlan:
    segments = (change(item) if item.role is role else item for item in plan.segments)
    return replace(plan, segments=tuple(segments))


def moved(by: int) -> Callable[[Segment], Segment]:
    def move(item: Segment) -> Segment:
        return replace(item, dest=Range.sized(item.dest.start + by, item.dest.size))

    return move


def cut_kernel(plan: SegmentPlan) -> SegmentPlan:
    def cut(item: Segment) -> Segment:
        return replace(item, dest=Range.sized(item.dest.start, ROUNDED_SIZE - 4096))

    return changed(plan, Role.KERNEL, cut)


def with_data(data: bytes) -> Callable[[Segment], Segment]:
    return lambda item: replace(item, data=data)


BROKEN: list[tuple[str, str, Callable[[SegmentPlan], SegmentPlan]]] = [
    ("entry-aligned", "not a multiple of 4", lambda plan: replace(plan, entry=plan.entry + 2)),
    (
        "device-tree",
        "malformed",
        lambda plan: changed(plan, Role.DTB, with_data(b"\xd0\x0d\xfe\xed" + bytes(60))),
    ),
    (
        "device-tree",
        "lies in no segment",
        lambda plan: changed(plan, Role.DTB, moved(512 * MIB)),
    ),
    ("image-placement", "the kernel needs 4194304 bytes", cut_kernel),
    (
        "image-placement",
        "is not a multiple of 0x200000",
        lambda plan: replace(
            changed(plan, Role.KERNEL, moved(4096)), kernel_entry=plan.kernel_entry + 4096
        ),
    ),
    ("initrd-is-told", "told", lambda plan: changed(plan, Role.INITRD, moved(-MIB))),
    ("command-line", "differ", lambda plan: replace(plan, cmdline=b"other")),
    (
        "memory-is-told",
        "lies on mmode_resv1@80000000",
        lambda plan: changed(
            plan,
            Role.INITRD,
            lambda item: replace(item, dest=Range.sized(DRAM, item.dest.size)),
        ),
    ),
    (
        "tree-first",
        "initrd 0xff",
        lambda plan: replace(
            plan,
            segments=changed(plan, Role.INITRD, with_data(build_tree())).segments[::-1],
        ),
    ),
    ("crash-memory", "is not told first", lambda plan: replace(plan, target=CRASH)),
]


@pytest.mark.parametrize(("name", "words", "change"), BROKEN, ids=[item[0] for item in BROKEN])
def test_a_broken_invariant_is_named(
    name: str, words: str, change: Callable[[SegmentPlan], SegmentPlan]
) -> None:
    found = verify(change(build_plan()), build_facts())
    assert any(item.invariant == name and words in item.detail for item in found), found


def test_every_invariant_is_broken_by_a_test() -> None:
    own = set(invariants_of(build_plan())) - set(SEGMENT_INVARIANTS)
    assert own == {name for name, _, _ in BROKEN}
    assert "initrd-window" not in own


def test_sizes_of_the_builder() -> None:
    assert IMAGE_SIZE <= ROUNDED_SIZE


FAR = (Range(DRAM, DRAM + 512 * MIB), Range(DRAM + 200 * GIB, DRAM + 202 * GIB))


def test_three_levels_of_page_tables_reach_so_far() -> None:
    facts = build_facts(FAR, device_tree=build_tree(FAR))
    more: dict[str, Any] = {"mem_min": 200 * GIB, "initrd": None}
    assert verify(build_plan(facts, cmdline=b"no5lvl", **more), facts) == []
    for cmdline in (b"no4lvl", b"ro xno4lvl=1"):  # the kernel looks for the letters
        with pytest.raises(NoRoomError, match=r"no4lvl: the kernel maps 128 GiB"):
            build_plan(facts, cmdline=cmdline, **more)
    near = build_plan(facts, cmdline=b"no4lvl")
    assert all(item.dest.end <= FAR[0].end for item in near.segments)


def test_the_capture_kernel_reaches_so_far_from_its_own_memory() -> None:
    region = IomemEntry(Range.sized(DRAM + 201 * GIB, 512 * MIB), "Crash kernel")
    facts = build_facts(FAR, [region], device_tree=build_tree(FAR))
    plan = build_plan(facts, cmdline=b"no4lvl", target=CRASH)
    assert verify(plan, facts) == []


EFI = {"linux,uefi-system-table": wide(0x90000000)}
STALE = "there is no initrd: EFI may still name the first boot's"


@pytest.mark.parametrize(
    ("release", "chosen", "more", "told"),
    [
        ("6.12.1", EFI, {"initrd": None}, True),
        ("", EFI, {"initrd": None}, True),
        ("7.2.13", EFI, {"initrd": None}, False),
        ("6.12.1", EFI, {}, False),
        ("6.12.1", {}, {"initrd": None}, False),
    ],
)
def test_an_initrd_that_nobody_asked_for(
    release: str, chosen: dict[str, Any], more: dict[str, Any], told: bool
) -> None:
    facts = build_facts(device_tree=build_tree(chosen=chosen), kernel=KernelState(release=release))
    notes = build_plan(facts, **more).notes
    assert any(note.startswith(STALE) for note in notes) is told
