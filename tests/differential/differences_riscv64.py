"""Every intended difference between the C tool's riscv64 loads and pykexec's.

Each entry computes, for one case, what either tool is to say in the fields of
``tests.differential.tree_loads.told`` that it is about. A difference that is not here fails the
comparison, and so does one that is here and does not occur. docs/compatibility.md explains
each title to users.
"""

from __future__ import annotations

import json
from dataclasses import replace

from tests.differential import differences_tree
from tests.differential.crash import core_headers, regions
from tests.differential.differences import Difference, Expected, occurring
from tests.differential.model import PAGE, joined, subtract
from tests.differential.tree_loads import KERNEL_ALIGN, LOAD, Case

_VIRTUAL_OF_C = -0x1000
"""What the C tool adds to a physical address."""
_RWX = 7


def _purgatory(case: Case) -> Expected:
    segments = tuple(sorted(case.theirs.handover.segments))
    return {
        "segments": (segments, tuple(sorted([*segments, "purgatory"]))),
        "entered": ("kernel", "purgatory"),
    }


def _whole_pieces(case: Case) -> Expected:
    size = int.from_bytes(case.image[16:24], "little")
    theirs, ours = (-(-size // multiple) * multiple for multiple in (PAGE, KERNEL_ALIGN))
    return {"kernel memory": (theirs, ours)}


def _stale(case: Case) -> Expected:
    return differences_tree.stale(case, differences_tree.FOR_CRASHES)


def _seeds(case: Case) -> Expected:
    before = case.source.chosen
    return {
        f"/chosen:{name}": (before.get(name), ("fresh", size))
        for name, size in (("kaslr-seed", 8), ("rng-seed", 32))
    }


def _text(case: Case) -> Expected:
    if not case.crash:
        return {}
    core = case.theirs.handover.segments["elfcorehdr"]
    headers = core_headers(core, case.elf_machine)
    *before, text = headers[: 1 + next(at for at, item in enumerate(headers) if item.kind == LOAD)]
    whole = replace(text, filesz=text.filesz + 1, memsz=text.memsz + 1)
    return {"notes and text": ((*before, text), (*before, whole))}


def _virtual(case: Case) -> Expected:
    if not case.crash:
        return {}
    note = json.loads((case.machine.path / "machine.json").read_text())["kcore"]["vmcoreinfo"]
    mapped = int(note["NUMBER(PAGE_OFFSET)"], 16) - int(note["NUMBER(phys_ram_base)"])
    theirs, ours = ({(LOAD, _RWX, 0, vaddr, 0, 0)} for vaddr in (_VIRTUAL_OF_C, mapped))
    return {"dumped memory as": (theirs, ours)}


def _dumped(case: Case) -> Expected:
    if not case.crash:
        return {}
    ram = [span for depth, span, name in case.machine.iomem if (depth, name) == (0, "System RAM")]
    theirs = subtract(ram, (span for depth, span, _ in case.machine.iomem if depth))
    ours = subtract(joined(ram), [*regions(case.machine), *firmware(case)])
    starts, ends = {start for start, _ in theirs}, {end for _, end in theirs}
    return {
        "dumped memory": (tuple(joined(theirs)), tuple(ours)),
        "seams in dumped memory": (starts & ends, set()),
    }


def firmware(case: Case) -> list[tuple[int, int]]:
    """Return the memory that OpenSBI has reserved for itself in the running kernel's tree."""
    found = []
    for path, properties in case.running.nodes.items():
        if path.startswith("/reserved-memory/mmode_resv"):
            start, size = (int.from_bytes(properties["reg"][at : at + 8], "big") for at in (0, 8))
            found.append((start, start + size))
    return found


DIFFERENCES = (
    Difference("Segments are verified", _purgatory),
    Difference("The kernel gets whole pieces of 2 MiB", _whole_pieces),
    Difference("The command line is always that of the load", differences_tree.old_command_line),
    Difference(
        "A reused command line loses what was about the old files",
        differences_tree.reused_command_line,
    ),
    Difference("A property is as long as what it says", differences_tree.length),
    Difference("What was about the running kernel is removed", _stale),
    Difference("Both seeds are renewed", _seeds),
    Difference("The next kernel learns that kexec started it", differences_tree.booted_from_kexec),
    Difference("Any tree will do", differences_tree.made_chosen),
    Difference("A `--dtb` is completed", differences_tree.completed),
    Difference("The last byte of the kernel's image is in the dump", _text),
    Difference("Memory in the dump has the kernel's virtual addresses", _virtual),
    Difference("All memory of the kernel's is in the dump", _dumped),
)


def expected_differences(case: Case) -> dict[str, Expected]:
    """Return the differences that must occur in ``case``, by title."""
    return occurring(DIFFERENCES, case)
