"""By what rules kernels reserve memory for a crash kernel. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.entries.versions import version_key
from pykexec.values.data_classes import dataclass, field
from pykexec.values.memory import MemoryKind, is_crash_region, kind_of_name
from pykexec.values.ranges import RangeSet

if TYPE_CHECKING:
    from pykexec.values.facts import MachineFacts


@dataclass(frozen=True, slots=True)
class Rules:
    """Where an architecture's kernels reserve. Addresses are physical, ends exclusive."""

    align: int
    fixed_align: int
    """Of an address that ``@OFFSET`` gives."""
    low_end: int
    """What devices of 32 bits reach: a plain size is looked for below it first."""
    high_end: int
    low_size: int
    """Reserved below ``low_end`` beside a region above it, where ``,low`` says nothing."""
    high: bool
    """``crashkernel=SIZE,high`` is understood."""
    high_on_failure: bool
    """It is looked at too where a plain word finds no place, and not only where there is none."""
    counts_low: bool = False
    """``crashkernel=RANGE:SIZE`` counts memory below ``low_end`` alone."""
    exchanged: bool = False
    """It changes places with the beginning of RAM, and lies above that."""
    kept: RangeSet = field(default_factory=RangeSet)
    """What the kernel has taken for certain before it reserves."""
    advice: str = ""
    """What leaves more room, beside a smaller size."""


def before(facts: MachineFacts, release: str) -> bool:
    """Tell whether the running kernel is older; one whose release is not known is not."""
    found = facts.kernel.release
    return bool(found) and version_key(found) < version_key(release)


def installed_ram(facts: MachineFacts) -> RangeSet:
    """Return the RAM that the kernel had at boot, as far as /proc/iomem shows it."""
    return RangeSet(
        entry.range
        for entry in facts.iomem
        if kind_of_name(entry.name) is MemoryKind.RAM or is_crash_region(entry)
    )
