"""Where the segments of a ppc64le load go by the rules of either tool: a second opinion.

docs/compatibility.md says in what the rules differ.
"""

from __future__ import annotations

from dataclasses import replace

from tests.differential.differences_ppc64le import (
    blocks,
    number,
    opal,
    regions,
    reserved_ranges,
    rtas,
    sized,
    tables,
)
from tests.differential.model import MIB, Allocator, Span, joined, subtract
from tests.differential.tree_loads import Case

_KERNEL_ALIGN = 0x10000
_LOW = 768 * MIB
_RMA_MAX_BEFORE_POWER9 = 1 << 30


def _memory_nodes(case: Case) -> list[Span]:
    found = []
    for path, properties in case.source.nodes.items():
        if path.startswith("/memory@"):
            start, size = (int.from_bytes(properties["reg"][at : at + 8], "big") for at in (0, 8))
            found.append((start, start + size))
    return sorted(found)


def _taken(case: Case) -> list[Span]:
    chosen = case.source.chosen
    end = number(chosen, "linux,kernel-end")
    assert end is not None
    return [
        (0, end),
        *sized(chosen, "linux,htab-base", "linux,htab-size"),
        *rtas(case),
        *opal(case),
        *tables(case),
        *reserved_ranges(case),
    ]


def place_like_c(case: Case) -> dict[str, int]:
    """Return the address of each segment of the C tool's, by role.

    All of it in the first node of memory, whose pieces end where something begins that is kept,
    and begin a byte behind it; upwards in the order of the list, but for the tree.
    """
    segments = case.theirs.handover.segments
    taken = [(start, end + 1) for start, end in _taken(case)]
    free = subtract(_memory_nodes(case)[:1], taken)
    if case.crash:
        low, high = regions(case)[-1]
        free = subtract([(low, high)], taken)
    allocator = Allocator(free, case.mem_min, case.mem_max, case.page_size)
    for role in ("kernel", "backup", "elfcorehdr", "purgatory", "initrd"):
        if role in segments:
            allocator.take(role, segments[role].memsz, bottom_up=True)
    allocator.take("tree", segments["tree"].memsz)
    return allocator.placed


def place_like_ours(case: Case) -> dict[str, int]:
    """Return the address of each segment of pykexec's, by role."""
    segments = case.ours.handover.segments
    ram = joined(span for _, span, name in case.machine.iomem if name == "System RAM")
    kept = [*_taken(case), *case.source.reservations, *_reserved_nodes(case)]
    own = regions(case)
    free = subtract(own[-1:] if case.crash else subtract(ram, own), kept)
    free = subtract(free, [(_end_of_real_mode(case), 1 << 64)])
    allocator = Allocator(free, case.mem_min, case.mem_max, case.page_size)
    allocator.take("kernel", segments["kernel"].memsz, align=_KERNEL_ALIGN, bottom_up=True)
    for role in ("backup", "elfcorehdr"):
        if role in segments:
            allocator.take(role, segments[role].memsz, bottom_up=True)
    above = 0 if case.crash else segments["kernel"].memsz
    for role in ("purgatory", "tree", "initrd"):
        if role not in segments:
            continue
        size = segments[role].memsz
        low = replace(allocator, mem_max=min(allocator.mem_max, _LOW - 1))
        place = low if role != "initrd" and low.has_room(size, above) else allocator
        place.take(role, size, lowest=above)
        allocator.free = place.free
    return allocator.placed


def _reserved_nodes(case: Case) -> list[Span]:
    found = []
    for path, properties in case.source.nodes.items():
        if path.startswith("/reserved-memory/") and "reg" in properties:
            start, size = (int.from_bytes(properties["reg"][at : at + 8], "big") for at in (0, 8))
            found.append((start, start + size))
    return found


def _end_of_real_mode(case: Case) -> int:
    """Return where a guest with hashed page tables reaches no further."""
    hashed = "Hash" in (case.machine.path / "proc/cpuinfo").read_text()
    if not hashed or "/ibm,opal" in case.source.nodes:
        return 1 << 64
    (_, end), *_ = sorted(
        [*_memory_nodes(case), *(span for span, usable in blocks(case) if usable)]
    )
    versions = [
        number(properties, "cpu-version")
        for path, properties in case.source.nodes.items()
        if path.startswith("/cpus/") and "cpu-version" in properties
    ]
    new = all((version or 0) >> 16 in (0x4E, 0x80, 0x82) for version in versions)
    return end if new else min(end, _RMA_MAX_BEFORE_POWER9)
