"""A plan for arm64, judged by addresses from the documents and a decoder of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pykexec.crash.elfcorehdr import parse_elfcorehdr
from pykexec.errors import (
    CommandLineError,
    ImageError,
    NoCrashRegionError,
    NoRoomError,
    PykexecError,
    UsageError,
)
from pykexec.planning.invariants import verify
from pykexec.planning.plans import SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.arm64 import Aarch64Registers
from pykexec.purgatory_objects.parameters import read_parameters
from pykexec.values.calls import Target
from pykexec.values.elf_headers import PT_LOAD
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, KIB, MIB
from tests.builders.arm64 import (
    CRASH_FACTS,
    IMAGE,
    IMAGE_SIZE,
    build_facts,
    build_image,
    build_plan,
    build_tree,
)
from tests.builders.device_trees import read_blob, wide
from tests.builders.ima import MEASUREMENTS
from tests.builders.tree_requests import INITRD

CRASH = Target.CRASH
LOW = IomemEntry(Range(0x70000000, 0x78000000), "Crash kernel")
HIGH = IomemEntry(Range(0xB0000000, 0xC0000000), "Crash kernel")


def chosen_of(plan: SegmentPlan) -> dict[str, bytes]:
    """Follow x0 to the tree, and read /chosen there."""
    purgatory = plan.segment(Role.PURGATORY)
    assert purgatory is not None
    registers = read_parameters(load("aarch64"), bytes(purgatory.data)).registers
    assert isinstance(registers, Aarch64Registers)
    assert (registers.x1, registers.x2, registers.x3) == (0, 0, 0)
    assert registers.pc == plan.kernel_entry
    dtb = plan.segment_at(registers.x0)
    assert dtb is not None
    assert dtb.role is Role.DTB
    assert dtb.dest.start == registers.x0
    return read_blob(bytes(dtb.data)).properties["/chosen"]


def place_of(plan: SegmentPlan, role: Role) -> Range:
    segment = plan.segment(role)
    assert segment is not None
    return segment.dest


def test_lowest_base_and_everything_above_it() -> None:
    plan = build_plan()
    kernel = place_of(plan, Role.KERNEL)
    assert kernel == Range.sized(GIB, IMAGE_SIZE)
    assert plan.kernel_entry == GIB
    assert plan.flags == 183 << 16
    initrd = plan.segment(Role.INITRD)
    assert initrd is not None
    assert initrd.dest.end == build_facts().iomem[0].range.end
    assert initrd.data == INITRD
    assert place_of(plan, Role.DTB).start % (2 * MIB) == 0
    assert all(segment.dest.start >= kernel.start for segment in plan.segments)
    segment = plan.segment(Role.KERNEL)
    assert segment is not None
    assert bytes(segment.data) == IMAGE
    assert not verify(plan, build_facts())


def test_chosen_says_what_the_plan_says() -> None:
    plan = build_plan()
    start = place_of(plan, Role.INITRD).start
    assert chosen_of(plan) == {
        "bootargs": b"ro quiet\0",
        "linux,initrd-start": wide(start),
        "linux,initrd-end": wide(start + len(INITRD)),
        "kaslr-seed": b"kaslr-8b",
        "rng-seed": b"r" * 32,
        "linux,booted-from-kexec": b"",
    }
    assert "device tree from /sys/firmware/fdt" in plan.notes


def test_a_tree_at_the_end_of_a_page_has_room_for_what_it_will_tell() -> None:
    """With IMA's list the tree is longer by a reservation once its place is known."""

    def tree_size(filler: int) -> int:
        tree = build_tree(chosen={"filler": bytes(filler)})
        facts = build_facts(device_tree=tree, ima_measurements=MEASUREMENTS)
        plan = build_plan(facts, ima=True)
        assert plan.segment(Role.IMA_BUFFER) is not None
        assert not verify(plan, facts)
        dtb = plan.segment(Role.DTB)
        assert dtb is not None
        return len(dtb.data)

    page = build_facts().page_size
    to_the_end = -tree_size(4) % page
    sizes = [tree_size(4 + to_the_end + more) % page for more in range(-24, 28, 4)]
    assert sizes != sorted(sizes)  # some end on this page, some on the next


def test_nothing_of_the_running_kernels_is_inherited() -> None:
    old = {"bootargs": "root=/dev/old", "linux,elfcorehdr": wide(1, 2), "kaslr-seed": bytes(8)}
    facts = build_facts(device_tree=build_tree(chosen=old))
    chosen = chosen_of(build_plan(facts, cmdline=b"", initrd=None, kaslr_seed=None))
    assert chosen.keys() == {"bootargs", "rng-seed", "linux,booted-from-kexec"}
    assert chosen["bootargs"] == b"\0"


