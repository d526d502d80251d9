"""Every intended difference between the C tool's loongarch64 loads and pykexec's.

Each entry computes, for one case, what either tool is to say in the fields of
``tests.differential.loongarch_loads.told`` that it is about. A difference that is not here fails
the comparison, and so does one that is here and does not occur. docs/compatibility.md explains
each title to users.
"""

from __future__ import annotations

import re

from tests.differential.crash import regions
from tests.differential.differences import Difference, Expected, occurring, reused
from tests.differential.machines_loongarch64 import CACHED
from tests.differential.model import MIB
from tests.differential.tree_loads import Case

_RWX = 7
KASLR_REACH = 256 * MIB
"""How far a kernel moves itself at most: Linux arch/loongarch/Kconfig, "RANDOMIZE_BASE_MAX_OFFSET"
with its default, and as much again."""


def _purgatory(case: Case) -> Expected:
    segments = tuple(sorted(case.theirs.handover.segments))
    return {
        "segments": (segments, tuple(sorted([*segments, "purgatory"]))),
        "entered": ("kernel", "purgatory"),
    }


def _stays(case: Case) -> bool:
    """Whether something lies where the kernel might move itself to."""
    segments = case.ours.handover.segments
    end = case.ours.handover.span("kernel")[1]
    return case.crash or any(end <= item.mem < end + KASLR_REACH for item in segments.values())


def _lines(case: Case) -> tuple[str, str]:
    """Return the command line but for what names memory, with the C tool and with pykexec."""
    theirs = ours = case.append
    if case.reuse:
        theirs, ours = reused(case.machine.cmdline, case.append, crash=case.crash)
        theirs = re.sub(r"(^| )initrd=\S* ?", r"\1", theirs, count=1)
        told = {"kexec", *(["mem"] if case.crash else [])}
        ours = " ".join(word for word in ours.split() if word.partition("=")[0] not in told)
    words = [ours] if ours else []
    words += ["nokaslr"] if _stays(case) else []
    return f"kexec {theirs}", " ".join(["kexec", *words])


def _blank(case: Case) -> Expected:
    lines = _lines(case)
    return {"command line": lines} if not case.append and not _stays(case) else {}


def _reused(case: Case) -> Expected:
    theirs, ours = _lines(case)
    return {"command line": (theirs, ours)} if case.reuse and theirs != ours else {}


def _kept(case: Case) -> Expected:
    return {"command line": _lines(case)} if _stays(case) and not case.reuse else {}


def _main_region_first(case: Case) -> Expected:
    if not case.crash or len(regions(case.machine)) < 2:
        return {}
    low, high = regions(case.machine)
    return {"mem=": ((low, high), (high, low))}


def _once(case: Case) -> Expected:
    if not case.crash:
        return {}
    names = ("Kernel code", "Kernel data")
    parts = [span for _, span, name in case.machine.iomem if name in names]
    kernel = parts[0][0], parts[-1][1]
    expected: Expected = {"dumped twice": ((kernel,), ())}
    if not (case.machine.path / "proc/kallsyms").exists():
        # The C tool asks there where the kernel is mapped, and here it has to do without.
        mapped = (_RWX, 0, CACHED, 0, 0)
        unknown = (_RWX, 0, (1 << 64) - 1 - kernel[0], 0, 0)
        expected["dumped memory as"] = ({mapped, unknown}, {mapped})
    return expected


DIFFERENCES = (
    Difference("Segments are verified", _purgatory),
    Difference("No blank ends the command line", _blank),
    Difference("A reused command line loses what was about the old files", _reused),
    Difference("A kernel stays where it was placed", _kept),
    Difference("The region that is loaded into is told first", _main_region_first),
    Difference("The kernel's memory is in the dump once", _once),
)


def expected_differences(case: Case) -> dict[str, Expected]:
    """Return the differences that must occur in ``case``, by title."""
    return occurring(DIFFERENCES, case)
