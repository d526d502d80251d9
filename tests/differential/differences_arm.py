"""Every intended difference between the C tool's loads on 32-bit ARM and pykexec's.

As in tests/differential/differences_riscv64.py: an entry computes what either tool is to say in the
fields that it is about, and docs/compatibility.md explains each title to users.
"""

from __future__ import annotations

import struct

from tests.differential import differences_tree
from tests.differential.crash import regions
from tests.differential.differences import Difference, Expected, occurring
from tests.differential.model import PAGE
from tests.differential.tree_loads import LOAD, Case

TABLE, SIZES = 0x34, 0x5A534C4B
"""Where a zImage tells of its table, and the tag in it that is looked at."""
LOWMEM = 768 << 20
_RWX = 7
_NO_ADDRESS = 0xFFFF_FFFF
_PROGRAM = 0x4000
"""What pykexec leaves for BSS and stack of the program behind the file."""


def sizes(image: bytes) -> tuple[int, int, int, int]:
    """Return what the table tells: size of the kernel, its BSS, TEXT_OFFSET, MALLOC_SIZE.

    The last two by what has to be assumed where an older table does not tell them.
    """
    _, at = struct.unpack_from("<II", image, TABLE)
    count, tag, pointer, bss = struct.unpack_from("<4I", image, at)
    assert tag == SIZES
    (inflated,) = struct.unpack_from("<I", image, pointer)
    offset, malloc = (0x308000, 0x10000)
    if count == 6:
        offset, malloc = struct.unpack_from("<II", image, at + 16)
    return inflated, bss, offset, malloc


def _purgatory(case: Case) -> Expected:
    segments = tuple(sorted(case.theirs.handover.segments))
    return {
        "segments": (segments, tuple(sorted([*segments, "purgatory"]))),
        "entered": ("kernel", "purgatory"),
    }


def _place(case: Case) -> Expected:
    ours = case.ours.handover.segments["kernel"].mem
    needed = len(case.image) + _PROGRAM + sizes(case.image)[3]
    theirs, own = (-(-size // PAGE) * PAGE for size in (len(case.image) + 1, needed))
    return {
        "kernel behind a multiple": (0x8000, ours % case.kernel_align),
        "kernel memory": (theirs, own),
    }


def _width(case: Case) -> Expected:
    if case.initrd is None:
        return {}
    return {
        f"/chosen:linux,initrd-{edge}": (("initrd", offset, 4), ("initrd", offset, 8))
        for edge, offset in (("start", 0), ("end", len(case.initrd)))
    }


def _old_initrd(case: Case) -> Expected:
    if case.initrd is not None:
        return {}
    names = ("linux,initrd-start", "linux,initrd-end")
    told = case.source.chosen
    return {f"/chosen:{name}": (told[name], None) for name in names if name in told}


def _command_line(case: Case) -> Expected:
    if not case.crash:
        return {}
    theirs, ours = differences_tree.command_lines(case)
    low, _ = regions(case.machine)[-1]
    headers = [load.handover.segments["elfcorehdr"].mem for load in (case.theirs, case.ours)]
    kib = [(header - low) // 1024 for header in headers]
    return {
        "/chosen:bootargs": (
            f"{theirs} elfcorehdr={headers[0]:#x} mem={kib[0]}K".encode(),
            f"{ours} elfcorehdr={headers[1]:#x} mem={kib[1]}K@{low:#x}".encode(),
        )
    }


def _highmem(case: Case) -> Expected:
    if not case.crash:
        return {}
    low = min(span[0] for depth, span, name in case.machine.iomem if name == "System RAM")
    ends = [span[1] for _, span, name in case.machine.iomem if name == "System RAM"]
    border = low + LOWMEM
    mapped = (LOAD, _RWX, 0, 0xC0000000 - low, 0, 0)
    high = (LOAD, _RWX, 0, _NO_ADDRESS - border, 0, 0)
    if max(ends) <= border:
        return {}
    return {
        "dumped memory as": ({mapped}, {mapped, high}),
        "seams in dumped memory": (set(), {border}),
    }


def _seeds(case: Case) -> Expected:
    before = case.source.chosen
    return {
        f"/chosen:{name}": (before.get(name), ("fresh", size))
        for name, size in (("kaslr-seed", 8), ("rng-seed", 32))
    }


DIFFERENCES = (
    Difference("Segments are verified", _purgatory),
    Difference("A zImage needs no `--image-size`", _place),
    Difference("The initrd's place is told in 64 bits", _width),
    Difference("The old initrd is not told of", _old_initrd),
    Difference("What was added for a crash names the start of memory", _command_line),
    Difference("The command line is always that of the load", differences_tree.old_command_line),
    Difference("Memory above the linear map has no virtual address in the core", _highmem),
    Difference("Both seeds are renewed", _seeds),
    Difference("The next kernel learns that kexec started it", differences_tree.booted_from_kexec),
)


def expected_differences(case: Case) -> dict[str, Expected]:
    """Return the differences that must occur in ``case``, by title."""
    return occurring(DIFFERENCES, case)
