"""What several architectures with device trees have among their differences.

Each function is one of :class:`~tests.differential.differences.Difference`: what either tool is
to say in a load, by field of ``tests.differential.tree_loads.told``.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Collection

from tests.differential.crash import regions
from tests.differential.decode_image import Tree
from tests.differential.differences import Expected, reused
from tests.differential.model import Span, joined, subtract
from tests.differential.tree_loads import RANGES, Case

FOR_CRASHES = ("linux,elfcorehdr", "linux,usable-memory-range")
_HANDED_ON = ("linux,ima-kexec-buffer", "linux,tpm-kexec-buffer", "linux,kho-fdt")
_STALE = (*FOR_CRASHES, *_HANDED_ON, "linux,kho-scratch")
_UEFI = "linux,uefi-"
_BOOTARGS, _BEHIND = "/chosen:bootargs", "/chosen:bootargs, behind the NUL"


def old_command_line(case: Case) -> Expected:
    if case.append or case.reuse:
        return {}
    chosen = case.source.chosen
    if case.flattened and case.dtb is None:
        root = re.search(rb"root=\S*", chosen["bootargs"])
        kept, behind = (root[0] if root else b"") + b" ", 0
        return {_BOOTARGS: (kept, b""), _BEHIND: (behind, 0)}
    if "bootargs" not in chosen:
        return {_BOOTARGS: (None, b""), _BEHIND: (None, 0)}
    text, _, rest = chosen["bootargs"].partition(b"\0")
    return {_BOOTARGS: (text, b""), _BEHIND: (len(rest), 0)}


def command_lines(case: Case) -> tuple[str, str]:
    """Return the command line of the load, with the C tool and with pykexec."""
    if case.reuse:
        return reused(case.machine.cmdline, case.append, crash=case.crash)
    return case.append, case.append


def reused_command_line(case: Case) -> Expected:
    theirs, ours = command_lines(case)
    return {_BOOTARGS: (theirs.encode(), ours.encode())} if case.reuse else {}


def length(case: Case) -> Expected:
    theirs, _ = command_lines(case)
    return {_BEHIND: (-(len(theirs) + 1) % 4, 0)} if theirs else {}


def stale(case: Case, known: Collection[str] = ()) -> Expected:
    """What was told of files and buffers of the running kernel; ``known`` is what C removes too."""
    expected: Expected = {}
    for name, value in case.source.chosen.items():
        if name in _STALE and name not in known and not (case.crash and name in FOR_CRASHES):
            said = tuple(case.source.spans(name)) if name in RANGES else value
            expected[f"/chosen:{name}"] = (said, None)
    kept = _lasting(case.source)
    if case.dtb is None and kept != case.source.reservations:
        expected["reservations"] = (case.source.reservations, kept)
    return expected


def _lasting(tree: Tree) -> tuple[Span, ...]:
    """Return the reservations that are not of what /chosen says, each once."""
    told = [span for name in RANGES if name in tree.chosen for span in tree.spans(name)]
    edges = [tree.chosen.get(f"linux,initrd-{edge}", b"") for edge in ("start", "end")]
    start, end = (int.from_bytes(edge, "big") for edge in edges)
    told += [(start, end), (start, -(-end // 4096) * 4096)]
    return tuple(dict.fromkeys(span for span in tree.reservations if span not in told))


def seeds(case: Case) -> Expected:
    before = case.source.chosen
    expected: Expected = {"/chosen:rng-seed": (before.get("rng-seed"), ("fresh", 32))}
    if "kaslr-seed" not in before:
        expected["/chosen:kaslr-seed"] = (None, ("fresh", 8))
    return expected


def booted_from_kexec(case: Case) -> Expected:
    name = "linux,booted-from-kexec"
    return {f"/chosen:{name}": (case.source.chosen.get(name), b"")}


def made_chosen(case: Case) -> Expected:
    made_by_c = "/chosen" in case.source.nodes or case.append or case.reuse or case.initrd
    return {"/chosen": ("a node" if made_by_c else None, "a node")}


def completed(case: Case) -> Expected:
    if case.dtb is None:
        return {}
    given, running = case.source, case.running
    reservations = given.reservations, (*given.reservations, *_lasting(running))
    expected: Expected = {"reservations": reservations}
    if not any(name.startswith(_UEFI) for name in given.chosen):
        for name, value in running.chosen.items():
            if name.startswith(_UEFI):
                expected[f"/chosen:{name}"] = (None, value)
    for what in ("/memory", "/reserved-memory"):
        if not any(path.startswith(what) for path in given.nodes):
            for path, properties in running.nodes.items():
                if path.startswith(what):
                    expected[path] = (None, "a node")
                    expected |= {f"{path}:{name}": (None, v) for name, v in properties.items()}
    return expected


def signed(case: Case) -> Expected:
    at, size = signature(case.image)
    if not size:
        return {}
    loaded = (case.image, case.image[:at])
    theirs, ours = ((hashlib.sha256(data).hexdigest(), len(data)) for data in loaded)
    return {"kernel": (theirs, ours)}


def signature(image: bytes) -> tuple[int, int]:
    """Return where an Image's signature is, and its size; 0 and 0 without one.

    PE Format, "Optional Header Data Directories": the fifth, of PE32+.
    """
    if image[:2] != b"MZ":
        return 0, 0
    (header,) = struct.unpack_from("<I", image, 0x3C)
    at, size = struct.unpack_from("<II", image, header + 24 + 112 + 4 * 8)
    return at, size


def measured(case: Case) -> Expected:
    listed = case.machine.path / "sys/kernel/security/ima/binary_runtime_measurements"
    if case.crash or not listed.exists():
        return {}
    segments = tuple(sorted(case.theirs.handover.segments))
    reservations = case.source.reservations
    return {
        "segments": (segments, tuple(sorted([*segments, "ima"]))),
        "reservations": (reservations, (*reservations, "the pages of ima")),
        "/chosen:linux,ima-kexec-buffer": (None, ("the pages of ima",)),
    }


def plugged(case: Case) -> Expected:
    if not case.crash:
        return {}
    found = []
    for names in (("System RAM",), ("System RAM", "System RAM (kmem)", "System RAM (virtio_mem)")):
        ram = joined(span for _, span, name in case.machine.iomem if name in names)
        found.append(tuple(subtract(ram, regions(case.machine))))
    return {"dumped memory": (found[0], found[1])}


def seams(case: Case) -> Expected:
    if not case.crash:
        return {}
    ram = [span for _, span, name in case.machine.iomem if name == "System RAM"]
    left = subtract(ram, regions(case.machine))
    starts, ends = {start for start, _ in left}, {end for _, end in left}
    return {"seams in dumped memory": (starts & ends, set())}


def kept_initrd(case: Case) -> Expected:
    if not case.reuse_initrd:
        return {}
    names = ("linux,initrd-start", "linux,initrd-end")
    return {f"/chosen:{name}": (None, case.source.chosen[name]) for name in names}
