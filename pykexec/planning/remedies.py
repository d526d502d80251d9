"""The smallest changes with which a load that has no room would fit. Pure.

Each is found by planning again: the planner itself is asked whether a changed request, or a
machine with another crash region, has a plan, and the change is made smaller until it has
none. So a remedy is never a guess about what the planner would do. A fitting plan is known
for each one; one step less (a page, or a MiB of ``crashkernel=``) has none.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from pykexec.planning.placement import find
from pykexec.planning.planner import plan
from pykexec.values.calls import Target
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import NoRoomError, PykexecError
from pykexec.values.memory import (
    IomemEntry,
    crash_region,
    crash_regions,
    is_crash_region,
    placeable_ram,
    walk,
)
from pykexec.values.units import (
    ADDRESS_MAX,
    ADDRESS_MAX_32,
    GIB,
    MIB,
    align_down,
    align_up,
    counted,
    format_size,
)
from pykexec.values.wishes import Bound, Origin, Placement, aligned, at_most

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from pykexec.planning.plans import LoadRequest
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import Range, RangeSet

CRASH_ALIGN = 16 * MIB
"""Where kernels start a crash region (Linux arch/x86/include/asm/crash_reserve.h; arm64: 2 MiB)."""


class Change(StrEnum):
    """What is changed."""

    MEM_MAX = "mem-max"
    MEM_MIN = "mem-min"
    INITRD = "initrd"
    CRASHKERNEL = "crashkernel"
    CRASH_REGION = "crash-region"
    FREE_REGION = "free-region"
    DTB = "dtb"


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change, and what there is to plan for when it is made: that plan fits."""

    change: Change
    text: str
    """What to do, in words: ``give --mem-max 0x3fffffff, or more``."""
    facts: MachineFacts
    request: LoadRequest


def remedies(facts: MachineFacts, request: LoadRequest, error: NoRoomError) -> tuple[Remedy, ...]:
    """Return the changes, one at a time, that make a load fit which was refused with ``error``.

    Empty where no single one does. Takes some dozens of plans, without their digests.
    """
    attempts: tuple[Callable[[MachineFacts, LoadRequest], Remedy | None], ...] = (
        _raise_mem_max,
        _lower_mem_min,
        _shrink_initrd,
        lambda facts, request: _change_region(facts, request, error),
        _free_region,
        _leave_out_dtb,
    )
    found = (_attempt(attempt, facts, request) for attempt in attempts)
    return tuple(item for item in found if item is not None)


def _attempt(
    attempt: Callable[[MachineFacts, LoadRequest], Remedy | None],
    facts: MachineFacts,
    request: LoadRequest,
) -> Remedy | None:
    """Search without IMA's list at first: whether a kernel takes it is asked by unpacking it."""
    if request.ima is None:
        remedy = attempt(facts, replace(request, ima=False))
        if remedy is None:
            return None
        remedy = replace(remedy, request=replace(remedy.request, ima=None))
        if _fits(remedy.facts, remedy.request):
            return remedy
    return attempt(facts, request)


def _refusal(facts: MachineFacts, request: LoadRequest) -> PykexecError | None:
    """Return why there is no plan; the digest says nothing about that and takes the time."""
    try:
        plan(facts, replace(request, purgatory=replace(request.purgatory, skip_checks=True)))
    except PykexecError as error:
        return error
    return None


def _fits(facts: MachineFacts, request: LoadRequest) -> bool:
    """Tell whether there is a plan."""
    return _refusal(facts, request) is None


def _least(fits: Callable[[int], bool], failing: int, fitting: int, step: int) -> int | None:
    """Return a value that fits, one ``step`` towards ``failing`` from one that does not.

    Both are multiples of ``step`` and in any order; None when ``fitting`` does not fit.
    """
    low, high = failing // step, fitting // step
    if not fits(high * step):
        return None
    while abs(high - low) > 1:
        middle = (low + high) // 2
        if fits(middle * step):
            high = middle
        else:
            low = middle
    return high * step


def _raise_mem_max(facts: MachineFacts, request: LoadRequest) -> Remedy | None:
    if request.mem_max == ADDRESS_MAX:
        return None
    page = facts.page_size
    top = max((entry.range.end for entry in facts.iomem), default=0)

    def up_to(end: int) -> LoadRequest:
        return replace(request, mem_max=end - 1)

    end = _least(
        lambda value: _fits(facts, up_to(value)),
        align_down(request.mem_max + 1, page),
        max(align_up(top, page), align_up(request.mem_max + 1, page)),
        page,
    )
    if end is None:
        return None
    text = f"give --mem-max {end - 1:#x}, or more"
    return Remedy(Change.MEM_MAX, text, facts, up_to(end))


def _lower_mem_min(facts: MachineFacts, request: LoadRequest) -> Remedy | None:
    if not request.mem_min:
        return None
    page = facts.page_size
    start = _least(
        lambda value: _fits(facts, replace(request, mem_min=value)),
        align_up(request.mem_min, page),
        0,
        page,
    )
    if start is None:
        return None
    text = f"give --mem-min {start:#x}, or less" if start else "leave out --mem-min"
    return Remedy(Change.MEM_MIN, text, facts, replace(request, mem_min=start))


