"""Every named invariant is broken once, and noticed with its numbers."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from pykexec.boot.x86.boot_params import BOOT_PARAMS_SIZE
from pykexec.crash.elfcorehdr import build_elfcorehdr, parse_elfcorehdr
from pykexec.errors import VerifyError, Violation
from pykexec.planning.invariants import invariants_of, verify
from pykexec.planning.plans import Segment, SegmentPlan
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import build_purgatory, read_parameters
from pykexec.purgatory_objects.x86 import Entry64Registers
from pykexec.values.calls import Target
from pykexec.values.facts import CrashFacts, MachineFacts
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from tests.builders.ima import MEASUREMENTS
from tests.builders.plans import RAM, SMALL_KERNEL, build_facts, build_plan

PLAN = build_plan()
FACTS = build_facts()


def segment(role: Role, plan: SegmentPlan = PLAN) -> Segment:
    found = plan.segment(role)
    assert found is not None
    return found


def with_segment(changed: Segment, plan: SegmentPlan = PLAN) -> SegmentPlan:
    others = tuple(item for item in plan.segments if item.role is not changed.role)
    return replace(plan, segments=tuple(sorted((*others, changed), key=lambda item: item.dest)))


def without(role: Role, plan: SegmentPlan = PLAN) -> SegmentPlan:
    return replace(plan, segments=tuple(item for item in plan.segments if item.role is not role))


def at(role: Role, dest: Range) -> SegmentPlan:
    return with_segment(replace(segment(role), dest=dest))


def patched(role: Role, offset: int, data: bytes) -> SegmentPlan:
    old = bytearray(segment(role).data)
    old[offset : offset + len(data)] = data
    return PLAN.with_data(role, bytes(old))


def params(offset: int, value: int, size: int) -> SegmentPlan:
    return patched(Role.PARAMETERS, offset, value.to_bytes(size, "little"))


def passing(rsi: int) -> SegmentPlan:
    purgatory, built = segment(Role.PURGATORY), load("x86_64")
    wanted = read_parameters(built, bytes(purgatory.data))
    assert isinstance(wanted.registers, Entry64Registers)
    wanted = replace(wanted, registers=replace(wanted.registers, rsi=rsi))
    return PLAN.with_data(Role.PURGATORY, build_purgatory(built, purgatory.dest.start, wanted))


KERNEL_DEST = segment(Role.KERNEL).dest
INITRD_DEST = segment(Role.INITRD).dest
LOW = Range.sized(512 * MIB, 4096)

BROKEN: list[tuple[str, SegmentPlan, str]] = [
    ("segment-count", replace(PLAN, segments=()), "0 segments"),
    (
        "segment-count",
        replace(PLAN, segments=PLAN.segments * 4),
        "20 segments, the kernel takes 1 to 16",
    ),
    ("page-aligned", at(Role.INITRD, Range.sized(LOW.start + 512, 0x4000)), "not whole pages"),
    ("page-aligned", at(Role.INITRD, Range.sized(LOW.start, 0x4100)), "not whole pages"),
    ("data-fits", at(Role.INITRD, LOW), "10243 bytes for 4096 bytes of memory"),
    ("no-overlap", at(Role.INITRD, Range.sized(KERNEL_DEST.start, 0x4000)), "kernel 0x"),
    ("memory-is-free", at(Role.INITRD, Range.sized(3 * GIB, 0x4000)), "outside RAM"),
    ("entry-in-segment", replace(PLAN, entry=0x1000), "entry 0x1000 lies in no segment"),
    (
        "entry-in-segment",
        replace(PLAN, kernel_entry=KERNEL_DEST.end - 8),
        "lies behind the data of kernel",
    ),
    ("digest-table", at(Role.INITRD, Range.sized(LOW.start, 0x4000)), "is only in"),
    (
        "digest-table",
        with_segment(replace(segment(Role.INITRD), checked=False)),
        "purgatory's table",
    ),
    (
        "digest-table",
        patched(Role.PURGATORY, load("x86_64").symbols["sha256_table"].offset + 300, b"\xff\xff"),
        "would not trust",
    ),
    ("digest-table", replace(PLAN, kernel_entry=PLAN.kernel_entry + 1), "the purgatory enters"),
    ("boot-params", without(Role.PURGATORY), "no purgatory"),
    ("boot-params", without(Role.PARAMETERS), "where no segment has 4096 bytes"),
    ("boot-params", passing((1 << 64) - 8), "rsi is 0xfffffffffffffff8, where no segment"),
    ("boot-params", params(0x202, 0, 4), "no setup header"),
    ("kernel-init-size", params(0x260, SMALL_KERNEL.init_size + 1, 4), "its segment"),
    ("kernel-init-size", params(0x260, 0xFFFFFFFF, 4), "is not all free RAM"),
    ("kernel-init-size", params(0x230, 1 << 30, 4), "not a multiple of kernel_alignment"),
    ("kernel-init-size", params(0x234, 0, 1), "bound to pref_address 0x1000000"),
    ("kernel-init-size", params(0x236, 0x1, 2), "reaches above 4 GiB"),
    ("initrd-limits", params(0x236, 0x1, 2), "ends above initrd_addr_max 0x7fffffff"),
    ("initrd-limits", params(0x218, 0, 4), "10243 bytes lie at"),
    ("initrd-limits", params(0x21C, 1, 4), "10243 bytes lie at"),
    ("initrd-limits", without(Role.INITRD), "but there is no initrd"),
    ("command-line", params(0x228, 0, 4), "lies in no segment"),
    ("command-line", params(0x238, 7, 4), "cmdline_size is 7"),
    ("command-line", patched(Role.PARAMETERS, BOOT_PARAMS_SIZE + 8, b"x"), "no NUL within 9 bytes"),
    ("command-line", patched(Role.PARAMETERS, BOOT_PARAMS_SIZE, b"rw"), "differ from the plan's"),
    ("setup-data", params(0x250, 0x5000, 8), "the list from 0x5000 leads nowhere"),
    ("setup-data", params(0x1D4, 80, 4), "EFI memory map at 0x0 lies outside"),
    (
        "setup-data",
        patched(Role.PARAMETERS, 0x1D0, struct.pack("<4I", 0xFFFFFFF8, 80, 0, 0xFFFFFFFF)),
        "EFI memory map at 0xfffffffffffffff8 lies outside",
    ),
    ("memory-is-told", params(0x1E8, 1, 1), "is not RAM in the E820 map told"),
]


REGION = IomemEntry(Range(512 * MIB, 768 * MIB), "Crash kernel")
CRASH_FACTS = build_facts(
    children=[REGION],
    crash=CrashFacts(page_offset_vaddr=0xFFFF888000000000, low_memory_reserved=True),
)
CRASH_PLAN = build_plan(CRASH_FACTS, target=Target.CRASH)
CORE = segment(Role.ELFCOREHDR, CRASH_PLAN)


I386_CORE = build_elfcorehdr(parse_elfcorehdr(bytes(CORE.data)), 3)


def core_with(**changes: int) -> SegmentPlan:
    """Break the last program header of the core header, which is that of the highest RAM."""
    *others, last = parse_elfcorehdr(bytes(CORE.data))
    broken = build_elfcorehdr([*others, replace(last, **changes)], 62)
    return CRASH_PLAN.with_data(Role.ELFCOREHDR, broken)


def told_also(start: int, size: int) -> SegmentPlan:
    """Tell the capture kernel of more RAM: the last E820 entry becomes it."""
    old = bytearray(segment(Role.PARAMETERS, CRASH_PLAN).data)
    offset = 0x2D0 + 20 * old[0x1E8]
    old[0x1E8] += 1
    old[offset : offset + 20] = struct.pack("<QQI", start, size, 1)
    return CRASH_PLAN.with_data(Role.PARAMETERS, bytes(old))


CRASH_BROKEN: list[tuple[str, SegmentPlan, str]] = [
    ("crash-memory", told_also(GIB, MIB), "0x40000000-0x400fffff is told as RAM but belongs"),
    ("crash-memory", told_also(CORE.dest.start, 4096), "elfcorehdr 0x"),
    ("core-header", without(Role.ELFCOREHDR, CRASH_PLAN), "without a core header"),
    ("core-header", CRASH_PLAN.with_data(Role.ELFCOREHDR, b"nonsense"), "no ELF core header"),
    ("core-header", CRASH_PLAN.with_data(Role.ELFCOREHDR, I386_CORE), "e_machine is 3, the kernel"),
    ("crash-memory", replace(CRASH_PLAN, cmdline=b"ro"), "is not on the command line"),
    ("core-header", core_with(size=4096), "is RAM but not in the core header"),
    ("core-header", core_with(paddr=REGION.range.start), "not RAM to be dumped"),
    (
        "core-header",
        CRASH_PLAN.with_data(
            Role.ELFCOREHDR, bytes(CORE.data[:-16]) + bytes([0xFF] * 8) + bytes(8)
        ),
        "0xffffffffffffffff bytes at 0x",
    ),
]


IMA_PLAN = build_plan(build_facts(ima_measurements=MEASUREMENTS))
LIST = segment(Role.IMA_BUFFER, IMA_PLAN)
UNTOLD = replace(LIST, dest=Range.sized(LIST.dest.start - 4096, 4096))

IMA_BROKEN: list[tuple[str, SegmentPlan, str]] = [
    ("ima-buffer", without(Role.IMA_BUFFER, IMA_PLAN), f"told {LIST.dest}, placed none"),
    ("ima-buffer", with_segment(UNTOLD, IMA_PLAN), f"told {LIST.dest}, placed {UNTOLD.dest}"),
    ("ima-buffer", with_segment(LIST), f"told none, placed {LIST.dest}"),
    ("ima-buffer", IMA_PLAN.with_data(Role.IMA_BUFFER, b""), "0 bytes are no header"),
    ("ima-buffer", replace(IMA_PLAN, target=Target.CRASH), "a capture kernel is given"),
]


def test_the_plans_that_are_broken_below_hold() -> None:
    assert verify(PLAN, FACTS) == []
    assert verify(IMA_PLAN, FACTS) == []
    assert verify(CRASH_PLAN, CRASH_FACTS) == []


@pytest.mark.parametrize(
    ("name", "plan", "words"), CRASH_BROKEN, ids=[f"{b[0]}-{b[2]}" for b in CRASH_BROKEN]
)
def test_a_broken_crash_plan_is_named_with_its_numbers(
    name: str, plan: SegmentPlan, words: str
) -> None:
    found = [item for item in verify(plan, CRASH_FACTS) if item.invariant == name]
    assert any(words in item.detail for item in found), found


@pytest.mark.parametrize(
    ("name", "plan", "words"),
    [*BROKEN, *IMA_BROKEN],
    ids=[f"{b[0]}-{b[2]}" for b in [*BROKEN, *IMA_BROKEN]],
)
def test_a_broken_invariant_is_named_with_its_numbers(
    name: str, plan: SegmentPlan, words: str
) -> None:
    found = [item for item in verify(plan, FACTS) if item.invariant == name]
    assert any(words in item.detail for item in found), found


def test_every_invariant_is_broken_by_a_test() -> None:
    tested = {name for name, _, _ in [*BROKEN, *CRASH_BROKEN, *IMA_BROKEN]} | {"memory-suffices"}
    assert tested | {"exchanged-memory"} == set(invariants_of(PLAN))


def test_memory_that_would_not_be_exchanged() -> None:
    made = build_plan(preserve_context=True, mem_max=512 * MIB - 1)
    rest = next(item for item in made.segments if item.role is Role.EXCHANGED)
    short = replace(made, segments=tuple(item for item in made.segments if item is not rest))
    (found,) = verify(short, FACTS)
    assert found.invariant == "exchanged-memory"
    assert f"{rest.dest} is told as RAM, and would not be exchanged" in found.detail


def test_half_of_ram_is_the_limit() -> None:
    total = sum(item.dest.size for item in PLAN.segments)
    enough = build_facts(kernel=KernelState(memory_total=2 * total))
    assert verify(PLAN, enough) == []
    short = build_facts(kernel=KernelState(memory_total=2 * total - 4096))
    assert [item.invariant for item in verify(PLAN, short)] == ["memory-suffices"]


@pytest.mark.parametrize(
    "change",
    [
        lambda: build_facts(RAM[:-1]),
        lambda: build_facts(children=[IomemEntry(KERNEL_DEST, "Reserved")]),
        lambda: build_facts(children=[IomemEntry(INITRD_DEST, "Crash kernel")]),
    ],
    ids=["memory unplugged", "reserved since", "crash kernel since"],
)
def test_a_map_that_changed_since_the_plan_is_noticed(change: Callable[[], MachineFacts]) -> None:
    assert "memory-is-free" in {item.invariant for item in verify(PLAN, change())}


def test_a_crash_plan_must_lie_inside_the_crash_region() -> None:
    region = IomemEntry(Range(512 * MIB, 768 * MIB), "Crash kernel")
    plan = replace(PLAN, target=Target.CRASH)
    found = verify(plan, build_facts(children=[region]))
    assert len([item for item in found if "outside the crash kernel region" in item.detail]) == len(
        plan.segments
    )


def test_all_violations_are_reported_together() -> None:
    error = VerifyError([Violation("no-overlap", "a and b"), Violation("data-fits", "c")])
    assert error.message == "the plan is refused: no-overlap: a and b; data-fits: c"
    assert error.exit_code == 255
