"""What must hold for a plan that enters a kernel with a device tree. Pure.

Judged from the registers that the purgatory sets and from the device tree that one of them leads
to, as the new kernel will read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.tree.chosen import Cells, ToldChosen, firmware_limit, read_chosen, told_chosen
from pykexec.boot.tree.limits import DTB_SIZE_MAX
from pykexec.boot.tree.memory import tree_memory
from pykexec.boot.tree.protocol import KERNEL_ALIGN
from pykexec.formats.device_tree import FDT_MAGIC, parse_device_tree
from pykexec.formats.linux_image import read_header
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import read_parameters
from pykexec.values.calls import Target
from pykexec.values.errors import ImageError, Violation
from pykexec.values.memory import crash_region, crash_regions
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import align_up, counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.boot.tree.protocol import TreeProtocol
    from pykexec.formats.device_tree import DeviceTree
    from pykexec.planning.plans import Segment, SegmentPlan
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import RangeSet

INVARIANTS = (
    "device-tree",
    "image-placement",
    "initrd-is-told",
    "command-line",
    "memory-is-told",
    "crash-memory",
)


def invariants_of(protocol: TreeProtocol) -> tuple[str, ...]:
    """Return the names of what a plan by ``protocol`` is judged by."""
    own = (
        ("initrd-window", protocol.window is not None),
        ("tree-first", protocol.tree_first),
        ("entry-aligned", protocol.entry_multiple > 1),
    )
    return INVARIANTS + tuple(name for name, holds in own if holds)


def verify_protocol(
    plan: SegmentPlan, facts: MachineFacts, usable: RangeSet, protocol: TreeProtocol
) -> Iterator[Violation]:
    """Judge the protocol's part of ``plan``; ``usable`` is the memory it may occupy."""
    if plan.entry % protocol.entry_multiple:
        yield Violation(
            "entry-aligned",
            f"entry {plan.entry:#x} is not a multiple of {protocol.entry_multiple}",
        )
    tree = handed_over(plan, protocol.tree_register)
    if isinstance(tree, Violation):
        yield tree
        return
    told = told_chosen(tree)
    yield from _verify_kernel(plan, usable, protocol)
    yield from verify_initrd(plan, told, retained(facts))
    yield from _verify_window(plan, protocol)
    if protocol.tree_first:
        yield from _verify_first_tree(plan)
    if told.cmdline != plan.cmdline:
        yield Violation("command-line", "bootargs in the device tree differ from the plan's")
    yield from _verify_memory(plan, tree, facts)
    yield from _verify_crash(plan, told, facts)


def handed_over(
    plan: SegmentPlan, register: str, size_max: int = DTB_SIZE_MAX
) -> DeviceTree | Violation:
    """Decode the tree that the new kernel is led to by ``register`` when it is entered.

    ``size_max`` are the bytes that it takes.
    """
    purgatory = plan.segment(Role.PURGATORY)
    if purgatory is None:
        return Violation("device-tree", f"the plan has no purgatory to pass it in {register}")
    address = read_parameters(load(plan.arch), bytes(purgatory.data)).registers.argument
    segment = plan.segment_at(address)
    if segment is None:
        return Violation("device-tree", f"{register} is {address:#x}, which lies in no segment")
    if address % 8:
        return Violation("device-tree", f"{register} is {address:#x}, not a multiple of 8")
    blob = bytes(segment.data[address - segment.dest.start :])
    if len(blob) > size_max:
        return Violation(
            "device-tree", f"it has {counted(len(blob), 'byte')}, the kernel takes {size_max}"
        )
    try:
        tree = parse_device_tree(blob)
        Cells.of(tree.root)
    except ImageError as error:
        return Violation("device-tree", f"at {address:#x}: {error.message}")
    return tree


def _verify_kernel(
    plan: SegmentPlan, usable: RangeSet, protocol: TreeProtocol
) -> Iterator[Violation]:
    segment = plan.segment_at(plan.kernel_entry)
    if segment is None:
        return  # entry-in-segment has said so
    try:
        header = read_header(segment.data[plan.kernel_entry - segment.dest.start :])
    except ImageError as error:
        yield Violation("image-placement", f"at {plan.kernel_entry:#x}: {error.message}")
        return
    base = plan.kernel_entry - header.base_offset
    end = align_up(plan.kernel_entry + max(header.image_size, 1), protocol.kernel_multiple)
    needed = Range(plan.kernel_entry, end)
    if base % KERNEL_ALIGN:
        behind = f"{header.base_offset:#x} behind " if header.base_offset else ""
        yield Violation(
            "image-placement",
            f"{plan.kernel_entry:#x} is not {behind}a multiple of {KERNEL_ALIGN:#x}",
        )
    if not segment.dest.contains(needed):
        yield Violation(
            "image-placement",
            f"the kernel needs {counted(needed.size, 'byte')} from {plan.kernel_entry:#x}, its "
            "segment "
            f"{segment.dest} has {segment.dest.end - plan.kernel_entry}",
        )
    if usable.covering(needed) is None:
        yield Violation("image-placement", f"{needed} is not all free RAM")


def retained(facts: MachineFacts) -> Range | None:
    """Return the running kernel's own initrd, which may be handed on as it is."""
    return read_chosen(facts.device_tree).initrd if facts.device_tree is not None else None


def verify_initrd(
    plan: SegmentPlan, told: ToldChosen, retained: Range | None
) -> Iterator[Violation]:
    """Judge what the tree tells of an initrd; ``retained`` is the running kernel's own."""
    segment = plan.segment(Role.INITRD)
    if segment is None:
        if told.initrd is not None and told.initrd != retained:
            yield Violation("initrd-is-told", f"{told.initrd} is told, but there is no initrd")
        return
    if told.initrd != Range.sized(segment.dest.start, len(segment.data)):
        yield Violation(
            "initrd-is-told",
            f"told {told.initrd}, but {counted(len(segment.data), 'byte')} lie at "
            f"{segment.dest.start:#x}",
        )


def _verify_window(plan: SegmentPlan, protocol: TreeProtocol) -> Iterator[Violation]:
    segment, kernel = plan.segment(Role.INITRD), plan.segment_at(plan.kernel_entry)
    window = protocol.window
    if segment is None or kernel is None or window is None:
        return
    if not window.around(kernel.dest).contains(segment.dest):
        yield Violation(
            "initrd-window",
            f"{segment.dest} is not in one {window.name} with the kernel {kernel.dest}",
        )


def first_tree(plan: SegmentPlan) -> Segment | None:
    """Return the first segment that begins as a tree does, whatever it holds."""
    magic = FDT_MAGIC.to_bytes(4, "big")
    return next((item for item in plan.segments if bytes(item.data[:4]) == magic), None)


def _verify_first_tree(plan: SegmentPlan) -> Iterator[Violation]:
    """That segment is the one that the running kernel takes."""
    first = first_tree(plan)
    if first is None or first.role is not Role.DTB:
        name = f"{first.role} {first.dest}" if first is not None else "no segment"
        yield Violation("tree-first", f"{name} is the first that begins as a device tree")


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
