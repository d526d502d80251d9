"""The arm64 boot protocol: from an Image to a plan. Pure.

Linux Documentation/arch/arm64/booting.rst. The kernel goes as low as it can, because kernels
before v4.6 cannot use the memory below themselves. Device tree and purgatory follow above it,
close by; the initrd goes high, for the sake of the running kernel.

That kernel copies the page tables of its linear map for the jump (Linux
arch/arm64/kernel/machine_kexec.c, "machine_kexec_post_load"). For each it takes free pages until
one lies in no segment, and gives the others back (kernel/kexec_core.c,
"kimage_alloc_normal_control_pages"). What it takes first is what was freed last, so that a large
segment on memory in daily use makes a load take minutes. Zones are used from the highest down, and
each from its start: what is used last is the end of the DMA zone, or of all memory if that is less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.arm64_crash import place_core_header
from pykexec.boot.chosen import ChosenInput, prepare_tree, read_chosen
from pykexec.boot.given_tree import complete_tree, tree_brought
from pykexec.boot.ima import plan_ima
from pykexec.boot.load_space import free_for, load_limits
from pykexec.boot.purgatory_segment import fill_purgatory
from pykexec.command_line import split_words
from pykexec.errors import CommandLineError, ImageError, NoRoomError, OptionError
from pykexec.formats.device_tree import DeviceTree, Node, build_device_tree
from pykexec.memory import MemoryKind, crash_regions
from pykexec.placement import Prefer, aligned, at_least, at_most
from pykexec.plans import (
    KEXEC_ARCH_AARCH64,
    KexecFlags,
    PlanBuilder,
    Role,
    SegmentPlan,
    Target,
)
from pykexec.purgatory import Aarch64Registers
from pykexec.ranges import Range
from pykexec.units import GIB, MIB, align_down, align_up, format_size

if TYPE_CHECKING:
    from pykexec.facts import MachineFacts
    from pykexec.formats.linux_image import LinuxImage
    from pykexec.plans import LoadRequest
    from pykexec.purgatory import PurgatoryObject

IMAGE_ALIGN = 2 * MIB
"""booting.rst, "The Image must be placed text_offset bytes from a 2MB aligned base"."""
WINDOW_ALIGN = GIB
WINDOW_SIZE = 32 * GIB
"""booting.rst: kernel and initrd lie in one window of this size."""
DTB_SIZE_MAX = 2 * MIB
COMMAND_LINE_SIZE = 2048
"""Bytes with the NUL: Linux arch/arm64/include/uapi/asm/setup.h."""

_PHYSICAL_LAST = (1 << 48) - 1
_DMA_ZONE_LAST = 4 * GIB - 1
"""At most: a machine whose devices reach less has a smaller zone."""


def plan_linux_image(
    facts: MachineFacts, request: LoadRequest, image: LinuxImage, purgatory: PurgatoryObject
) -> SegmentPlan:
    """Lay out an arm64 Image.

    Raises :class:`CommandLineError` when the command line is too long, :class:`ImageError`
    for a device tree that cannot be used, :class:`NoRoomError` when a segment has no place.
    """
    for_crash = request.target is Target.CRASH
    _check_cmdline(request.cmdline)
    builder = PlanBuilder(free_for(facts, request), facts.page_size, load_limits(facts, request))
    crash = place_core_header(facts, request, builder) if for_crash else None
    kernel = _place_kernel(builder, image)
    _check_region(facts, kernel, for_crash=for_crash)
    initrd = _place_initrd(builder, request, kernel)
    if initrd is None and request.reuse_initrd:
        initrd = _retained_initrd(facts, request, kernel)
    ima = plan_ima(facts, request, lambda: image.payload)
    ima_buffer = _place_ima(builder, ima.data)
    told = ChosenInput(
        cmdline=request.cmdline,
        initrd=initrd,
        kaslr_seed=request.kaslr_seed,
        rng_seed=request.rng_seed,
        elfcorehdr=crash.elfcorehdr if crash is not None else None,
        usable=crash.usable if crash is not None else (),
        ima_buffer=ima_buffer,
    )
    dtb, tree_notes = _place_tree(facts, request, builder, told)
    above = at_least(kernel.end, "above the kernel")
    code = builder.place(
        Role.PURGATORY, purgatory.memsz, above, checked=False, prefer=Prefer.BOTTOM
    )
    kernel_entry = kernel.start + image.text_offset
    registers = Aarch64Registers(x0=dtb.start, pc=kernel_entry)
    fill_purgatory(builder, purgatory, request, registers)
    return SegmentPlan(
        arch=facts.arch,
        page_size=facts.page_size,
        target=request.target,
        entry=code.start + purgatory.entry,
        kernel_entry=kernel_entry,
        flags=KEXEC_ARCH_AARCH64 | (KexecFlags.KEXEC_ON_CRASH if for_crash else 0),
        segments=builder.segments,
        cmdline=request.cmdline,
        memory_map=crash.memory_map if crash is not None else facts.memory_map,
        notes=(
            *request.notes,
            *_image_notes(facts, image, kernel),
            *tree_notes,
            *ima.notes,
        ),
    )


def initrd_window(kernel: Range) -> Range:
    """Return where an initrd may lie with a kernel at ``kernel``.

    Any window of 32 GiB that starts at a multiple of 1 GiB will do, as long as it holds both.
    """
    lowest = max(0, align_up(kernel.end, WINDOW_ALIGN) - WINDOW_SIZE)
    return Range(lowest, align_down(kernel.start, WINDOW_ALIGN) + WINDOW_SIZE)


def cmdline_excess(cmdline: bytes) -> str | None:
    """Say how much too long a command line is for any arm64 kernel; None if it is not."""
    if len(cmdline) < COMMAND_LINE_SIZE:
        return None
    return (
        f"the command line is {len(cmdline)} bytes long, arm64 kernels take at most "
        f"{COMMAND_LINE_SIZE - 1} (COMMAND_LINE_SIZE)"
    )


def _check_cmdline(cmdline: bytes) -> None:
    excess = cmdline_excess(cmdline)
    if excess is not None:
        raise CommandLineError(
            excess, hint=f"shorten it by {format_size(len(cmdline) - COMMAND_LINE_SIZE + 1)}"
        )


def _place_kernel(builder: PlanBuilder, image: LinuxImage) -> Range:
    """Place the kernel from its 2 MiB aligned base on; ``text_offset`` is 0 since v5.10.

    Before, the segment has zeros up to the Image: it must start at a page, ``text_offset``
    need not.
    """
    size = image.text_offset + image.image_size
    data = bytes(image.text_offset) + bytes(image.payload) if image.text_offset else image.payload
    return builder.place(
        Role.KERNEL,
        size,
        aligned(IMAGE_ALIGN, "2 MiB aligned base of an arm64 Image"),
        at_most(_PHYSICAL_LAST, "48-bit physical addresses"),
        data=data,
        prefer=Prefer.BOTTOM,
    )


def _place_initrd(builder: PlanBuilder, request: LoadRequest, kernel: Range) -> Range | None:
    """Place the initrd; returns its exact bytes, without the rest of its last page.

    At the end of the memory below 4 GiB, or where that has no room, of the window.
    """
    if request.initrd is None:
        return None
    size = len(request.initrd)
    limits = (
        at_least(kernel.end, "above the kernel"),
        at_most(initrd_window(kernel).last, "one 32 GiB window with the kernel"),
    )
    low = at_most(_DMA_ZONE_LAST, "below 4 GiB, which the running kernel uses last")
    try:
        dest = builder.place(Role.INITRD, size, *limits, low, data=request.initrd)
    except NoRoomError:
        dest = builder.place(Role.INITRD, size, *limits, data=request.initrd)
    return Range.sized(dest.start, size)


def _retained_initrd(facts: MachineFacts, request: LoadRequest, kernel: Range) -> Range:
    """Return where the first boot's initrd still is.

    Linux Documentation/admin-guide/kernel-parameters.txt, "retain_initrd". Nothing else can be
    placed there: the running kernel shows it as reserved. No digest covers it.
    """
    if not any(word.startswith(b"retain_initrd") for word in split_words(facts.cmdline)):
        raise OptionError(
            "--reuseinitrd: the running kernel has not kept its initrd",
            hint="boot with retain_initrd on the command line, or give --initrd",
        )
    initrd = read_chosen(facts.device_tree).initrd if facts.device_tree is not None else None
    if initrd is None or request.target is Target.CRASH:
        why = "a crash kernel cannot reach it" if initrd else "the device tree names none"
        raise OptionError(f"--reuseinitrd: {why}", hint="give --initrd")
    window = initrd_window(kernel)
    if not window.contains(initrd):
        raise OptionError(
            f"--reuseinitrd: {initrd} is not in one 32 GiB window with the kernel, {window}",
            hint="give --initrd, or bring the kernel closer with --mem-min and --mem-max",
        )
    return initrd


def _place_ima(builder: PlanBuilder, data: bytes | None) -> Range | None:
    """Place IMA's list, in whole pages: the next kernel gives them back."""
    if data is None:
        return None
    above = at_least(builder.place_of(Role.KERNEL).end, "above the kernel")
    return builder.place(Role.IMA_BUFFER, len(data), above, data=data, prefer=Prefer.BOTTOM)


