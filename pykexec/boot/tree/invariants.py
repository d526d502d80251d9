"""What must hold for a plan that enters a kernel by the arm64 boot protocol. Pure.

Judged from the registers that the purgatory sets and from the device tree that ``x0`` leads
to, as the new kernel will read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.tree.chosen import Cells, ToldChosen, firmware_limit, read_chosen, told_chosen
from pykexec.boot.tree.linux import DTB_SIZE_MAX, IMAGE_ALIGN, initrd_window
from pykexec.boot.tree.memory import tree_memory
from pykexec.formats.device_tree import parse_device_tree
from pykexec.formats.linux_image import read_demands
from pykexec.planning.plans import Target
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import Aarch64Registers, read_parameters
from pykexec.values.errors import ImageError, Violation
from pykexec.values.memory import crash_region, crash_regions
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats.device_tree import DeviceTree
    from pykexec.planning.plans import SegmentPlan
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import RangeSet

INVARIANTS = (
    "device-tree",
    "image-placement",
    "initrd-window",
    "command-line",
    "memory-is-told",
    "crash-memory",
)


def verify_protocol(
    plan: SegmentPlan, facts: MachineFacts, usable: RangeSet
) -> Iterator[Violation]:
    """Judge the protocol's part of ``plan``; ``usable`` is the memory it may occupy."""
    tree = _handed_over(plan)
    if isinstance(tree, Violation):
        yield tree
        return
    told = told_chosen(tree)
    yield from _verify_kernel(plan, usable)
    yield from _verify_initrd(plan, told, _retained(facts))
    if told.cmdline != plan.cmdline:
        yield Violation("command-line", "bootargs in the device tree differ from the plan's")
    yield from _verify_memory(plan, tree, facts)
    yield from _verify_crash(plan, told, facts)


def _handed_over(plan: SegmentPlan) -> DeviceTree | Violation:
    """Decode the tree that x0 points at when the kernel is entered."""
    purgatory = plan.segment(Role.PURGATORY)
    if purgatory is None:
        return Violation("device-tree", "the plan has no purgatory to pass it in x0")
    registers = read_parameters(load(plan.arch), bytes(purgatory.data)).registers
    assert isinstance(registers, Aarch64Registers)
    segment = plan.segment_at(registers.x0)
    if segment is None:
        return Violation("device-tree", f"x0 is {registers.x0:#x}, which lies in no segment")
    offset = registers.x0 - segment.dest.start
    if registers.x0 % 8:
        return Violation("device-tree", f"x0 is {registers.x0:#x}, not a multiple of 8")
    blob = bytes(segment.data[offset:])
    if len(blob) > DTB_SIZE_MAX:
        return Violation(
            "device-tree", f"it has {counted(len(blob), 'byte')}, the kernel takes {DTB_SIZE_MAX}"
        )
    try:
        tree = parse_device_tree(blob)
        Cells.of(tree.root)
    except ImageError as error:
        return Violation("device-tree", f"at {registers.x0:#x}: {error.message}")
    return tree


def _verify_kernel(plan: SegmentPlan, usable: RangeSet) -> Iterator[Violation]:
    segment = plan.segment_at(plan.kernel_entry)
    if segment is None:
        return  # entry-in-segment has said so
    try:
        text_offset, image_size, _ = read_demands(
            segment.data[plan.kernel_entry - segment.dest.start :]
        )
    except ImageError as error:
        yield Violation("image-placement", f"at {plan.kernel_entry:#x}: {error.message}")
        return
    base = plan.kernel_entry - text_offset
    needed = Range.sized(plan.kernel_entry, max(image_size, 1))
    if base % IMAGE_ALIGN:
        yield Violation(
            "image-placement",
            f"{plan.kernel_entry:#x} is not text_offset {text_offset:#x} behind a multiple "
            f"of {IMAGE_ALIGN:#x}",
        )
    if not segment.dest.contains(needed):
        yield Violation(
            "image-placement",
            f"the kernel needs {counted(image_size, 'byte')} from {plan.kernel_entry:#x}, its "
            "segment "
            f"{segment.dest} has {segment.dest.end - plan.kernel_entry}",
        )
    if usable.covering(needed) is None:
        yield Violation("image-placement", f"{needed} is not all free RAM")


def _retained(facts: MachineFacts) -> Range | None:
    """Return the running kernel's own initrd, which may be handed on as it is."""
    return read_chosen(facts.device_tree).initrd if facts.device_tree is not None else None


def _verify_initrd(
    plan: SegmentPlan, told: ToldChosen, retained: Range | None
) -> Iterator[Violation]:
    segment = plan.segment(Role.INITRD)
    kernel = plan.segment_at(plan.kernel_entry)
    if segment is None:
        if told.initrd is not None and told.initrd != retained:
            yield Violation("initrd-window", f"{told.initrd} is told, but there is no initrd")
        return
    if told.initrd != Range.sized(segment.dest.start, len(segment.data)):
        yield Violation(
            "initrd-window",
            f"told {told.initrd}, but {counted(len(segment.data), 'byte')} lie at "
            f"{segment.dest.start:#x}",
        )
    if kernel is not None and not initrd_window(kernel.dest).contains(segment.dest):
        yield Violation(
            "initrd-window",
            f"{segment.dest} is not in one 32 GiB window with the kernel {kernel.dest}",
        )


def _verify_memory(plan: SegmentPlan, tree: DeviceTree, facts: MachineFacts) -> Iterator[Violation]:
    """Every segment on memory that the tree tells of and keeps for nobody else.

    A limit that firmware has set goes on: the memory behind it is not the kernel's.
    """
    memory = tree_memory(tree)
    for segment in plan.segments:
        for objection in memory.objections(segment.dest):
            yield Violation("memory-is-told", f"{segment.role} {segment.dest} {objection}")
    if facts.device_tree is None or memory.limit is not None:
        return
    for lost in firmware_limit(parse_device_tree(facts.device_tree).root):
        yield Violation("memory-is-told", f"the tree drops firmware's limit of memory to {lost}")


def _verify_crash(plan: SegmentPlan, told: ToldChosen, facts: MachineFacts) -> Iterator[Violation]:
    """A capture kernel is told of its regions and of the core header, any other of neither."""
    segment = plan.segment(Role.ELFCOREHDR)
    if plan.target is Target.NORMAL:
        running = read_chosen(facts.device_tree) if facts.device_tree is not None else None
        inherited = running is not None and running.elfcorehdr and told.usable == running.usable
        if told.elfcorehdr is not None or (told.usable and inherited):
            yield Violation("crash-memory", "a normal kernel is told to be a capture kernel")
        return
    where = Range.sized(segment.dest.start, len(segment.data)) if segment is not None else None
    if told.elfcorehdr != where:
        yield Violation("crash-memory", f"told a core header {told.elfcorehdr}, it is {where}")
    region = crash_region(facts.iomem)
    if not told.usable or told.usable[0] != region:
        yield Violation("crash-memory", f"{region}, which holds the kernel, is not told first")
    if sorted(told.usable) != list(crash_regions(facts.iomem)):
        yield Violation("crash-memory", f"told {told.usable} are not the crash regions")
