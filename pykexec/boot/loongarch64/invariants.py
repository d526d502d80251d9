"""What must hold for a plan that enters a loongarch64 kernel. Pure.

Judged from the command line that a1 leads to, and from the kernel's own header.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.loongarch64.command_line import COMMAND_LINE_SIZE, PREFIX
from pykexec.boot.loongarch64.protocol import FIRST_FREE, KERNEL_ALIGN
from pykexec.formats.vmlinux_efi import read_header
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import read_parameters
from pykexec.values.calls import Target
from pykexec.values.command_line import memparse, parameters
from pykexec.values.errors import ImageError, Violation
from pykexec.values.memory import crash_region, crash_regions
from pykexec.values.ranges import Range
from pykexec.values.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.planning.plans import SegmentPlan
    from pykexec.values.facts import MachineFacts

INVARIANTS = (
    "command-line",
    "image-placement",
    "first-2-mib",
    "initrd-is-told",
    "crash-memory",
)


def verify_protocol(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Violation]:
    """Judge the protocol's part of ``plan``."""
    yield from _verify_line(plan)
    yield from _verify_kernel(plan)
    for segment in plan.segments:
        if segment.dest.start < FIRST_FREE:
            yield Violation("first-2-mib", f"{segment.role} {segment.dest} lies on the jump's code")
    yield from _verify_initrd(plan)
    yield from _verify_crash(plan, facts)


def _verify_line(plan: SegmentPlan) -> Iterator[Violation]:
    """The running kernel finds it, and a1 leads to it."""
    line = next((item for item in plan.segments if bytes(item.data[:5]) == PREFIX), None)
    if line is None or line.role is not Role.COMMAND_LINE:
        yield Violation("command-line", "the first segment that begins as one is not it")
        return
    data = bytes(line.data)
    if len(data) < COMMAND_LINE_SIZE:
        yield Violation("command-line", f"{len(data)} bytes, the running kernel reads 4096")
    if data.split(b"\0", 1)[0] != plan.cmdline:
        yield Violation("command-line", "its segment differs from the plan's")
    purgatory = plan.segment(Role.PURGATORY)
    if purgatory is None:
        return
    told = read_parameters(load(plan.arch), bytes(purgatory.data)).registers.argument
    if told != line.dest.start:
        yield Violation("command-line", f"a1 is {told:#x}, it lies at {line.dest.start:#x}")


def _verify_kernel(plan: SegmentPlan) -> Iterator[Violation]:
    kernel = plan.segment_at(plan.kernel_entry)
    if kernel is None:
        return  # entry-in-segment has said so
    try:
        header = read_header(kernel.data)
    except ImageError as error:
        yield Violation("image-placement", f"{kernel.role} {kernel.dest}: {error.message}")
        return
    start = kernel.dest.start
    if start != header.load_offset and (start % KERNEL_ALIGN or start < header.load_offset):
        yield Violation(
            "image-placement",
            f"{start:#x} is neither {header.load_offset:#x} nor a multiple of 2 MiB above",
        )
    if plan.kernel_entry != start + header.entry_offset:
        yield Violation(
            "image-placement",
            f"entered at {plan.kernel_entry:#x}, not at {start + header.entry_offset:#x}",
        )
    if kernel.dest.size < header.image_size:
        yield Violation("image-placement", f"{kernel.dest} is less than image_size")


def _verify_initrd(plan: SegmentPlan) -> Iterator[Violation]:
    segment = plan.segment(Role.INITRD)
    where = Range.sized(segment.dest.start, len(segment.data)) if segment is not None else None
    told = _told(plan, "initrd", b",", start_first=True)
    if where is not None and told[-1:] != [where]:
        yield Violation("initrd-is-told", f"it is {where}, told is {told}")


def _verify_crash(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Violation]:
    """A capture kernel is told of its memory and of the core header, any other of neither."""
    memory, headers = (_told(plan, name, b"@") for name in ("mem", "elfcorehdr"))
    if plan.target is Target.NORMAL:
        if headers:
            yield Violation("crash-memory", "a normal kernel is told to be a capture kernel")
        return
    region = crash_region(facts.iomem)
    wanted = sorted(crash_regions(facts.iomem), key=lambda item: item != region)
    if memory != wanted:
        yield Violation("crash-memory", f"told it may use {memory}, not {wanted}")
    segment = plan.segment(Role.ELFCOREHDR)
    where = [Range.sized(segment.dest.start, len(segment.data))] if segment is not None else []
    if headers != where:
        yield Violation("crash-memory", f"told a core header {headers}, it is {where}")


def _told(
    plan: SegmentPlan, name: str, between: bytes, *, start_first: bool = False
) -> list[Range | None]:
    """Return the ranges that words of a name tell, in their order; None for none."""
    return [
        _range(value, between, start_first=start_first)
        for key, value in parameters(plan.cmdline)
        if key == name
    ]


def _range(value: bytes, between: bytes, *, start_first: bool) -> Range | None:
    first = memparse(value)
    second = memparse(first[1].removeprefix(between)) if first is not None else None
    if first is None or second is None:
        return None
    start, size = (first[0], second[0]) if start_first else (second[0], first[0])
    return Range.fitting(start, size)
