"""What must hold for a plan that enters a ppc64le kernel. Pure.

Judged from what the purgatory was told, from the device tree that r3 leads to, and from the running
kernel's own tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.ppc64le.kernel import HEAD_SIZE, RELOCATABLE, RUN_AT_LOAD
from pykexec.boot.ppc64le.next_tree import (
    BACKED_UP,
    USABLE_LMBS,
    USABLE_NODE,
    crashed_memory,
    usable_memory,
)
from pykexec.boot.ppc64le.platform import (
    LMBS,
    is_memory,
    kept_memory,
    real_mode_end,
    running_kernel,
)
from pykexec.boot.tree.chosen import Cells, told_chosen
from pykexec.boot.tree.invariants import handed_over, retained, verify_initrd
from pykexec.formats.device_tree import parse_device_tree
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import read_parameters
from pykexec.purgatory_objects.ppc64le import KERNEL_HEAD_START, Ppc64leRegisters
from pykexec.values.calls import Target
from pykexec.values.command_line import kernel_words, memparse
from pykexec.values.data_classes import replace
from pykexec.values.errors import Violation
from pykexec.values.memory import crash_region
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.boot.tree.chosen import ToldChosen
    from pykexec.formats.device_tree import DeviceTree, Node
    from pykexec.planning.plans import SegmentPlan
    from pykexec.purgatory_objects.parameters import PurgatoryParameters
    from pykexec.values.facts import MachineFacts

INVARIANTS = (
    "device-tree",
    "kernel-head",
    "image-placement",
    "handed-over-above-kernel",
    "initrd-is-told",
    "command-line",
    "memory-is-told",
    "running-kernel",
    "real-mode",
    "crash-memory",
)
TREE_MAX = 16 * MIB
"""No kernel has a limit; the largest machines' trees have a tenth of it."""
_KERNEL_ALIGN = 0x10000


def verify_protocol(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Violation]:
    """Judge the protocol's part of ``plan``."""
    tree = handed_over(plan, "r3", TREE_MAX)
    if isinstance(tree, Violation):
        yield tree
        return
    told = told_chosen(tree)
    yield from _verify_kernel(plan)
    yield from verify_initrd(plan, told, retained(facts))
    if told.cmdline != plan.cmdline:
        yield Violation("command-line", "bootargs in the device tree differ from the plan's")
    yield from _verify_memory(plan, tree)
    yield from _verify_running(plan, facts)
    yield from _verify_crash(plan, tree, told, facts)


def _parameters(plan: SegmentPlan) -> PurgatoryParameters | None:
    purgatory = plan.segment(Role.PURGATORY)
    if purgatory is None:
        return None
    return read_parameters(load(plan.arch), bytes(purgatory.data))


def _verify_kernel(plan: SegmentPlan) -> Iterator[Violation]:
    """The purgatory begins as the kernel does, and what is handed over is out of its way."""
    kernel = plan.segment_at(plan.kernel_entry)
    parameters = _parameters(plan)
    if kernel is None or parameters is None:
        return  # entry-in-segment has said so
    registers = parameters.registers
    assert isinstance(registers, Ppc64leRegisters)  # the object is of this architecture
    if plan.kernel_entry != kernel.dest.start or plan.kernel_entry % _KERNEL_ALIGN:
        yield Violation(
            "image-placement",
            f"{plan.kernel_entry:#x} is not the kernel's start at a multiple of {_KERNEL_ALIGN:#x}",
        )
    if registers.kernel_head != bytes(kernel.data[KERNEL_HEAD_START:HEAD_SIZE]):
        yield Violation("kernel-head", "the other processors would wait in other code than its own")
    crash = plan.target is Target.CRASH
    word = bytes(kernel.data[RUN_AT_LOAD : RUN_AT_LOAD + 4])
    if registers.run_at_load != (1 if crash else 0) or (crash and word != RELOCATABLE):
        yield Violation(
            "kernel-head",
            f"at {RUN_AT_LOAD:#x} is {word.hex(' ')}, and {registers.run_at_load} is stored there",
        )
    if crash:
        return
    target = Range(0, kernel.dest.size)
    for item in plan.segments:
        if item.role in (Role.DTB, Role.INITRD) and item.dest.overlaps(target):
            yield Violation(
                "handed-over-above-kernel",
                f"{item.role} {item.dest}: the kernel copies itself to {target}",
            )


