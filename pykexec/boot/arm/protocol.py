"""From a zImage and a device tree to a plan, for ARM of 32 bits. Pure.

Linux Documentation/arch/arm/booting.rst. The zImage goes right above the place that it unpacks its
kernel to, where it need not move; what the kernel is handed follows above it, in the memory that
every kernel maps. Of all blocks that it could be unpacked in, the lowest one is taken: a kernel
loses the memory below its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.boot.arm.crash import (
    HEADER_ALIGN,
    capture_cmdline,
    core_header,
    longest_cmdline,
    notes,
    own_memory,
)
from pykexec.boot.arm.memory import arm_memory
from pykexec.boot.arm.unpacking import LOWMEM, SAFE_LOWMEM, Unpacking, blocks, unpacking
from pykexec.boot.load_space import free_for, load_limits
from pykexec.boot.purgatory_segment import fill_purgatory
from pykexec.boot.tree.chosen import ChosenInput, prepare_tree
from pykexec.boot.tree.crash import capture_memory
from pykexec.boot.tree.given_tree import told_memory
from pykexec.boot.tree.linux import (
    check_cmdline,
    renewed_tree,
    retained_initrd,
    settle,
    stale_initrd,
    tree_source,
    with_places,
)
from pykexec.formats.device_tree import parse_device_tree
from pykexec.planning.placement import find
from pykexec.planning.plan_builder import PlanBuilder
from pykexec.planning.plans import SegmentPlan
from pykexec.planning.wanted import Option, below
from pykexec.purgatory_objects.arm import ArmRegisters
from pykexec.values.calls import KexecFlags, Target
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import NoRoomError
from pykexec.values.memory import MemoryKind, crash_region
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import MIB, format_size
from pykexec.values.wishes import Placement, Prefer, aligned, at_least, at_most, inside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.boot.tree.memory import TreeMemory
    from pykexec.formats.zimage import ZImage
    from pykexec.planning.plans import LoadRequest
    from pykexec.planning.wanted import Relation
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.values.facts import MachineFacts
    from pykexec.values.wishes import Limit

TREE_MAX = MIB
"""What a kernel maps of its tree, wherever that begins: Linux arch/arm/kernel/head.S,
"FDT_FIXED_SIZE"."""


@dataclass(frozen=True, slots=True)
class _Load:
    """What is to be placed, whichever block it goes to."""

    image: ZImage
    request: LoadRequest
    purgatory: PurgatoryObject
    page_size: int
    tree_size: int
    header: bytes | None
    """Crash loads: the core header."""
    memory: TreeMemory
    free: RangeSet
    """What the tree does not withhold from."""
    limits: tuple[Limit, ...]


def plan_zimage(
    facts: MachineFacts, request: LoadRequest, image: ZImage, purgatory: PurgatoryObject
) -> SegmentPlan:
    """Lay out a zImage.

    Raises :class:`CommandLineError` when the command line is too long, :class:`ImageError`
    for a device tree that cannot be used, :class:`NoRoomError` when a segment has no place.
    """
    crash = request.target is Target.CRASH
    cmdline = longest_cmdline(request.cmdline) if crash else request.cmdline
    check_cmdline(cmdline, facts.arch)
    retained = retained_initrd(facts, request)
    capture = capture_memory(facts) if crash and crash_region(facts.iomem) else None
    source, tree_notes = tree_source(facts, request)
    free = free_for(facts, request)
    somewhere = Range(0, 0)
    told = ChosenInput(
        cmdline=cmdline,
        initrd=somewhere if request.initrd is not None else retained,
        kaslr_seed=request.kaslr_seed,
        rng_seed=request.rng_seed,
        elfcorehdr=somewhere if crash else None,
        usable=capture.usable if capture is not None else (),
    )
    renewed, tree_size = renewed_tree(source, told, facts.arch, TREE_MAX)
    tree = parse_device_tree(renewed)
    load = _Load(
        image=image,
        request=request,
        purgatory=purgatory,
        page_size=facts.page_size,
        tree_size=tree_size,
        header=core_header(facts, request) if crash else None,
        memory=arm_memory(tree, retained),
        free=free,
        limits=load_limits(facts, request),
    )
    usable = capture.usable[0] if capture is not None else None
    builder, chosen = _placed(load, told_memory(tree.root), usable)

    if crash:
        cmdline = capture_cmdline(
            request.cmdline,
            own_memory(facts, builder.place_of(Role.ELFCOREHDR)),
            builder.place_of(Role.ELFCOREHDR),
        )
        told = replace(told, cmdline=cmdline)
    blob, more_notes = prepare_tree(source, with_places(told, builder))
    builder.fill(Role.DTB, blob)
    made = _finish(facts, load, builder)
    memory_map = capture.memory_map if capture else load.memory.memory_map(facts.memory_map)
    told_notes = (
        *request.notes,
        *_notes(facts, load, chosen),
        *tree_notes,
        *more_notes,
        *(notes(facts, request.cmdline) if crash else ()),
        *stale_initrd(facts, tree.root, told),
    )
    return replace(made, cmdline=cmdline, memory_map=memory_map, notes=told_notes)


def _placed(load: _Load, told: RangeSet, usable: Range | None) -> tuple[PlanBuilder, Unpacking]:
    """Find the places in the lowest block that has them all.

    Raises the :class:`NoRoomError` of the lowest block.
    """
    refusal: NoRoomError | None = None
    for start in blocks(load.memory.free(load.free)):
        chosen = unpacking(load.image, start, told, usable)
        try:
            return _placed_in(load, chosen), chosen
        except NoRoomError as error:
            refusal = refusal or error
    if refusal is not None:
        raise refusal
    nowhere = unpacking(load.image, 0, told, usable)
    return _placed_in(load, nowhere), nowhere  # without any memory: this raises


def _placed_in(load: _Load, chosen: Unpacking) -> PlanBuilder:
    """Find all places for one block."""
    free = load.memory.free(load.free)
    target = Placement(
        chosen.target.size,
        (*inside(chosen.target, f"unpacked behind the base of memory, {chosen.base:#x}"),),
    )
    find(free, target, "the unpacked kernel")
    builder = PlanBuilder(free, load.page_size, load.limits)
    over = at_least(chosen.target.end, "above the place that the kernel is unpacked to")
    under: tuple[Relation, ...] = ()
    if load.header is not None:
        align = aligned(HEADER_ALIGN, "mem= ends at the core header")
        builder.want(Role.ELFCOREHDR, len(load.header), over, align, data=load.header)
        under = (below(Role.ELFCOREHDR, "the capture kernel's memory ends at the core header"),)
    in_block = at_most(chosen.block.last, "a zImage looks for memory in its block of 128 MiB")
    builder.want_one_of(
        Role.KERNEL,
        Option(load.image.program_size, (over, in_block, *under), Prefer.BOTTOM),
        data=load.image.payload,
    )
    lowmem = tuple(_lowmem(chosen.base))
    if load.request.initrd is not None:
        size = len(load.request.initrd)
        options = (Option(size, (over, *under, limit)) for limit in lowmem)
        builder.want_one_of(Role.INITRD, *options, data=load.request.initrd)
    for role, size, checked in (
        (Role.DTB, load.tree_size, True),
        (Role.PURGATORY, load.purgatory.memsz, False),
    ):
        close = [Option(size, (over, *under, limit), Prefer.BOTTOM) for limit in lowmem]
        builder.want_one_of(role, *close, checked=checked)
    settle(builder, load.memory, load.free)
    return builder


def _lowmem(base: int) -> Iterator[Limit]:
    """Yield up to where every kernel maps what it is handed, then up to where most do."""
    for size in (SAFE_LOWMEM, LOWMEM):
        yield at_most(base + size - 1, f"{format_size(size)} from the base of memory are mapped")


def _finish(facts: MachineFacts, load: _Load, builder: PlanBuilder) -> SegmentPlan:
    """Fill the purgatory, and make the plan of what has been placed."""
    crash = load.request.target is Target.CRASH
    entry = builder.place_of(Role.KERNEL).start
    registers = ArmRegisters(r2=builder.place_of(Role.DTB).start, pc=entry)
    fill_purgatory(builder, load.purgatory, load.request, registers)
    return SegmentPlan(
        arch=facts.arch,
        page_size=facts.page_size,
        target=load.request.target,
        entry=builder.place_of(Role.PURGATORY).start + load.purgatory.entry,
        kernel_entry=entry,
        flags=architecture_of(facts.arch).kexec_flag | (KexecFlags.KEXEC_ON_CRASH if crash else 0),
        segments=builder.segments,
        cmdline=load.request.cmdline,
        memory_map=facts.memory_map,
    )


def _notes(facts: MachineFacts, load: _Load, chosen: Unpacking) -> Iterator[str]:
    """Say what cannot be known of this kernel, and what it will lack."""
    image = load.image
    if not image.size_given:
        yield (
            f"the zImage does not say how large its kernel is: {format_size(image.inflated_size)} "
            "are left for it, five times the file"
        )
    if image.text_offset is None:
        yield "nor how far from the base of memory it is unpacked: as far as any is allowed for"
    ram = facts.memory_map.of_kind(MemoryKind.RAM)
    if load.request.target is Target.NORMAL:
        lost = sum(item.size for item in ram.intersect([Range(0, chosen.base)]))
        if lost:
            yield (
                f"{format_size(lost)} of RAM below the kernel are lost to it: it takes "
                f"{chosen.base:#x} for the start of memory"
            )
    if chosen.base != chosen.block.start:
        since = "5.16" if load.request.target is Target.CRASH else "5.12"
        yield (
            f"the base of memory is {chosen.base:#x}, no multiple of 128 MiB: kernels before "
            f"Linux {since} do not find it, and unpack themselves at {chosen.block.start:#x}"
        )