def _shrink_initrd(facts: MachineFacts, request: LoadRequest) -> Remedy | None:
    initrd = request.initrd
    if initrd is None or not len(initrd):
        return None
    page = facts.page_size

    def cut(size: int) -> LoadRequest:
        return replace(request, initrd=memoryview(initrd)[:size])

    size = _least(lambda value: _fits(facts, cut(value)), align_up(len(initrd), page), page, page)
    if size is None or size >= len(initrd):
        return None
    less = len(initrd) - size
    text = f"use an initrd that is {_at_least(less)} ({counted(less, 'byte')}) smaller"
    return Remedy(Change.INITRD, text, facts, cut(size))


def _at_least(size: int) -> str:
    """Write ``size`` for people, rounded up where :func:`format_size` would round to nearest."""
    for unit in (GIB, MIB):
        if size >= unit:
            return format_size(align_up(size, unit // 16))
    return format_size(size)


def _change_region(facts: MachineFacts, request: LoadRequest, error: NoRoomError) -> Remedy | None:
    """Find the smallest ``crashkernel=`` that does, or the place where it would.

    A region out of reach of the kernel's own limit is moved below that, by ``SIZE@START``,
    which makes no second one. Any other is made larger on its side of 4 GiB.
    """
    region = crash_region(facts.iomem)
    if request.target is not Target.CRASH or region is None:
        return None
    reach = _out_of_reach(region, error)
    high = region.start >= 4 * GIB
    last = (ADDRESS_MAX if high else ADDRESS_MAX_32) if reach is None else reach
    old = (region,) if reach is None else crash_regions(facts.iomem)
    room = _reservable(facts, old)

    def with_size(size: int) -> MachineFacts | None:
        place = _reserve(room, size, last)
        return None if place is None else _with_region(facts, old, place)

    def fits(size: int) -> bool:
        changed = with_size(size)
        return changed is not None and _fits(changed, request)

    now = align_up(region.size, MIB)
    if reach is not None and (moved := with_size(now)) is not None:
        # Another segment may have to lie lower still.
        error_there = _refusal(moved, request)
        if isinstance(error_there, NoRoomError):
            lower = _out_of_reach(region, error_there)
            if lower is not None and lower < reach:
                return _change_region(facts, request, error_there)
    size: int | None = now
    if reach is None or not fits(now):
        largest = max((item.size for item in room), default=0) - CRASH_ALIGN
        size = _least(fits, now, align_down(max(largest, now), MIB), MIB)
    changed = with_size(size) if size is not None else None
    place = crash_region(changed.iomem) if changed is not None else None
    if changed is None or place is None:
        return None
    value = f"crashkernel={place.size // MIB}M"
    if reach is not None:
        text = f"boot with {value}@{place.start // MIB}M: a crash region at or below {last:#x}"
        return Remedy(Change.CRASH_REGION, text, changed, request)
    option = f"{value},high" if high else value
    text = f"boot with {option}, or more; the region has {format_size(region.size)} now"
    return Remedy(Change.CRASHKERNEL, text, changed, request)


def _out_of_reach(region: Range, error: NoRoomError) -> int | None:
    """Return the kernel's own limit, inclusive, if it keeps a segment out of the region."""
    limit = error.wish.strictest(Bound.HIGHEST)
    if limit is None or limit.origin is Origin.OPTION or limit.value >= region.last:
        return None
    return limit.value


def _reservable(facts: MachineFacts, old: Collection[Range]) -> RangeSet:
    """Return where the kernel could reserve at its next boot, judged by what is free now.

    The regions in ``old`` are given back.
    """
    room = placeable_ram(facts.iomem, facts.firmware_map).union(old)
    items = walk(facts.iomem)
    return room.minus(item.range for item in items if item.name.startswith("Kernel "))


def _reserve(room: RangeSet, size: int, last: int) -> Range | None:
    """Reserve as the kernel does: as high as it goes, up to ``last``."""
    limits = (
        aligned(CRASH_ALIGN, "crash regions of the kernel"),
        at_most(last, "crash regions of the kernel"),
    )
    try:
        return find(room, Placement(size, limits), "crash region")
    except NoRoomError:
        return None


def _with_region(facts: MachineFacts, old: Collection[Range], new: Range | None) -> MachineFacts:
    """Return the machine without the crash regions in ``old`` and with ``new``, if any."""

    def without(entries: tuple[IomemEntry, ...]) -> tuple[IomemEntry, ...]:
        kept = (item for item in entries if not (is_crash_region(item) and item.range in old))
        return tuple(replace(item, children=without(item.children)) for item in kept)

    entries = without(facts.iomem)
    if new is not None:
        entries += (IomemEntry(new, "Crash kernel"),)
    return replace(facts, iomem=tuple(sorted(entries, key=lambda item: item.range)))


def _free_region(facts: MachineFacts, request: LoadRequest) -> Remedy | None:
    """See whether a normal load has room when the crash region is given back."""
    regions = crash_regions(facts.iomem)
    if request.target is Target.CRASH or not regions:
        return None
    facts = _with_region(facts, regions, None)
    if not _fits(facts, request):
        return None
    size = format_size(sum(item.size for item in regions))
    text = (
        f"give the {size} of the crash region back: unload what is in it, "
        "echo 0 > /sys/kernel/kexec_crash_size"
    )
    return Remedy(Change.FREE_REGION, text, facts, request)


def _leave_out_dtb(facts: MachineFacts, request: LoadRequest) -> Remedy | None:
    """See whether it is the given tree that keeps memory from use."""
    if request.dtb is None:
        return None
    request = replace(request, dtb=None)
    if not _fits(facts, request):
        return None
    return Remedy(Change.DTB, "leave out --dtb: it fits with the running tree", facts, request)
