"""Where the segments of a riscv64 load go by the rules of either tool: a second opinion.

Linux Documentation/arch/riscv/boot.rst; docs/compatibility.md says in what the rules differ.
"""

from __future__ import annotations

from dataclasses import replace

from tests.differential.crash import regions
from tests.differential.differences_riscv64 import firmware
from tests.differential.model import (
    Allocator,
    Machine,
    Span,
    joined,
    ram_of_kernel,
    subtract,
)
from tests.differential.tree_loads import KERNEL_ALIGN, Case

_BELOW_4_GIB = (4 << 30) - 1


def ram_of_c(machine: Machine, *, crash: bool = False) -> list[Span]:
    """Return the C tool's free memory in the order in which it keeps it.

    Each line of RAM, less what is named inside: what lies behind such a thing goes to the end of
    the list. For a crash load the memory for it is free.
    """
    free = [span for depth, span, name in machine.iomem if (depth, name) == (0, "System RAM")]
    for depth, (start, end), name in machine.iomem:
        if depth != 1 or (crash and name == "Crash kernel"):
            continue
        at = next((at for at, span in enumerate(free) if span[0] <= start < span[1]), None)
        if at is not None:
            low, high = free[at]
            free[at : at + 1] = [(low, start)] if low < start else []
            free += [(end, high)] if end < high else []
    return free


def place_like_c(case: Case) -> dict[str, int]:
    """Return the address of each segment of the C tool's, by role.

    Kernel and core header of a crash load go into the memory for it; the initrd into the last of
    the list that is not behind that one; the tree likewise, below the initrd.
    """
    text_offset, image_size = (int.from_bytes(case.image[at : at + 8], "little") for at in (8, 16))
    segments = case.theirs.handover.segments
    free = ram_of_c(case.machine, crash=case.crash)
    own = regions(case.machine)[-1:] if case.crash else free
    allocator = Allocator(sorted(own), case.mem_min, case.mem_max, case.page_size)
    allocator.take("kernel", image_size, align=text_offset, bottom_up=True)
    if case.crash:
        allocator.take("elfcorehdr", segments["elfcorehdr"].memsz)
    highest = min(case.mem_max, own[-1][1] - 1) if case.crash else case.mem_max
    for role in ("initrd", "tree"):
        if role in segments:
            size = segments[role].memsz
            taken = [(at, at + segments[name].memsz) for name, at in allocator.placed.items()]
            ends = (
                min(high, highest + 1)
                for span in reversed(free)
                for low, high in reversed(subtract([span], taken))
                if min(high, highest + 1) - max(low, text_offset) >= size
            )
            allocator.placed[role] = (next(ends) - size) // case.page_size * case.page_size
            highest = allocator.placed[role] - 1
    return allocator.placed


def place_like_ours(case: Case) -> dict[str, int]:
    """Return the address of each segment of pykexec's, by role."""
    segments = case.ours.handover.segments
    free = subtract(joined(ram_of_kernel(case.machine)), firmware(case))
    own = regions(case.machine)[-1:] if case.crash else free
    allocator = Allocator(own, case.mem_min, case.mem_max, case.page_size)
    if case.crash:
        allocator.take("elfcorehdr", segments["elfcorehdr"].bufsz)
    size = segments["kernel"].memsz
    allocator.take("kernel", size, align=KERNEL_ALIGN, bottom_up=True)
    behind = allocator.placed["kernel"] + size
    if "initrd" in segments:
        low = replace(allocator, mem_max=min(allocator.mem_max, _BELOW_4_GIB))
        place = low if low.has_room(segments["initrd"].memsz, behind) else allocator
        place.take("initrd", segments["initrd"].memsz, lowest=behind)
        allocator.free = place.free
    for role in ("tree", "purgatory"):
        allocator.take(role, segments[role].memsz, lowest=behind, bottom_up=True)
    return allocator.placed