def test_text_offset_of_an_old_kernel() -> None:
    kernel = build_image(text_offset=0x81000, flags=0)
    plan = build_plan(kernel=kernel)
    assert plan.kernel_entry == GIB + 0x81000
    assert place_of(plan, Role.KERNEL) == Range.sized(GIB, 0x81000 + IMAGE_SIZE)
    where = Range.sized(plan.kernel_entry, len(kernel))
    assert plan.bytes_at(where) == kernel
    assert not verify(plan, build_facts())


def test_memory_below_a_kernel_that_wants_the_base_of_ram() -> None:
    facts = build_facts(children=[IomemEntry(Range(GIB, GIB + 0x1000), "reserved")])
    assert build_plan(facts).kernel_entry == GIB + 2 * MIB
    assert not any("lost" in note for note in build_plan(facts).notes)
    notes = build_plan(facts, kernel=build_image(flags=2)).notes
    assert any(note.startswith("2 MiB of RAM below the kernel are lost") for note in notes)


@pytest.mark.parametrize(
    ("flags", "words"),
    [(0b1011, "big-endian"), (0b1100, "pages of 16 KiB"), (0b1110, "pages of 64 KiB")],
)
def test_what_the_processor_must_support(flags: int, words: str) -> None:
    assert any(words in note for note in build_plan(kernel=build_image(flags=flags)).notes)


def test_running_kernel_with_large_pages() -> None:
    plan = build_plan(build_facts(page_size=64 * KIB))
    assert all(segment.dest.start % (64 * KIB) == 0 for segment in plan.segments)
    assert any("pages of 4 KiB, the running one of 64 KiB" in note for note in plan.notes)
    assert not verify(plan, build_facts(page_size=64 * KIB))


def test_initrd_stays_in_the_kernels_window() -> None:
    ram = [Range(GIB, GIB + 8 * MIB), Range(33 * GIB, 33 * GIB + 9 * MIB)]
    large = memoryview(bytes(8 * MIB))
    with pytest.raises(NoRoomError, match="cannot place initrd") as caught:
        build_plan(build_facts(ram), initrd=large)
    assert caught.value.wish.highest == 33 * GIB - 1
    assert caught.value.beside == (Role.KERNEL,)
    near = build_facts([Range(GIB, GIB + 8 * MIB), Range(33 * GIB - 16 * MIB, 34 * GIB)])
    assert place_of(build_plan(near, initrd=large), Role.INITRD).end == 33 * GIB


@pytest.mark.parametrize(
    ("ram", "end"),
    [
        pytest.param([Range(GIB, 3 * GIB)], 3 * GIB, id="small"),
        pytest.param([Range(GIB, 64 * GIB)], 4 * GIB, id="across"),
        pytest.param([Range(GIB, 3 * GIB), Range(8 * GIB, 64 * GIB)], 3 * GIB, id="below"),
        pytest.param([Range(GIB, GIB + 8 * MIB), Range(8 * GIB, 9 * GIB)], 9 * GIB, id="scarce"),
        pytest.param([Range(8 * GIB, 64 * GIB)], 40 * GIB, id="above"),
    ],
)
def test_initrd_where_the_running_kernel_allocates_last(ram: list[Range], end: int) -> None:
    large = memoryview(bytes(8 * MIB))
    plan = build_plan(build_facts(ram), initrd=large)
    assert place_of(plan, Role.INITRD).end == end
    others = [item for item in plan.segments if item.role is not Role.INITRD]
    assert max(item.dest.end for item in others) <= ram[0].start + 8 * MIB


@pytest.mark.parametrize("size", [2047, 2048])
def test_length_of_the_command_line(size: int) -> None:
    if size < 2048:
        assert chosen_of(build_plan(cmdline=b"x" * size))["bootargs"] == b"x" * size + b"\0"
        return
    with pytest.raises(CommandLineError, match=r"2048 bytes long, arm64 kernels take at most 2047"):
        build_plan(cmdline=b"x" * size)


def test_nul_in_the_command_line() -> None:
    with pytest.raises(CommandLineError, match="NUL byte at position 1"):
        build_plan(cmdline=b"a\0b")


def test_a_tree_that_is_too_large() -> None:
    tree = build_tree(chosen={"stdout-path": bytes(3 * MIB)})
    with pytest.raises(ImageError, match="arm64 kernels take at most 2097152"):
        build_plan(build_facts(device_tree=tree))


def test_the_users_tree_replaces_the_running_one() -> None:
    plan = build_plan(dtb=build_tree(chosen={"stdout-path": "/serial@9000000"}))
    assert chosen_of(plan)["stdout-path"] == b"/serial@9000000\0"
    assert "device tree from /sys/firmware/fdt" not in plan.notes


