"""From an Image and a device tree to a plan: what arm64 and riscv64 have in common. Pure.

The kernel goes as low as it can, because many kernels cannot use the memory below themselves.
Device tree and purgatory follow above it, close by; the initrd goes high, for the sake of the
running kernel, which needs what is in daily use. What differs is a
:class:`~pykexec.boot.tree.protocol.TreeProtocol`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.boot.ima import plan_ima
from pykexec.boot.load_space import free_for, load_limits
from pykexec.boot.purgatory_segment import fill_purgatory
from pykexec.boot.tree.chosen import Cells, ChosenInput, prepare_tree, read_chosen
from pykexec.boot.tree.crash import capture_memory, want_core_header
from pykexec.boot.tree.given_tree import complete_tree, tree_brought, uefi_properties
from pykexec.boot.tree.limits import DTB_SIZE_MAX, cmdline_excess
from pykexec.boot.tree.memory import TreeMemory, tree_memory
from pykexec.formats.device_tree import (
    RESERVATION_SIZE,
    DeviceTree,
    Node,
    build_device_tree,
    parse_device_tree,
)
from pykexec.planning.file_placement import release_version
from pykexec.planning.plan_builder import PlanBuilder
from pykexec.planning.plans import SegmentPlan
from pykexec.planning.wanted import Option, above
from pykexec.values.calls import KexecFlags, Target
from pykexec.values.command_line import split_words
from pykexec.values.data_classes import replace
from pykexec.values.errors import CommandLineError, ImageError, NoRoomError, OptionError
from pykexec.values.memory import MemoryKind, crash_regions
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import ADDRESS_MAX_32, GIB, align_up, counted, format_size
from pykexec.values.wishes import Prefer, at_most

if TYPE_CHECKING:
    from pykexec.boot.tree.protocol import TreeProtocol, Window
    from pykexec.formats.linux_image import LinuxImage
    from pykexec.planning.plans import LoadRequest
    from pykexec.planning.wanted import Relation
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.values.buffers import Buffer
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import RangeSet
    from pykexec.values.wishes import Limit

_CLEARS_INITRD_TABLE = (7, 2)
_DMA_ZONE_LAST = 4 * GIB - 1
"""At most: a machine whose devices reach less has a smaller zone."""


def plan_linux_image(
    facts: MachineFacts,
    request: LoadRequest,
    image: LinuxImage,
    purgatory: PurgatoryObject,
    protocol: TreeProtocol,
) -> SegmentPlan:
    """Lay out an Image by ``protocol``.

    Raises :class:`CommandLineError` when the command line is too long, :class:`ImageError`
    for a device tree that cannot be used, :class:`NoRoomError` when a segment has no place.
    """
    for_crash = request.target is Target.CRASH
    check_cmdline(request.cmdline, facts.arch)
    retained = retained_initrd(facts, request)
    source, tree_notes = tree_source(facts, request)
    ima = plan_ima(facts, request, lambda: image.payload)
    capture = capture_memory(facts) if for_crash else None
    somewhere = Range(0, 0)
    told = ChosenInput(
        cmdline=request.cmdline,
        initrd=somewhere if request.initrd is not None else retained,
        kaslr_seed=request.kaslr_seed,
        rng_seed=request.rng_seed,
        elfcorehdr=somewhere if for_crash else None,
        usable=capture.usable if capture is not None else (),
        ima_buffer=somewhere if ima.data is not None else None,
    )
    renewed, tree_size = renewed_tree(source, told, facts.arch)
    free = free_for(facts, request)
    tree = parse_device_tree(renewed)
    memory, nameable = tree_memory(tree), _nameable(tree)
    everywhere = (*load_limits(facts, request), *protocol.limits(facts, request))
    builder = PlanBuilder(memory.free(free), facts.page_size, everywhere)
    if for_crash:
        limits = (*protocol.core_header_limits, *nameable)
        want_core_header(facts, request, builder, *limits)
    sides = _above_the_kernel(image)
    _want_kernel(builder, image, retained, protocol)
    _want_initrd(builder, request, sides, protocol.window)
    if ima.data is not None:
        # In whole pages: the next kernel gives them back.
        size = len(ima.data)
        _want_above(builder, sides, Role.IMA_BUFFER, size, *nameable, data=ima.data)
    _want_above(builder, sides, Role.DTB, tree_size, *protocol.tree_limits)
    _want_above(builder, sides, Role.PURGATORY, purgatory.memsz, checked=False)
    settle(builder, memory, free)

    kernel = builder.place_of(Role.KERNEL)
    if protocol.unmaps_crash_region and not for_crash:
        _check_region(facts, kernel)
    _check_retained(retained, kernel, protocol.window)
    blob, more_notes = prepare_tree(source, with_places(told, builder))
    builder.fill(Role.DTB, blob)
    notes = (*protocol.notes(facts, image, kernel), *_lost_memory(facts, image, kernel))
    notes += (*tree_notes, *more_notes, *ima.notes, *stale_initrd(facts, tree.root, told))
    memory_map = capture.memory_map if capture is not None else memory.memory_map(facts.memory_map)
    plan = _finish(facts, request, image, purgatory, builder, protocol)
    return replace(plan, memory_map=memory_map, notes=(*request.notes, *notes))


def _finish(
    facts: MachineFacts,
    request: LoadRequest,
    image: LinuxImage,
    purgatory: PurgatoryObject,
    builder: PlanBuilder,
    protocol: TreeProtocol,
) -> SegmentPlan:
    """Fill the purgatory, and make the plan of what has been placed."""
    kernel_entry = builder.place_of(Role.KERNEL).start + image.base_offset
    tree = builder.place_of(Role.DTB).start
    fill_purgatory(builder, purgatory, request, protocol.registers(tree, kernel_entry))
    for_crash = request.target is Target.CRASH
    segments = builder.segments
    if protocol.tree_first:
        segments = tuple(sorted(segments, key=lambda item: item.role is not Role.DTB))
    return SegmentPlan(
        arch=facts.arch,
        page_size=facts.page_size,
        target=request.target,
        entry=builder.place_of(Role.PURGATORY).start + purgatory.entry,
        kernel_entry=kernel_entry,
        flags=architecture_of(facts.arch).kexec_flag
        | (KexecFlags.KEXEC_ON_CRASH if for_crash else 0),
        segments=segments,
        cmdline=request.cmdline,
        memory_map=facts.memory_map,
    )


def check_cmdline(cmdline: bytes, arch: str) -> None:
    """Raise :class:`CommandLineError` for one that is too long."""
    excess = cmdline_excess(cmdline, arch)
    if excess is not None:
        size = architecture_of(arch).command_line_size
        raise CommandLineError(excess, hint=f"shorten it by {format_size(len(cmdline) - size + 1)}")


def _want_kernel(
    builder: PlanBuilder, image: LinuxImage, retained: Range | None, protocol: TreeProtocol
) -> None:
    """Ask for the kernel's place from its aligned base on, zeros up to the Image included.

    The segment must start at a page, which an Image at its offset need not. An initrd that is
    ``retained`` where it is keeps the kernel in its window.
    """
    offset = image.base_offset
    size = align_up(offset + image.image_size, protocol.kernel_multiple)
    data = bytes(offset) + bytes(image.payload) if offset else image.payload
    limits = protocol.kernel_limits
    options = [Option(size, limits, Prefer.BOTTOM)]
    if retained is not None and protocol.window is not None:
        window = protocol.window.limits(retained, "the initrd")
        options.insert(0, Option(size, (*limits, *window), Prefer.BOTTOM))
    builder.want_one_of(Role.KERNEL, *options, data=data)


def _want_initrd(
    builder: PlanBuilder,
    request: LoadRequest,
    sides: tuple[tuple[Relation, ...], ...],
    window: Window | None,
) -> None:
    """Ask for the initrd's place.

    At the end of the memory below 4 GiB, or where that has no room, of all that it may lie in.
    """
    if request.initrd is None:
        return
    near = (window.relation(Role.KERNEL),) if window is not None else ()
    low = at_most(_DMA_ZONE_LAST, "below 4 GiB, which the running kernel uses last")
    size = len(request.initrd)
    options = [Option(size, (*limits, *near, *more)) for limits in sides for more in ((low,), ())]
    builder.want_one_of(Role.INITRD, *options, data=request.initrd)


def _above_the_kernel(image: LinuxImage) -> tuple[tuple[Relation, ...], ...]:
    """Return where the kernel can use memory, the best first: below itself not every one can."""
    limits = (above(Role.KERNEL, "above the kernel"),)
    return (limits, ()) if image.placed_anywhere else (limits,)


def _nameable(tree: DeviceTree) -> tuple[Limit, ...]:
    """Return where those must lie whose addresses the tree tells in cells of its root."""
    if Cells.of(tree.root).address > 1:
        return ()
    return (at_most(ADDRESS_MAX_32, "#address-cells of the device tree's root is 1"),)


def _want_above(
    builder: PlanBuilder,
    sides: tuple[tuple[Relation, ...], ...],
    role: Role,
    size: int,
    *limits: Limit,
    data: Buffer = b"",
    checked: bool = True,
) -> None:
    """Ask for a place close above the kernel."""
    options = (Option(size, (*limits, *side), Prefer.BOTTOM) for side in sides)
    builder.want_one_of(role, *options, data=data, checked=checked)


def retained_initrd(facts: MachineFacts, request: LoadRequest) -> Range | None:
    """Return where the first boot's initrd still is, if it is to be handed on.

    Linux Documentation/admin-guide/kernel-parameters.txt, "retain_initrd". Nothing else can be
    placed there: the running kernel shows it as reserved. No digest covers it.
    """
    if request.initrd is not None or not request.reuse_initrd:
        return None
    if not any(word.startswith(b"retain_initrd") for word in split_words(facts.cmdline)):
        raise OptionError(
            "--reuseinitrd: the running kernel has not kept its initrd",
            hint="boot with retain_initrd on the command line, or give --initrd",
        )
    initrd = read_chosen(facts.device_tree).initrd if facts.device_tree is not None else None
    if initrd is None or request.target is Target.CRASH:
        why = "a crash kernel cannot reach it" if initrd else "the device tree names none"
        raise OptionError(f"--reuseinitrd: {why}", hint="give --initrd")
    return initrd


def _check_retained(retained: Range | None, kernel: Range, window: Window | None) -> None:
    if retained is None or window is None or window.around(kernel).contains(retained):
        return
    raise OptionError(
        f"--reuseinitrd: {retained} is not in one {window.name} with the kernel, "
        f"{window.around(kernel)}, and there is no place for the kernel in its own",
        hint="give --initrd",
    )


def renewed_tree(
    source: bytes, told: ChosenInput, arch: str, size_max: int = DTB_SIZE_MAX
) -> tuple[bytes, int]:
    """Return the next kernel's tree, and how many bytes it has once it says where segments lie.

    Raises :class:`ImageError` for more than ``size_max`` bytes.
    """
    blob, _ = prepare_tree(source, told)
    # A reservation of a place that is not known yet is not written.
    size = len(blob) + (RESERVATION_SIZE if told.ima_buffer is not None else 0)
    if size > size_max:
        raise ImageError(
            f"the device tree has {counted(size, 'byte')}, {architecture_of(arch).family} kernels "
            f"take at most {size_max}",
            hint="give a smaller tree with --dtb",
        )
    return blob, size


def settle(builder: PlanBuilder, memory: TreeMemory, free: RangeSet) -> None:
    """Find all places; a refusal says so if it is the tree that keeps ``free`` memory from use."""
    try:
        builder.settle()
    except NoRoomError as error:
        if builder.would_settle_in(free):
            error.hint = (
                f"it fits without what the device tree withholds: {memory.withheld(free)}; give "
                "another tree with --dtb"
            )
        raise


def with_places(told: ChosenInput, builder: PlanBuilder) -> ChosenInput:
    """Fill in where segments lie: exact bytes, and whole pages of IMA's list."""

    def data_of(role: Role) -> Range | None:
        place = builder.place_if_any(role)
        return Range.sized(place.start, builder.data_size(role)) if place is not None else None

    return replace(
        told,
        initrd=data_of(Role.INITRD) or told.initrd,
        elfcorehdr=data_of(Role.ELFCOREHDR),
        ima_buffer=builder.place_if_any(Role.IMA_BUFFER),
    )


