"""Every intended difference between the C tool's ppc64le loads and pykexec's.

Each entry computes, for one case, what either tool is to say in the fields of
``tests.differential.tree_loads.told`` that it is about. A difference that is not here fails the
comparison, and so does one that is here and does not occur. docs/compatibility.md explains
each title to users.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from tests.differential import differences_tree
from tests.differential.differences import Difference, Expected, occurring
from tests.differential.model import Span, joined, subtract
from tests.differential.tree_loads import Case

LMBS = "/ibm,dynamic-reconfiguration-memory"
LMB_SIZE = "ibm,lmb-size"
_ASSIGNED, _RESERVED = 0x8, 0x80
_RTAS = "/rtas"
_OPAL = "/ibm,opal"
BACKED_UP = (0, 0x10000)


def number(properties: dict[str, bytes], name: str) -> int | None:
    """Return a property of one number, None without."""
    return int.from_bytes(properties[name], "big") if name in properties else None


def sized(properties: dict[str, bytes], base: str, size: str) -> list[Span]:
    """Return the range that two properties give, in a list; an empty one without."""
    start, length = number(properties, base), number(properties, size)
    return [(start, start + length)] if start is not None and length else []


def is_old(case: Case) -> bool:
    """Tell whether the kernel is one before 5.15."""
    version = re.search(rb"Linux version (\d+)\.(\d+)", case.image)
    assert version is not None
    return (int(version[1]), int(version[2])) < (5, 15)


def regions(case: Case) -> list[Span]:
    """Return the memory for a crash kernel, in a list; the tree says where it is."""
    return sized(case.running.chosen, "linux,crashkernel-base", "linux,crashkernel-size")


def opal(case: Case) -> list[Span]:
    """Return where OPAL lies, in a list."""
    node = case.source.nodes.get(_OPAL, {})
    return sized(node, "opal-base-address", "opal-runtime-size")


def rtas(case: Case) -> list[Span]:
    """Return where RTAS lies, in a list."""
    return sized(case.source.nodes.get(_RTAS, {}), "linux,rtas-base", "rtas-size")


def tables(case: Case) -> list[Span]:
    """Return the TCE tables."""
    found = []
    for properties in case.source.nodes.values():
        found += sized(properties, "linux,tce-base", "linux,tce-size")
    return found


def reserved_ranges(case: Case) -> list[Span]:
    """Return what the root's ``reserved-ranges`` lists."""
    value = case.source.nodes["/"].get("reserved-ranges", b"")
    return [(start, start + size) for start, size in struct.iter_unpack(">QQ", value)]


def _command_line(case: Case) -> Expected:
    theirs, ours = (text.encode() for text in differences_tree.command_lines(case))
    root = re.search(rb"root=\S*", case.running.chosen["bootargs"])
    added = [root[0]] if root and b"root=" not in ours else []
    if case.crash:
        theirs += b" elfcorehdr=%dK" % (case.theirs.handover.segments["elfcorehdr"].mem >> 10)
    said = [b" ".join([*([line] if line else []), *added]) for line in (theirs, ours)]
    if case.crash and is_old(case):
        said[1] += b" elfcorehdr=0x%016x" % case.ours.handover.segments["elfcorehdr"].mem
    return {"/chosen:bootargs": (said[0] + b" ", said[1])}


def _core_header(case: Case) -> Expected:
    if not case.crash:
        return {}
    return {"/chosen:linux,elfcorehdr": (None, ("elfcorehdr",))}


def _seeds(case: Case) -> Expected:
    before = case.source.chosen
    return {
        f"/chosen:{name}": (before.get(name), ("fresh", size))
        for name, size in (("kaslr-seed", 8), ("rng-seed", 32))
    }


def _stale(case: Case) -> Expected:
    chosen = case.source.chosen
    expected: Expected = {}
    if "linux,elfcorehdr" in chosen and not case.crash:
        said = tuple(case.source.spans("linux,elfcorehdr"))
        expected["/chosen:linux,elfcorehdr"] = (said, None)
    if "linux,memory-limit" in chosen:
        expected["/chosen:linux,memory-limit"] = (chosen["linux,memory-limit"], None)
    firmware = case.source.nodes.get(_RTAS, {})
    if "ibm,kernel-dump" in firmware:
        expected[f"{_RTAS}:ibm,kernel-dump"] = (firmware["ibm,kernel-dump"], None)
    for node, properties in case.source.nodes.items():
        name = "linux,usable-memory"
        if name in properties and not case.crash:
            expected[f"{node}:{name}"] = (properties[name], None)
    return expected


