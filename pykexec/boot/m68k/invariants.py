"""What must hold for a plan that enters an m68k kernel. Pure.

Judged from the boot information, which lies right behind the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.m68k.records import records_of
from pykexec.formats.bootinfo import Tag, chunks_of, parse_bootinfo
from pykexec.values.errors import ImageError, MachineError, Violation
from pykexec.values.ranges import Range
from pykexec.values.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats.bootinfo import Record
    from pykexec.planning.plans import SegmentPlan
    from pykexec.values.facts import MachineFacts

INVARIANTS = ("bootinfo", "machine-is-told", "command-line", "initrd-is-told", "entered-directly")
_OF_THE_BOOT = (Tag.MACHTYPE, Tag.CPUTYPE, Tag.FPUTYPE, Tag.MMUTYPE, Tag.MEMCHUNK)


def verify_protocol(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Violation]:
    """Judge the protocol's part of ``plan``."""
    if plan.entry != plan.kernel_entry:
        yield Violation("entered-directly", f"{plan.entry:#x} is not the kernel's entry point")
    kernel = plan.segment(Role.KERNEL)
    behind = plan.segment_at(kernel.dest.end) if kernel is not None else None
    if behind is None or behind.role is not Role.BOOTINFO:
        yield Violation("bootinfo", "there is none right behind the kernel")
        return
    try:
        records = parse_bootinfo(bytes(behind.data))
    except ImageError as error:
        yield Violation("bootinfo", error.message)
        return
    yield from _verify_machine(plan, facts, records)
    lines = [item.data.split(b"\0", 1)[0] for item in records if item.tag == Tag.COMMAND_LINE]
    if lines != [plan.cmdline]:
        yield Violation("command-line", "the one that is told differs from the plan's")
    segment = plan.segment(Role.INITRD)
    told = [item.place for item in records if item.tag == Tag.RAMDISK]
    where = [Range.sized(segment.dest.start, len(segment.data))] if segment is not None else []
    if told != where:
        yield Violation("initrd-is-told", f"it is {where}, told is {told}")


def _verify_machine(
    plan: SegmentPlan, facts: MachineFacts, records: tuple[Record, ...]
) -> Iterator[Violation]:
    """It is told of the machine as this boot was, and has its place in the memory told of."""
    try:
        known = records_of(facts)
    except MachineError as error:
        yield Violation("machine-is-told", error.message)
        return
    for tag in _OF_THE_BOOT:
        before, after = ([r.data for r in some if r.tag == tag] for some in (known, records))
        if before != after:
            yield Violation("machine-is-told", f"BI_{tag.name} differs from this boot's")
    chunk = next(iter(chunks_of(records)), Range(0, 0))
    for segment in plan.segments:
        if not chunk.contains(segment.dest):
            yield Violation("machine-is-told", f"{segment.role} is not in the first chunk {chunk}")