def tree_source(facts: MachineFacts, request: LoadRequest) -> tuple[bytes, tuple[str, ...]]:
    """Return the tree to start from.

    The user's, a container's, the running kernel's, or where none is known one of nothing.
    """
    if request.dtb is not None:
        return complete_tree(bytes(request.dtb), facts.device_tree)
    brought = request.brought
    if brought is not None:
        own = tree_brought(brought, facts.device_tree)
        if own is not None:
            tree, notes = complete_tree(bytes(own), facts.device_tree)
            return tree, (f"the device tree is {brought.container}'s", *notes)
    if facts.device_tree is not None:
        return facts.device_tree, (f"device tree from {facts.device_tree_source}",)
    note = "the machine's device tree is not known: the plan has an empty one, which boots nothing"
    return build_device_tree(DeviceTree(Node(""))), (note,)


def _check_region(facts: MachineFacts, kernel: Range) -> None:
    """Refuse a normal load into the crash region while a crash kernel is loaded there."""
    if facts.kernel.crash_loaded and any(
        region.overlaps(kernel) for region in crash_regions(facts.iomem)
    ):
        raise OptionError(
            "--mem-min and --mem-max name the crash region, where a crash kernel is loaded",
            hint="unload that first: kexec -p -u",
        )


def stale_initrd(facts: MachineFacts, root: Node, told: ChosenInput) -> tuple[str, ...]:
    """Say that the kernel may find an initrd without being told of one.

    Where the tree names none, one is looked for by the table in which EFI's stub has left the first
    boot's (Linux drivers/firmware/efi/efi.c, "efi_config_parse_tables"). Kernels before v7.2 do not
    clear it once they have used it, and other things lie there by now.
    """
    running = release_version(facts.kernel.release)
    cleared = running is not None and running >= _CLEARS_INITRD_TABLE
    if cleared or told.initrd is not None or told.elfcorehdr is not None:
        return ()
    if not uefi_properties(root):
        return ()
    return (
        "there is no initrd: EFI may still name the first boot's, and what lies there by now is "
        "taken for one; an empty one (--initrd) prevents that",
    )


def _lost_memory(facts: MachineFacts, image: LinuxImage, kernel: Range) -> tuple[str, ...]:
    """Say how much the kernel will not use that lies below itself."""
    below = facts.memory_map.of_kind(MemoryKind.RAM).intersect([Range(0, kernel.start)])
    lost = sum(item.size for item in below)
    if not lost or image.placed_anywhere:
        return ()
    return (f"{format_size(lost)} of RAM below the kernel are lost to it: {image.why_low}",)
