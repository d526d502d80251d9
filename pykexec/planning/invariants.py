"""The named invariants that a plan must keep before any system call. Pure.

They are judged from the plan's bytes and from the machine as it is now, not from what
the planner meant: boot_params is decoded again, the digest table is read back out of the
purgatory. So a plan that was made earlier, on another map, is refused here.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.crash.elfcorehdr import elfcorehdr_machine, parse_elfcorehdr
from pykexec.planning.digest import digest_regions
from pykexec.planning.plans import KEXEC_SEGMENT_MAX, BootProtocol
from pykexec.planning.rooms import boot_room
from pykexec.values.calls import Target
from pykexec.values.elf_headers import PT_LOAD
from pykexec.values.errors import ImageError, Violation
from pykexec.values.memory import crash_region, crash_regions, dumped_ram, placeable_ram
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.planning.plans import SegmentPlan
    from pykexec.values.facts import MachineFacts

SEGMENT_INVARIANTS = (
    "segment-count",
    "page-aligned",
    "data-fits",
    "no-overlap",
    "memory-is-free",
    "memory-suffices",
    "entry-in-segment",
    "digest-table",
    "core-header",
)
"""What holds for every plan; each protocol adds its own."""


def invariants_of(plan: SegmentPlan) -> tuple[str, ...]:
    """Return the names of all invariants that :func:`verify` judges ``plan`` by."""
    return SEGMENT_INVARIANTS + boot_room(plan.arch).invariants_of(plan)


def verify(plan: SegmentPlan, facts: MachineFacts) -> list[Violation]:
    """Judge ``plan`` against the machine ``facts``; an empty list means that it holds."""
    usable = usable_memory(plan, facts)
    return [
        *_verify_shape(plan),
        *_verify_memory(plan, facts, usable),
        *_verify_entry(plan),
        *_verify_digest(plan),
        *_verify_core_header(plan, facts),
        *boot_room(plan.arch).verify(plan, facts, usable),
    ]


def usable_memory(plan: SegmentPlan, facts: MachineFacts) -> RangeSet:
    """Return the memory that a plan of this target may occupy on this machine.

    A normal plan may also lie inside one crash region as a whole, see
    :func:`pykexec.boot.load_space.free_for`.
    """
    if plan.target is Target.CRASH:
        region = crash_region(facts.iomem)
        return RangeSet([region] if region else [])
    for region in crash_regions(facts.iomem):
        if all(region.contains(segment.dest) for segment in plan.segments):
            return RangeSet([region])
    return placeable_ram(facts.iomem, facts.firmware_map)


def _verify_shape(plan: SegmentPlan) -> Iterator[Violation]:
    count = len(plan.segments)
    if not 0 < count <= KEXEC_SEGMENT_MAX:
        yield Violation(
            "segment-count",
            f"{counted(count, 'segment')}, the kernel takes 1 to {KEXEC_SEGMENT_MAX}",
        )
    for segment in plan.segments:
        dest, page = segment.dest, plan.page_size
        if dest.start % page or dest.size % page or not dest.size:
            yield Violation(
                "page-aligned",
                f"{segment.role} at {dest.start:#x}, {counted(dest.size, 'byte')}: not whole "
                f"pages of {page}",
            )
        if len(segment.data) > dest.size:
            yield Violation(
                "data-fits",
                f"{segment.role} has {counted(len(segment.data), 'byte')} for "
                f"{counted(dest.size, 'byte')} of memory",
            )
    ordered = sorted(plan.segments, key=lambda item: item.dest)
    for lower, upper in pairwise(ordered):
        if lower.dest.overlaps(upper.dest):
            yield Violation(
                "no-overlap",
                f"{lower.role} {lower.dest} and {upper.role} {upper.dest}",
            )


def _verify_memory(plan: SegmentPlan, facts: MachineFacts, usable: RangeSet) -> Iterator[Violation]:
    """Every segment on memory it may take, and room to keep it until the jump.

    The kernel refuses a segment, or a sum of segments, larger than half of RAM
    (Linux kernel/kexec_core.c, "sanity_check_segment_list").
    """
    where = "the crash kernel region" if plan.target is Target.CRASH else "RAM that is not reserved"
    for segment in plan.segments:
        if segment.dest.size and usable.covering(segment.dest) is None:
            blocked = RangeSet([segment.dest]).minus(usable)
            first = next(iter(blocked))
            yield Violation(
                "memory-is-free",
                f"{segment.role} {segment.dest} lies outside {where} at {first}",
            )
    total = sum(segment.dest.size for segment in plan.segments)
    memory_total = facts.kernel.memory_total
    if plan.target is Target.NORMAL and memory_total is not None and total > memory_total // 2:
        yield Violation(
            "memory-suffices",
            f"the segments need {format_size(total)}, the kernel accepts at most half of the "
            f"{format_size(memory_total)} that it manages",
        )


def _verify_entry(plan: SegmentPlan) -> Iterator[Violation]:
    entries = [("entry", plan.entry), ("kernel entry", plan.kernel_entry)]
    if plan.protocol is BootProtocol.RETURN:
        del entries[1]  # the kernel that waits is in no segment
    for name, address in entries:
        segment = plan.segment_at(address)
        if segment is None:
            yield Violation("entry-in-segment", f"{name} {address:#x} lies in no segment")
        elif address - segment.dest.start >= len(segment.data):
            yield Violation(
                "entry-in-segment", f"{name} {address:#x} lies behind the data of {segment.role}"
            )


def _verify_core_header(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Violation]:
    """A capture kernel's core header describes all RAM outside the crash regions."""
    if plan.target is not Target.CRASH:
        return
    if architecture_of(plan.arch).own_core_header:
        return
    segment = plan.segment(Role.ELFCOREHDR)
    if segment is None:
        yield Violation("core-header", "a crash plan without a core header")
        return
    try:
        headers = parse_elfcorehdr(bytes(segment.data))
    except ImageError as error:
        yield Violation("core-header", error.message)
        return
    machine = elfcorehdr_machine(bytes(segment.data))
    if machine != architecture_of(plan.arch).elf_machine:
        yield Violation("core-header", f"e_machine is {machine}, the kernel is of {plan.arch}")
    loads = [item for item in headers if item.type == PT_LOAD]
    described = RangeSet(Range.sized(item.paddr, item.size) for item in loads)
    expected = dumped_ram(facts.iomem).minus(facts.crash.unreadable)
    for missing in expected.minus(described):
        yield Violation("core-header", f"{missing} is RAM but not in the core header")
    text = [facts.crash.kernel_text] if facts.crash.kernel_text else []
    for stray in described.minus(expected).minus(text):
        yield Violation("core-header", f"{stray} is in the core header but not RAM to be dumped")


def _verify_digest(plan: SegmentPlan) -> Iterator[Violation]:
    """The table inside the purgatory names exactly the checked segments, and is itself right.

    Not hashed a second time are the segments: that takes as long as the rest of a load.
    """
    from pykexec.purgatory_objects import load
    from pykexec.purgatory_objects.parameters import read_parameters

    purgatory = plan.segment(Role.PURGATORY)
    if purgatory is None:
        return
    parameters = read_parameters(load(plan.arch), bytes(purgatory.data))
    if parameters.skip_checks:
        return
    wanted = [(item.start, item.size) for item in digest_regions(plan.segments, plan.page_size)]
    found = list(parameters.table.regions)
    for start, size in sorted({*wanted} ^ {*found}):
        whose = "a checked segment" if (start, size) in wanted else "the purgatory's table"
        yield Violation("digest-table", f"{start:#x} + {counted(size, 'byte')} is only in {whose}")
    if parameters.digest != parameters.table.digest():
        yield Violation("digest-table", "the purgatory would not trust the table that it has")
    entry = parameters.registers.entry
    if entry != plan.kernel_entry:
        yield Violation(
            "digest-table",
            f"the purgatory enters {entry:#x}, the plan {plan.kernel_entry:#x}",
        )