def test_a_machine_whose_tree_was_not_recorded() -> None:
    plan = build_plan(build_facts(device_tree=None))
    assert chosen_of(plan)["bootargs"] == b"ro quiet\0"
    assert any("the plan has an empty one" in note for note in plan.notes)


def test_reserved_children_are_left_alone_at_every_depth() -> None:
    inner = IomemEntry(Range(0x40400000, 0x40401000), "ACPI reclaim region")
    kernel = IomemEntry(Range(0x40200000, 0x41000000), "Kernel code", (inner,))
    plan = build_plan(build_facts(children=[kernel]))
    assert all(not segment.dest.overlaps(inner.range) for segment in plan.segments)


def test_hot_added_memory_is_not_used() -> None:
    facts = build_facts([Range(GIB, GIB + MIB)])
    more = IomemEntry(Range(4 * GIB, 8 * GIB), "System RAM (virtio_mem)")
    with pytest.raises(NoRoomError, match="cannot place kernel"):
        build_plan(replace(facts, iomem=(*facts.iomem, more)))


# Crash loads.


def crash_facts(*regions: IomemEntry, **more: Any) -> Any:
    return build_facts(children=regions or (HIGH,), **more)


def test_crash_load_lies_in_its_region() -> None:
    facts = crash_facts(LOW, HIGH)
    plan = build_plan(facts, target=CRASH)
    assert plan.flags == 183 << 16 | 1
    assert all(HIGH.range.contains(segment.dest) for segment in plan.segments)
    chosen = chosen_of(plan)
    core = plan.segment(Role.ELFCOREHDR)
    assert core is not None
    assert chosen["linux,elfcorehdr"] == wide(core.dest.start, len(core.data))
    # The region of the kernel first, the low one last.
    assert chosen["linux,usable-memory-range"] == wide(
        HIGH.range.start, HIGH.range.size, LOW.range.start, LOW.range.size
    )
    assert plan.cmdline == b"ro quiet"
    assert [item.range for item in plan.memory_map] == [LOW.range, HIGH.range]
    assert not verify(plan, facts)


def test_core_header_of_a_crash_load() -> None:
    hot = IomemEntry(Range(5 * GIB, 6 * GIB), "System RAM (virtio_mem)")
    facts = crash_facts()
    facts = replace(facts, iomem=(*facts.iomem, hot))
    core = build_plan(facts, target=CRASH).segment(Role.ELFCOREHDR)
    assert core is not None
    headers = parse_elfcorehdr(bytes(core.data))
    assert bytes(core.data[18:20]) == bytes([183, 0])
    loads = [(item.paddr, item.paddr + item.size) for item in headers if item.type == PT_LOAD]
    assert loads == [
        (0x40200000, 0x42680000),
        (GIB, 0xB0000000),
        (0xC0000000, 4 * GIB),
        (5 * GIB, 6 * GIB),
    ]
    assert [item.vaddr for item in headers if item.type == PT_LOAD] == [
        0xFFFFA6D1C0600000,
        0xFFFF000000000000,
        0xFFFF000080000000,
        0xFFFF000100000000,
    ]
    assert core.checked


@pytest.mark.parametrize(
    ("facts", "more", "error", "message"),
    [
        (build_facts(), {}, NoCrashRegionError, "no memory is reserved"),
        (crash_facts(), {"hotplug": True}, PykexecError, "no crash_elfcorehdr_size"),
        (
            crash_facts(kernel=KernelState(crash_elfcorehdr_size=4096)),
            {"hotplug": True},
            PykexecError,
            "arm64 kernels do not update",
        ),
        (
            crash_facts(crash=replace(CRASH_FACTS, page_offset_vaddr=None)),
            {},
            PykexecError,
            "direct map was not found",
        ),
    ],
)
def test_crash_loads_that_cannot_be(
    facts: Any, more: dict[str, Any], error: type[PykexecError], message: str
) -> None:
    with pytest.raises(error, match=message):
        build_plan(facts, target=CRASH, **more)


# A normal load inside the crash reservation.

INSIDE = {"mem_min": HIGH.range.start, "mem_max": HIGH.range.last}


def test_normal_load_inside_the_crash_region() -> None:
    facts = crash_facts()
    plan = build_plan(facts, **INSIDE)
    assert all(HIGH.range.contains(segment.dest) for segment in plan.segments)
    assert not verify(plan, facts)
    outside = build_plan(facts, mem_min=HIGH.range.start)
    assert all(not HIGH.range.overlaps(segment.dest) for segment in outside.segments)


def test_not_while_a_crash_kernel_is_there() -> None:
    facts = crash_facts(kernel=KernelState(crash_loaded=True))
    with pytest.raises(UsageError, match="where a crash kernel is loaded"):
        build_plan(facts, **INSIDE)
    assert build_plan(facts).segments
    assert build_plan(facts, target=CRASH).segments
