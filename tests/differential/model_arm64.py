"""Where the segments of an arm64 load go by the rules of either tool: a second opinion.

Linux Documentation/arch/arm64/booting.rst; docs/compatibility.md says in what the rules differ.
"""

from __future__ import annotations

from tests.differential.arm64 import KERNEL_ALIGN, Case, Image
from tests.differential.crash import regions
from tests.differential.model import (
    MIB,
    Allocator,
    Machine,
    Span,
    ram_of_kernel,
    subtract,
)

_KERNEL_OF_C = ("Kernel code", "Kernel data")
_CORE_HEADER_ALIGN = 64 << 10
_TREE_ALIGN = 2 * MIB


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
    for role, align in (("initrd", 1), ("ima", 1), ("tree", _TREE_ALIGN), ("purgatory", 1)):
        if role in segments:
            memory = segments[role].memsz
            allocator.take(role, memory, align=align, lowest=behind, bottom_up=True)
    return allocator.placed
