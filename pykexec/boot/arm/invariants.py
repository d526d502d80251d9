"""What must hold for a plan that enters a zImage. Pure.

Judged from the registers that the purgatory sets, from the device tree that r2 leads to, and from
the zImage in its segment, as its own program reads both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.arm.memory import arm_memory
from pykexec.boot.arm.unpacking import LOWMEM, unpacking
from pykexec.boot.tree.chosen import told_chosen
from pykexec.boot.tree.given_tree import told_memory
from pykexec.boot.tree.invariants import handed_over, retained, verify_initrd
from pykexec.formats.zimage import parse_zimage
from pykexec.values.calls import Target
from pykexec.values.command_line import parameters
from pykexec.values.elf_headers import ELF32, class_of
from pykexec.values.errors import ImageError, Violation
from pykexec.values.memory import crash_region
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import KIB, MIB, counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.boot.arm.unpacking import Unpacking
    from pykexec.boot.tree.chosen import ToldChosen
    from pykexec.formats.device_tree import DeviceTree
    from pykexec.planning.plans import Segment, SegmentPlan
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import RangeSet

INVARIANTS = (
    "entry-aligned",
    "device-tree",
    "image-placement",
    "unpacked-kernel",
    "lowmem",
    "initrd-is-told",
    "command-line",
    "memory-is-told",
    "crash-memory",
)
_TREE_MAX = MIB


def verify_protocol(
    plan: SegmentPlan, facts: MachineFacts, usable: RangeSet
) -> Iterator[Violation]:
    """Judge the protocol's part of ``plan``; ``usable`` is the memory that it may occupy."""
    for name, address in (("entry", plan.entry), ("kernel entry", plan.kernel_entry)):
        if address % 4:
            # Bit 0 would have the processor take it for Thumb instructions.
            yield Violation("entry-aligned", f"{name} {address:#x} is not a multiple of 4")
    tree = handed_over(plan, "r2", _TREE_MAX)
    if isinstance(tree, Violation):
        yield tree
        return
    told = told_chosen(tree)
    kernel = plan.segment_at(plan.kernel_entry)
    if kernel is not None:  # entry-in-segment has said so
        yield from _verify_kernel(plan, kernel, tree, told, usable)
    yield from verify_initrd(plan, told, retained(facts))
    if told.cmdline != plan.cmdline:
        yield Violation("command-line", "bootargs in the device tree differ from the plan's")
    memory = arm_memory(tree)
    for segment in plan.segments:
        for objection in memory.objections(segment.dest):
            yield Violation("memory-is-told", f"{segment.role} {segment.dest} {objection}")
    yield from _verify_crash(plan, told, facts)


def _verify_kernel(
    plan: SegmentPlan, kernel: Segment, tree: DeviceTree, told: ToldChosen, usable: RangeSet
) -> Iterator[Violation]:
    """Where the kernel is unpacked is this machine's RAM, and nothing else."""
    start = plan.kernel_entry
    try:
        image = parse_zimage(kernel.data[start - kernel.dest.start :])
    except ImageError as error:
        yield Violation("image-placement", f"at {start:#x}: {error.message}")
        return
    limit = told.usable[0] if told.usable else None
    found = unpacking(image, start, told_memory(tree.root), limit)
    if kernel.dest.end - start < image.program_size:
        yield Violation(
            "image-placement",
            f"it needs {counted(image.program_size, 'byte')} while it unpacks, its segment has "
            f"{kernel.dest.end - start}",
        )
    if not found.program.contains(kernel.dest):
        yield Violation(
            "image-placement",
            f"{kernel.dest} is not inside {found.program}: it would copy itself, or unpack its "
            "kernel elsewhere",
        )
    allowed = arm_memory(tree).free(usable)
    if allowed.covering(found.target) is None:
        yield Violation("unpacked-kernel", f"{found.target} is not all free RAM")
    for segment in plan.segments:
        if segment.dest.overlaps(found.target):
            yield Violation(
                "unpacked-kernel",
                f"{segment.role} {segment.dest}: the kernel is unpacked to {found.target}",
            )
    yield from _verify_lowmem(plan, found)


def _verify_lowmem(plan: SegmentPlan, found: Unpacking) -> Iterator[Violation]:
    mapped = Range.sized(found.base, LOWMEM)
    for segment in plan.segments:
        if segment.role in (Role.DTB, Role.INITRD) and not mapped.contains(segment.dest):
            yield Violation(
                "lowmem", f"{segment.role} {segment.dest}: every kernel maps {mapped} alone"
            )


def _verify_crash(plan: SegmentPlan, told: ToldChosen, facts: MachineFacts) -> Iterator[Violation]:
    """A capture kernel is told of its memory and of the core header, any other of neither."""
    words = [
        (key, value) for key, value in parameters(plan.cmdline) if key in ("mem", "elfcorehdr")
    ]
    if plan.target is Target.NORMAL:
        if told.elfcorehdr is not None or any(key == "elfcorehdr" for key, _ in words):
            yield Violation("crash-memory", "a normal kernel is told to be a capture kernel")
        return
    region, segment = crash_region(facts.iomem), plan.segment(Role.ELFCOREHDR)
    if region is None or segment is None:
        return  # memory-is-free and core-header have said so
    header = Range.sized(segment.dest.start, len(segment.data))
    if told.elfcorehdr != header:
        yield Violation("crash-memory", f"told a core header {told.elfcorehdr}, it is {header}")
    if told.usable != (region,):
        yield Violation("crash-memory", f"told it may use {told.usable}, not {region}")
    if class_of(bytes(segment.data)) is not ELF32:
        yield Violation("crash-memory", "the core header is no ELF32 file, and no other is taken")
    own = Range(region.start, header.start)
    expected = [
        ("elfcorehdr", f"{header.start:#x}".encode()),
        ("mem", f"{own.size // KIB}K@{own.start:#x}".encode()),
    ]
    if sorted(words) != expected:
        yield Violation("crash-memory", f"the command line says {words}, not {expected}")
    for item in plan.segments:
        if item.role is not Role.ELFCOREHDR and not own.contains(item.dest):
            yield Violation(
                "crash-memory", f"{item.role} {item.dest} is outside of {own}, which mem= leaves"
            )