def _reservations(case: Case) -> Expected:
    """Theirs in the order in which it finds them; ours is the running kernel's, and what is new."""
    segments = case.theirs.handover.segments
    (below,) = [(BACKED_UP[1], regions(case)[-1][0])] if case.crash else [None]
    theirs: list[object] = [*reserved_ranges(case)]
    if case.crash:
        theirs += [below, "backup", "elfcorehdr"]
    theirs += ["initrd"] if "initrd" in segments else []
    theirs += [*rtas(case), *opal(case), *tables(case), "tree"]
    ours: list[object] = [*_lasting(case), *rtas(case), *opal(case), *tables(case)]
    ours += [below, "the pages of backup"] if case.crash else []
    ours += ["the pages of elfcorehdr"] if case.crash and is_old(case) else []
    ours = list(dict.fromkeys(ours))
    if theirs == ours:
        return {}
    return {"reservations": (tuple(theirs), tuple(ours))}


def _lasting(case: Case) -> list[Span]:
    tree = case.source
    edges = [tree.chosen.get(f"linux,initrd-{edge}", b"") for edge in ("start", "end")]
    start, end = (int.from_bytes(edge, "big") for edge in edges)
    pages = -(-end // case.page_size) * case.page_size
    return [span for span in tree.reservations if span not in ((start, end), (start, pages))]


def blocks(case: Case) -> Iterator[tuple[Span, bool]]:
    """Yield each logical memory block, and whether it belongs to the machine."""
    node = case.source.nodes.get(LMBS, {})
    size = number(node, LMB_SIZE) or 0
    for name, form in (("ibm,dynamic-memory", ">QIIII"), ("ibm,dynamic-memory-v2", ">IQIII")):
        for fields in struct.iter_unpack(form, node.get(name, b"")[4:]):
            count, base = (1, fields[0]) if form == ">QIIII" else fields[:2]
            usable = bool(fields[-1] & _ASSIGNED) and not fields[-1] & _RESERVED
            for index in range(count):
                yield (base + index * size, base + (index + 1) * size), usable


def _usable_blocks(case: Case) -> Expected:
    if not case.crash or LMBS not in case.source.nodes:
        return {}
    _, end = regions(case)[-1]
    said = []
    for every in (True, False):
        value = b""
        for (low, high), usable in blocks(case):
            if every or usable:
                inside = low < end
                value += struct.pack(">Q", inside)
                value += struct.pack(">QQ", low, min(high, end) - low) if inside else b""
        said.append(value)
    return {f"{LMBS}:linux,drconf-usable-memory": (said[0], said[1])}


def _dumped(case: Case) -> Expected:
    """The C tool dumps whole pages of RTAS and OPAL in the region, and nothing above a limit."""
    if not case.crash:
        return {}
    ram = subtract(
        (span for _, span, name in case.machine.iomem if name == "System RAM"),
        [BACKED_UP, *regions(case)],
    )
    limit = number(case.source.chosen, "linux,memory-limit")
    below = ram if limit is None else subtract(ram, [(limit, 1 << 64)])
    low, high = regions(case)[-1]
    page = case.page_size
    inside = [span for span in (*rtas(case), *opal(case)) if low <= span[0] and span[1] <= high]
    pages = [(start // page * page, -(-end // page) * page) for start, end in inside]
    said = tuple(joined([*below, *pages])), tuple(joined([*ram, *inside]))
    expected: Expected = {"dumped memory": said} if said[0] != said[1] else {}
    edges = {edge for span in joined(below) for edge in span}
    seams = {edge for span in pages for edge in span} & edges
    if seams:
        expected["seams in dumped memory"] = (seams, set())
    return expected


DIFFERENCES = (
    Difference("No blank ends the command line", _command_line),
    Difference("The core header is told in /chosen", _core_header),
    Difference("Both seeds are renewed", _seeds),
    Difference("What was about the running kernel is removed", _stale),
    Difference("Reservations are carried over", _reservations),
    Difference("Memory blocks that do not belong to the machine are passed over", _usable_blocks),
    Difference("All memory of the kernel's is in the dump", _dumped),
)


def expected_differences(case: Case) -> dict[str, Expected]:
    """Return the differences that must occur in ``case``, by title."""
    return occurring(DIFFERENCES, case)
