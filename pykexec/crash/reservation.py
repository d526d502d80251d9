"""Why memory is reserved for a crash kernel, or is not: ``crashkernel=`` on a machine. Pure.

What the words ask for is :mod:`pykexec.crash.crashkernel`'s; here it is held against the memory
of the machine, by the rules of kernel/crash_reserve.c ("reserve_crashkernel_generic") and of
arch/*/include/asm/crash_reserve.h. What else took memory at boot nobody can tell afterwards, so a
place that is too small is certain, and one that is large enough is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.crash.crashkernel import Dialect, Fault, Wanted, crashkernel_words, wanted
from pykexec.crash.reservation_rules import Rules, before, installed_ram
from pykexec.crash.rooms import crash_room
from pykexec.values.command_line import kernel_words, key_of, split_words
from pykexec.values.data_classes import dataclass
from pykexec.values.memory import MemoryKind, crash_region, is_crash_region, kind_of_name
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import GIB, align_up, format_size

if TYPE_CHECKING:
    from pykexec.values.facts import MachineFacts
    from pykexec.values.memory import IomemEntry

ADVICE = "'pykexec crash estimate KERNEL' says how much"
_ALIKE = 0.8
"""From here on a word is taken for ``crashkernel`` misspelt (of 1)."""


def rules(facts: MachineFacts) -> Rules | None:
    """Return the rules of the running kernel; None where they are not known here."""
    room = crash_room(facts.arch)
    return room.rules(facts) if room is not None else None


def dialect(facts: MachineFacts) -> Dialect:
    """Return how the running kernel reads the words; ``,cma`` is known since v6.17."""
    known = rules(facts)
    return Dialect(
        high=known.high if known else not before(facts, "5.19"),
        cma=not before(facts, "6.17"),
        high_on_failure=known is not None and known.high_on_failure,
    )


def wanted_here(facts: MachineFacts) -> Wanted | Fault:
    """Return what the running command line asks for on this machine, or why it reserves nothing."""
    ram, known = installed_ram(facts), rules(facts)
    if known is not None and known.counts_low:
        ram = ram.intersect([Range(0, known.low_end)])
    asked = wanted(facts.cmdline, ram.size, dialect(facts))
    if isinstance(asked, Fault):
        return _misspelt(facts) or asked if asked.absent else asked
    return asked


def objection(facts: MachineFacts) -> Fault | None:
    """Return why the running command line can reserve nothing here; None where it may."""
    asked = wanted_here(facts)
    return asked if isinstance(asked, Fault) else _no_place(facts, asked)


def fault(facts: MachineFacts) -> Fault:
    """Return why nothing is reserved on a machine where nothing is."""
    if facts.kernel.xen_host:
        return Fault(
            "the hypervisor has no crash area: its own command line has no crashkernel=, or none "
            "that it has found room for",
            f"boot with crashkernel=256M, or more, among the words for Xen, not dom0; {ADVICE}",
            absent=True,
        )
    if not architecture_of(facts.arch).has_crash_kernels:
        return Fault(f"{facts.arch} kernels do not start another one when they crash", "")
    found = objection(facts)
    if found is None:
        return _unexplained(facts, wanted_here(facts))
    if found.absent:
        none = "the command line has no crashkernel="
        return Fault(
            none if facts.cmdline else "/proc/iomem has no 'Crash kernel' region",
            f"boot with crashkernel=256M, or more, on the command line; {ADVICE}",
            absent=True,
        )
    words = [w for w in crashkernel_words(facts.cmdline) if not w.endswith((",high", ",low"))]
    if len(words) > 1:
        return Fault(f"{found.text} (of {len(words)} such words the last counts)", found.advice)
    return found


def _unexplained(facts: MachineFacts, asked: Wanted | Fault) -> Fault:
    word = asked.word if isinstance(asked, Wanted) else ""
    if facts.kernel.xen:
        return Fault(
            f"under Xen PV the kernel ignores crashkernel=, and {word} would fit this machine",
            "see the kernel log (dmesg) for why",
        )
    return Fault(
        f"{word} would fit this machine",
        "see the kernel log (dmesg) for why; or it was given back, by a number written to "
        "/sys/kernel/kexec_crash_size",
    )


def _misspelt(facts: MachineFacts) -> Fault | None:
    """Find a word that was meant to be ``crashkernel=``."""
    from difflib import SequenceMatcher

    for word in split_words(facts.cmdline):
        name = word.decode("utf-8", "surrogateescape").strip('"')
        key = name.split("=")[0].split(":")[0]
        if len(key) > 2 * len("crashkernel"):
            continue
        alike = SequenceMatcher(None, key.lower(), "crashkernel", autojunk=False).ratio()
        if alike >= _ALIKE:
            return Fault(f"the kernel does not know {name[:64]!r}", "write it as crashkernel=SIZE")
    return None


def _no_place(facts: MachineFacts, asked: Wanted) -> Fault | None:
    """Return why there is no place for what is asked for; None where there is one by the map."""
    ram, known = installed_ram(facts), rules(facts)
    limit = _limit(facts)
    if asked.base is not None:
        found = _at(facts, asked, Range.fitting(asked.base, asked.size), ram, known)
        if found is not None:
            return found
    if asked.size >= ram.size:
        than = "as much as" if asked.size == ram.size else "more than"
        return Fault(
            f"{asked.word} asks for {format_size(asked.size)}, {than} the RAM of this machine, "
            f"{format_size(ram.size)}{limit}",
            f"give a smaller size; {ADVICE}",
        )
    if known is not None and known.exchanged:
        return _exchanged(asked, ram, known)
    if known is None or asked.base is not None:
        return None
    return _anywhere(asked, ram, known, limit)


def _exchanged(asked: Wanted, ram: RangeSet, known: Rules) -> Fault | None:
    """Look at the beginning of RAM, which the region is to change places with."""
    first = next(iter(ram)) if len(ram) else Range(0, 0)
    if first.size < asked.size:
        return Fault(
            f"{asked.word} asks for {format_size(asked.size)}, and the first stretch of RAM, with "
            f"which a crash kernel changes places, has {format_size(first.size)}",
            f"give a smaller size; {ADVICE}",
        )
    if asked.base is not None:
        if asked.base >= asked.size:
            return None
        return Fault(
            f"{asked.word} would begin at {asked.base:#x}, within the {format_size(asked.size)} "
            "that it is to change places with",
            f"give an offset of {asked.size:#x} or more, or leave it off; {ADVICE}",
        )
    longest = _longest(ram, Range(asked.size, known.high_end), known.align)
    if longest.size >= asked.size:
        return None
    return Fault(
        f"{asked.word} asks for {format_size(asked.size)} above as much memory, with which a crash "
        f"kernel changes places, and the longest of RAM there is {longest}, "
        f"{format_size(longest.size)}",
        f"give a smaller size; {ADVICE}",
    )


def _limit(facts: MachineFacts) -> str:
    """Name the words that take RAM from the kernel."""
    words = [w for w in kernel_words(facts.cmdline) if key_of(w) in ("mem", "memmap")]
    text = b" ".join(words[:3]).decode("utf-8", "replace")
    return f" (with {text})" if words else ""


def _at(
    facts: MachineFacts, asked: Wanted, place: Range | None, ram: RangeSet, known: Rules | None
) -> Fault | None:
    """Look at the place that ``@OFFSET`` names."""
    without = f"leave @OFFSET off, and the kernel finds a place; {ADVICE}"
    if place is None:
        return Fault(f"{asked.word} runs past the end of all addresses", without)
    top = max((item.end for item in ram), default=0)
    if place.end > top:
        return Fault(
            f"{asked.word} runs past the RAM: it would end at {place.end:#x}, and RAM ends at "
            f"{top:#x}{_limit(facts)}",
            f"give a smaller size or offset, or {without}",
        )
    taken = _taken(facts.iomem, place)
    if taken is not None:
        text = f"{asked.word} would be {place}, and {taken.range} is taken by {taken.name!r}"
        return Fault(text, without)
    if not any(item.contains(place) for item in ram):
        return Fault(f"{asked.word} would be {place}, where not all is RAM", without)
    if known is not None and place.start % known.fixed_align:
        return Fault(
            f"{asked.word}: the offset {place.start:#x} is no multiple of "
            f"{format_size(known.fixed_align)}, as this kernel wants it",
            f"give {align_up(place.start, known.fixed_align):#x}, or {without}",
        )
    if known is not None and place.end > known.high_end:
        return Fault(f"{asked.word} lies above {known.high_end:#x}, the highest place", without)
    return None


def _taken(entries: tuple[IomemEntry, ...], place: Range) -> IomemEntry | None:
    """Find what is at ``place`` and is no RAM; what lies in RAM was there at boot, or may be."""
    for entry in entries:
        if not entry.range.overlaps(place) or is_crash_region(entry):
            continue
        if kind_of_name(entry.name) is not MemoryKind.RAM:
            return entry
        inside = (child for child in entry.children if not is_crash_region(child))
        found = next((child for child in inside if child.range.overlaps(place)), None)
        if found is not None:
            return found
    return None


def _anywhere(asked: Wanted, ram: RangeSet, known: Rules, limit: str) -> Fault | None:
    """Look for a place that is long enough: below 4 GiB, then above, or the other way round."""
    ram = ram.minus(known.kept)
    below = _longest(ram, Range(0, known.low_end), known.align)
    above = _longest(ram, Range(known.low_end, max(known.high_end, known.low_end)), known.align)
    longest = max(below, above, key=lambda item: item.size)
    if longest.size < asked.size:
        return Fault(
            f"{asked.word} asks for {format_size(asked.size)} in one piece, and the longest of RAM "
            f"{_where(known)}is {longest}, {format_size(longest.size)}{limit}",
            f"give a smaller size{known.advice}; {ADVICE}",
        )
    goes_high = asked.size <= above.size and (asked.high or asked.size > below.size)
    low = known.low_size if asked.low is None or not asked.high else asked.low
    if not goes_high or low <= below.size:
        return None
    said = ",low" if asked.high and asked.low is not None else "the kernel's default"
    return Fault(
        f"{asked.word} goes above {known.low_end:#x}, and the {format_size(low)} below it that go "
        f"with it ({said}) have no room: the longest of RAM there is {format_size(below.size)}",
        f"add crashkernel=SIZE,low with less, and ,high to the other; {ADVICE}",
    )


def _where(known: Rules) -> str:
    free = "that is free by then " if known.kept else ""
    return f"below {known.high_end:#x} {free}" if known.high_end < 4 * GIB else free


def _longest(ram: RangeSet, window: Range, align: int) -> Range:
    """Return the longest piece of RAM in ``window`` that starts at a multiple of ``align``."""
    found = Range(0, 0)
    for item in ram.intersect([window]):
        start = align_up(item.start, align)
        if item.end - start > found.size:
            found = Range(start, item.end)
    return found


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Less is reserved than was asked for. Bytes."""

    word: str
    wanted: int
    found: int


def shortfall(facts: MachineFacts) -> Shortfall | None:
    """Return what is missing of a reservation that there is; None where it is as asked for."""
    if facts.kernel.xen_host:
        return None  # the words that count are those of the hypervisor, which nobody shows
    asked = wanted_here(facts)
    if isinstance(asked, Fault):
        return None
    # A part below 4 GiB comes beside this size, and not instead of some of it.
    region = crash_region(facts.iomem)
    found = region.size if region is not None else 0
    return Shortfall(asked.word, asked.size, found) if found < asked.size else None
