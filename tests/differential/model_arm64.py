"""Where the segments of an arm64 load go by the rules of either tool: a second opinion.

Linux Documentation/arch/arm64/booting.rst; docs/compatibility.md says in what the rules differ.
"""

from __future__ import annotations

from dataclasses import replace

from tests.differential.arm64 import Image
from tests.differential.crash import regions
from tests.differential.model import (
    MIB,
    Allocator,
    Machine,
    Span,
    ram_of_kernel,
    subtract,
)
from tests.differential.tree_loads import KERNEL_ALIGN, Case

_KERNEL_OF_C = ("Kernel code", "Kernel data")
_CORE_HEADER_ALIGN = 64 << 10
_TREE_ALIGN = 2 * MIB
_BELOW_4_GIB = (4 << 30) - 1


def ram_of_c(machine: Machine) -> list[Span]:
    """Return the C tool's free memory: each line of RAM for itself, less what is named inside.

    The reservation that a crash kernel is loaded into counts as free.
    """
    ram = [span for _, span, name in machine.iomem if name == "System RAM"]
    own = regions(machine)[-1:]
    taken = [
        span
        for depth, span, name in machine.iomem
        if depth and name not in _KERNEL_OF_C and span not in own
    ]
    return subtract(ram, taken)


def _allocator(case: Case, free: list[Span]) -> Allocator:
    spans = regions(case.machine)[-1:] if case.crash else free
    return Allocator(spans, case.mem_min, case.mem_max, case.page_size)


def place_like_c(case: Case) -> dict[str, int]:
    """Return the address of each segment of the C tool's, by role."""
    image = Image.of(case.image)
    segments = case.theirs.handover.segments
    allocator = _allocator(case, ram_of_c(case.machine))
    if case.crash:
        allocator.take("elfcorehdr", segments["elfcorehdr"].bufsz)
    size = image.text_offset + image.image_size
    allocator.take("kernel", size, align=KERNEL_ALIGN, bottom_up=True)
    behind = allocator.placed["kernel"] + size
    for role in ("initrd", "tree", "purgatory"):
        if role in segments:
            allocator.take(role, segments[role].memsz, lowest=behind, bottom_up=True)
    allocator.placed["kernel"] += image.text_offset
    return allocator.placed


def place_like_ours(case: Case) -> dict[str, int]:
    """Return the address of each segment of pykexec's, by role."""
    image = Image.of(case.image)
    segments = case.ours.handover.segments
    allocator = _allocator(case, ram_of_kernel(case.machine))
    if case.crash:
        allocator.take("elfcorehdr", segments["elfcorehdr"].bufsz, align=_CORE_HEADER_ALIGN)
    size = image.text_offset + image.size_of_ours(case.image)
    allocator.take("kernel", size, align=KERNEL_ALIGN, bottom_up=True)
    behind = allocator.placed["kernel"] + size
    if "initrd" in segments:
        _take_initrd(allocator, segments["initrd"].memsz, behind)
    for role, align in (("ima", 1), ("tree", _TREE_ALIGN), ("purgatory", 1)):
        if role in segments:
            memory = segments[role].memsz
            allocator.take(role, memory, align=align, lowest=behind, bottom_up=True)
    return allocator.placed


def _take_initrd(allocator: Allocator, memory: int, behind: int) -> None:
    """Place it at the end of what is below 4 GiB, or of everything if it does not fit there."""
    low = replace(allocator, mem_max=min(allocator.mem_max, _BELOW_4_GIB))
    place = low if low.has_room(memory, behind) else allocator
    place.take("initrd", memory, lowest=behind)
    allocator.free = place.free
