"""What either tool makes of a load for loongarch64, and where: a second opinion, without pykexec.

All that is told is the command line. Words of it that name memory become the roles of segments:
each has address and size in another order (Linux init/do_mounts_initrd.c, "early_initrdmem";
kernel/elfcorehdr.c, "setup_elfcorehdr"; arch/loongarch/kernel/setup.c, "early_parse_mem").
"""

from __future__ import annotations

import hashlib
import re
import struct

from tests.differential.crash import Header, core_headers, regions
from tests.differential.model import MIB, Span, joined, ram_of_kernel, subtract
from tests.differential.tree_loads import LOAD, Case, Fields, Load, holds, named

KERNEL_ALIGN = 2 * MIB
CORE_HEADER_ALIGN = 64 << 10
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_NUMBER = r"(0x[0-9a-f]+|[0-9]+)([KMG]?)"
_RANGES = {"initrd": (",", True), "elfcorehdr": ("@", False), "mem": ("@", False)}
"""By word: what is between the two numbers, and whether the address is the first."""


def header(image: bytes) -> tuple[int, int, int]:
    """Return kernel_entry, image_size and load_offset of a vmlinux.efi."""
    entry, size, offset = struct.unpack_from("<3Q", image, 8)
    return entry, size, offset


def line_of(load: Load) -> str:
    """Return the command line that the running kernel finds."""
    return load.handover.segments["command line"].data.partition(b"\0")[0].decode()


def split(line: str) -> tuple[list[str], dict[str, list[Span]]]:
    """Return a command line's words but for those that name memory, and the memory by name."""
    words: list[str] = []
    spans: dict[str, list[Span]] = {}
    for word in line.split(" "):
        name, _, value = word.partition("=")
        span = _span(value, *_RANGES[name]) if name in _RANGES else None
        if span is None:
            words.append(word)
        else:
            spans.setdefault(name, []).append(span)
    return words, spans


def _span(value: str, between: str, first: bool) -> Span | None:
    found = re.fullmatch(f"{_NUMBER}{between}{_NUMBER}", value)
    if found is None:
        return None
    one, other = (int(found[at], 0) * _UNITS[found[at + 1]] for at in (1, 3))
    start, size = (one, other) if first else (other, one)
    return start, start + size


def told(load: Load, case: Case) -> Fields:
    """Return everything that the load tells the next kernel."""
    segments = load.handover.segments
    kernel = segments["kernel"]
    words, spans = split(line_of(load))
    fields: Fields = {
        "flags": load.call.flags,
        "segments": tuple(sorted(segments)),
        "entered": next(role for role in segments if holds(segments[role], load.call.entry)),
        "kernel": (hashlib.sha256(kernel.data).hexdigest(), len(kernel.data)),
        "kernel behind a multiple": load.kernel_start % KERNEL_ALIGN,
        "kernel memory": kernel.memsz,
        "command line": " ".join(words),
        "bytes of the command line": segments["command line"].bufsz,
    }
    if "initrd" in segments:
        fields["initrd"] = (segments["initrd"].bufsz, segments["initrd"].memsz)
    for name, found in spans.items():
        fields[f"{name}="] = tuple(named(span, load) for span in found)
    if "elfcorehdr" in segments:
        fields |= _dump(core_headers(segments["elfcorehdr"], case.elf_machine))
    return fields


def _dump(headers: tuple[Header, ...]) -> Fields:
    """Return what a core header tells: notes, memory, and what of it is there twice."""
    loads = sorted((item for item in headers if item.kind == LOAD), key=lambda item: item.paddr)
    spans = [(item.paddr, item.paddr + item.memsz) for item in loads]
    alike = {
        (h.flags, h.offset - h.paddr, h.vaddr - h.paddr, h.filesz - h.memsz, h.align) for h in loads
    }
    twice = (
        (max(one[0], other[0]), min(one[1], other[1]))
        for at, one in enumerate(spans)
        for other in spans[at + 1 :]
    )
    return {
        "notes": tuple(item for item in headers if item.kind != LOAD),
        "dumped memory": tuple(joined(spans)),
        "dumped memory as": alike,
        "dumped twice": tuple(span for span in twice if span[0] < span[1]),
    }


def entry_of(case: Case, load: Load) -> int:
    """Return the physical address at which the kernel is to be entered."""
    entry, _, offset = header(case.image)
    return load.kernel_start + entry - offset


def _free(case: Case) -> list[Span]:
    if case.crash:
        return [regions(case.machine)[-1]]
    window = [(case.mem_min, min(case.mem_max + 1, 1 << 64))]
    outside = subtract([(0, 1 << 64)], window)
    return subtract(ram_of_kernel(case.machine), [(0, 2 * MIB), *outside])


def _up(value: int, to: int) -> int:
    return -(-value // to) * to


def place_like_c(case: Case) -> dict[str, int]:
    """The kernel as far into its region as it is linked to be into memory; the initrd on top.

    The command line follows the kernel.
    """
    _, size, offset = header(case.image)
    segments = case.theirs.handover.segments
    start = (regions(case.machine)[-1][0] if case.crash else 0) + offset
    placed = {"kernel": start, "command line": _up(start + size, case.page_size)}
    top = max(end for _, end in _memory_of_c(case))
    for role in ("elfcorehdr", "initrd"):
        if role in segments:
            top -= segments[role].memsz
            placed[role] = top
    return placed


def _memory_of_c(case: Case) -> list[Span]:
    """Return where the C tool puts something: in all memory, whatever is reserved in it."""
    if case.crash:
        return [regions(case.machine)[-1]]
    ram = [span for depth, span, name in case.machine.iomem if (depth, name) == (0, "System RAM")]
    return [(low, min(high, case.mem_max + 1)) for low, high in ram if low <= case.mem_max]


def place_like_ours(case: Case) -> dict[str, int]:
    """The kernel at home or lowest, all else from the top."""
    _, size, offset = header(case.image)
    segments, free = case.ours.handover.segments, _free(case)
    home = offset, offset + size
    lowest = next(
        start for low, high in free if (start := _up(max(low, offset), KERNEL_ALIGN)) + size <= high
    )
    placed = {}
    if case.crash:
        placed["elfcorehdr"] = _highest(free, segments["elfcorehdr"].memsz, CORE_HEADER_ALIGN)
        free = _without(case, free, placed, "elfcorehdr")
    at_home = any(low <= home[0] and home[1] <= high for low, high in free)
    placed["kernel"] = offset if at_home else lowest
    free = _without(case, free, placed, "kernel")
    for role in ("purgatory", "command line", "initrd"):
        if role in segments:
            placed[role] = _highest(free, segments[role].memsz, case.page_size)
            free = _without(case, free, placed, role)
    return placed


def _highest(free: list[Span], size: int, align: int) -> int:
    return max((high - size) // align * align for low, high in free if high - size >= low)


def _without(case: Case, free: list[Span], placed: dict[str, int], role: str) -> list[Span]:
    start = placed[role]
    return subtract(free, [(start, start + case.ours.handover.segments[role].memsz)])