def _place_tree(
    facts: MachineFacts, request: LoadRequest, builder: PlanBuilder, told: ChosenInput
) -> tuple[Range, tuple[str, ...]]:
    """Make the next kernel's device tree and place it; returns its place and notes."""
    source, notes = _tree_source(facts, request)
    blob, more = prepare_tree(source, told)
    if len(blob) > DTB_SIZE_MAX:
        raise ImageError(
            f"the device tree has {len(blob)} bytes, an arm64 kernel takes at most {DTB_SIZE_MAX}",
            hint="give a smaller tree with --dtb",
        )
    dest = builder.place(
        Role.DTB,
        len(blob),
        aligned(DTB_SIZE_MAX, "a device tree that crosses no 2 MiB boundary"),
        at_least(builder.place_of(Role.KERNEL).end, "above the kernel"),
        data=blob,
        prefer=Prefer.BOTTOM,
    )
    return dest, (*notes, *more)


def _tree_source(facts: MachineFacts, request: LoadRequest) -> tuple[bytes, tuple[str, ...]]:
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


def _check_region(facts: MachineFacts, kernel: Range, *, for_crash: bool) -> None:
    """Refuse a normal load into the crash region while a crash kernel is loaded there.

    The running kernel has taken the region out of its map of memory then (Linux
    arch/arm64/mm/mmu.c, "arch_kexec_protect_crashkres"), and could not move segments there.
    """
    inside = any(region.overlaps(kernel) for region in crash_regions(facts.iomem))
    if inside and not for_crash and facts.kernel.crash_loaded:
        raise OptionError(
            "--mem-min and --mem-max name the crash region, where a crash kernel is loaded",
            hint="unload that first: kexec -p -u",
        )


def _image_notes(facts: MachineFacts, image: LinuxImage, kernel: Range) -> list[str]:
    """Say what cannot be checked about this kernel on this machine, or will be odd."""
    notes = []
    if image.big_endian:
        notes.append(
            "the kernel is big-endian: the processor must support that, which the running kernel "
            "does not tell"
        )
    if image.page_size not in (None, facts.page_size):
        notes.append(
            f"the kernel has pages of {format_size(image.page_size)}, the running one of "
            f"{format_size(facts.page_size)}: the processor must support them, which the "
            "running kernel does not tell"
        )
    below = facts.memory_map.of_kind(MemoryKind.RAM).intersect([Range(0, kernel.start)])
    lost = sum(item.size for item in below)
    if not image.placed_anywhere and lost:
        notes.append(
            f"{format_size(lost)} of RAM below the kernel are lost to it: its header asks for the "
            "base of RAM (flags bit 3 unset)"
        )
    return notes