def _verify_memory(plan: SegmentPlan, tree: DeviceTree) -> Iterator[Violation]:
    """Every segment on memory that the tree tells of and keeps for nobody else."""
    memory = kept_memory(tree)
    crashed = [plan.segment(role) for role in (Role.BACKUP, Role.ELFCOREHDR)]
    own = [segment.dest for segment in crashed if segment is not None]
    others = (item for item in memory.kept if item.range not in own)
    memory = replace(memory, kept=tuple(others))
    for segment in plan.segments:
        for objection in memory.objections(segment.dest):
            yield Violation("memory-is-told", f"{segment.role} {segment.dest} {objection}")


def _verify_running(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Violation]:
    if facts.device_tree is None:
        return
    root = parse_device_tree(facts.device_tree).root
    taken = tuple(running_kernel(root))
    end = real_mode_end(facts, root)
    for segment in plan.segments:
        for item in taken:
            if item.range.overlaps(segment.dest):
                yield Violation("running-kernel", f"{segment.role} {segment.dest} lies on {item}")
        if end is not None and segment.dest.end > end:
            yield Violation(
                "real-mode", f"{segment.role} {segment.dest} ends above {end:#x}, the first block"
            )


def _verify_crash(
    plan: SegmentPlan, tree: DeviceTree, told: ToldChosen, facts: MachineFacts
) -> Iterator[Violation]:
    """A capture kernel is told of its memory and of the core header, any other of neither."""
    usable, limited = _told_usable(tree.root)
    if plan.target is Target.NORMAL:
        if told.elfcorehdr is not None or limited:
            yield Violation("crash-memory", "a normal kernel is told to be a capture kernel")
        return
    segment = plan.segment(Role.ELFCOREHDR)
    where = Range.sized(segment.dest.start, len(segment.data)) if segment is not None else None
    if told.elfcorehdr != where:
        yield Violation("crash-memory", f"told a core header {told.elfcorehdr}, it is {where}")
    for word in kernel_words(plan.cmdline):
        name, _, value = word.partition(b"=")
        if name == b"elfcorehdr" and where is not None and memparse(value) != (where.start, b""):
            said = word.decode(errors="replace")
            yield Violation("crash-memory", f"told {said}, the core header is at {where}")
    region = crash_region(facts.iomem)
    if region is None:
        return
    own = kept_memory(tree).told
    expected = usable_memory(tree.root, region).intersect(own or ())
    if not limited or list(usable) != list(expected):
        yield Violation("crash-memory", f"told it may use {list(usable)}, not {list(expected)}")
    if crashed_memory(region) not in tree.reservations:
        yield Violation("crash-memory", f"{crashed_memory(region)} is not kept from its use")
    backup, parameters = plan.segment(Role.BACKUP), _parameters(plan)
    if backup is not None and backup.dest not in tree.reservations:
        yield Violation("crash-memory", f"backup {backup.dest} is not kept from its use")
    if parameters is not None and (
        backup is None
        or (parameters.backup_src_start, parameters.backup_src_size)
        != (BACKED_UP.start, BACKED_UP.size)
        or parameters.backup_dst_start != backup.dest.start
    ):
        yield Violation("crash-memory", f"{BACKED_UP} is not copied to the backup")


def _told_usable(root: Node) -> tuple[list[Range], bool]:
    """Return what the tree says a capture kernel may use, and whether it says so everywhere."""
    cells = Cells.of(root)
    found: list[Range] = []
    limited = []
    for node in root.children:
        if is_memory(node):
            value = node.get(USABLE_NODE)
            limited.append(value is not None)
            found += [item for item in cells.decode(value or b"") if item.size]
        elif node.name == LMBS:
            value = node.get(USABLE_LMBS)
            limited.append(value is not None)
            found += _of_blocks(value or b"", cells)
    return list(RangeSet(found)), any(limited) and all(limited)


def _of_blocks(value: bytes, cells: Cells) -> Iterator[Range]:
    width, each = 4 * cells.size, 4 * (cells.address + cells.size)
    at = 0
    while at + width <= len(value):
        count = int.from_bytes(value[at : at + width], "big")
        at += width
        yield from cells.decode(value[at : at + count * each])
        at += count * each
