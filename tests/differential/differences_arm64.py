"""Every intended difference between the C tool's arm64 loads and pykexec's.

Each entry computes, for one case, what either tool is to say in the fields of
``tests.differential.arm64.told`` that it is about. A difference that is not here fails the
comparison, and so does one that is here and does not occur. docs/compatibility.md explains
each title to users.
"""

from __future__ import annotations

import hashlib
import re
import struct

from tests.differential.arm64 import RANGES, Case, Image
from tests.differential.crash import regions
from tests.differential.decode_image import Tree
from tests.differential.differences import Difference, Expected, occurring, reused
from tests.differential.model import Span, joined, subtract

_FOR_CRASHES = ("linux,elfcorehdr", "linux,usable-memory-range")
_HANDED_ON = ("linux,ima-kexec-buffer", "linux,tpm-kexec-buffer", "linux,kho-fdt")
_STALE = (*_FOR_CRASHES, *_HANDED_ON, "linux,kho-scratch")
_UEFI = "linux,uefi-"
_BOOTARGS, _BEHIND = "/chosen:bootargs", "/chosen:bootargs, behind the NUL"


def _old_command_line(case: Case) -> Expected:
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


def _reused(case: Case) -> Expected:
    theirs, ours = command_lines(case)
    return {_BOOTARGS: (theirs.encode(), ours.encode())} if case.reuse else {}


def _length(case: Case) -> Expected:
    theirs, _ = command_lines(case)
    return {_BEHIND: (-(len(theirs) + 1) % 4, 0)} if theirs else {}


def _is_stale(name: str, case: Case) -> bool:
    return name in _STALE and not (case.crash and name in _FOR_CRASHES)


def _stale(case: Case) -> Expected:
    expected: Expected = {}
    for name, value in case.source.chosen.items():
        if _is_stale(name, case):
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


def _seeds(case: Case) -> Expected:
    before = case.source.chosen
    expected: Expected = {"/chosen:rng-seed": (before.get("rng-seed"), ("fresh", 32))}
    if "kaslr-seed" not in before:
        expected["/chosen:kaslr-seed"] = (None, ("fresh", 8))
    return expected


def _booted_from_kexec(case: Case) -> Expected:
    name = "linux,booted-from-kexec"
    return {f"/chosen:{name}": (case.source.chosen.get(name), b"")}


def _made_chosen(case: Case) -> Expected:
    made_by_c = "/chosen" in case.source.nodes or case.append or case.reuse or case.initrd
    return {"/chosen": ("a node" if made_by_c else None, "a node")}


def _completed(case: Case) -> Expected:
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


def _image_without_size(case: Case) -> Expected:
    image = Image.of(case.image)
    if image.sized:
        return {}
    end = image.text_offset + image.size_of_ours(case.image)
    ours = -(-end // case.page_size) * case.page_size - image.text_offset
    return {"kernel memory": (image.image_size, ours)}


def _signature(case: Case) -> Expected:
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


def _measured(case: Case) -> Expected:
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


def _plugged(case: Case) -> Expected:
    if not case.crash:
        return {}
    found = []
    for names in (("System RAM",), ("System RAM", "System RAM (kmem)", "System RAM (virtio_mem)")):
        ram = joined(span for _, span, name in case.machine.iomem if name in names)
        found.append(tuple(subtract(ram, regions(case.machine))))
    return {"dumped memory": (found[0], found[1])}


def _seams(case: Case) -> Expected:
    if not case.crash:
        return {}
    ram = [span for _, span, name in case.machine.iomem if name == "System RAM"]
    left = subtract(ram, regions(case.machine))
    starts, ends = {start for start, _ in left}, {end for _, end in left}
    return {"seams in dumped memory": (starts & ends, set())}


def _kept_initrd(case: Case) -> Expected:
    if not case.reuse_initrd:
        return {}
    names = ("linux,initrd-start", "linux,initrd-end")
    return {f"/chosen:{name}": (None, case.source.chosen[name]) for name in names}


REUSED = "A reused command line loses what was about the old files"
DIFFERENCES = (
    Difference("The command line is always that of the load", _old_command_line),
    Difference(REUSED, _reused),
    Difference("A property is as long as what it says", _length),
    Difference("What was about the running kernel is removed", _stale),
    Difference("Both seeds are renewed", _seeds),
    Difference("The next kernel learns that kexec started it", _booted_from_kexec),
    Difference("Any tree will do", _made_chosen),
    Difference("A `--dtb` is completed", _completed),
    Difference("An Image that tells no size gets room behind its end", _image_without_size),
    Difference("A signature behind an Image is not loaded", _signature),
    Difference("IMA's measurement list is carried over", _measured),
    Difference("Memory that was plugged in is in the dump", _plugged),
    Difference("Neighbouring memory is one program header", _seams),
    Difference("`--reuseinitrd` hands the first initrd on", _kept_initrd),
)


def expected_differences(case: Case) -> dict[str, Expected]:
    """Return the differences that must occur in ``case``, by title."""
    return occurring(DIFFERENCES, case)
