"""A load whose jump keeps the running kernel, to be returned to: what it adds on x86. Pure.

The running kernel exchanges the memory of the segments with the pages that it keeps for them,
and back when the other kernel returns (Linux arch/x86/kernel/relocate_kernel_64.S, "swap_pages").
So the next kernel may use no memory but that of segments: all that it is told of as RAM is in one,
and ``--mem-max`` says how far that reaches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures.x86 import I386
from pykexec.formats.bzimage import XLoadFlags
from pykexec.values.command_line import add_words
from pykexec.values.errors import ImageError, OptionError, PykexecError
from pykexec.values.memory import MemoryKind, MemoryMap, MemoryRegion
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import ADDRESS_MAX, MIB, counted, format_size

if TYPE_CHECKING:
    from pykexec.boot.x86.kernels import X86Kernel
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.facts import MachineFacts

WORD = b"kexec_jump_back_entry=0x"
"""What userspace of the next kernel finds the way back by; the purgatory fills the digits in."""
DIGITS = 16

_MOST_RANGES = 4
"""With as many, and at most six segments among them, there are 16 segments in all: each of the six
cuts a range in two."""


def memory_to_exchange(
    facts: MachineFacts, request: LoadRequest, free: RangeSet
) -> tuple[RangeSet, tuple[str, ...]]:
    """Return the memory that the next kernel gets of ``free``, and a note where that is not all.

    Raises :class:`OptionError` without ``--mem-max`` and :class:`PykexecError` where it is more
    than a running kernel takes (Linux kernel/kexec_core.c, "sanity_check_segment_list").
    """
    half = (facts.kernel.memory_total or 0) // 2
    if request.mem_max == ADDRESS_MAX:
        most = f", at most {format_size(half)} here, half of its memory" if half else ""
        raise OptionError(
            "--load-preserve-context needs --mem-max: the next kernel's memory ends there, and the "
            f"running kernel keeps as much beside its own{most}",
            hint="give the last address, such as --mem-max=0xfffffff for the first 256 MiB",
        )
    wanted = Range(request.mem_min, max(request.mem_min, request.mem_max + 1))
    found = list(free.intersect([wanted]).align_inward(facts.page_size))
    low = [part for part in found if part.start < MIB]
    largest = sorted(found, key=lambda part: part.size, reverse=True)
    # Without any memory below 1 MiB no Linux starts its other processors.
    order = [*sorted(low, key=lambda part: part.size, reverse=True)[:1], *largest]
    chosen = list(dict.fromkeys(order))[:_MOST_RANGES]
    own = RangeSet(chosen)
    if half and own.size > half:
        raise PykexecError(
            f"--mem-max={request.mem_max:#x}: the next kernel's memory would be "
            f"{format_size(own.size)}, and the running kernel keeps at most half of its "
            f"{format_size(2 * half)} beside its own",
            hint="give a lower --mem-max",
        )
    if len(found) == len(chosen):
        return own, ()
    left = RangeSet(found).minus(own)
    return own, (
        f"of {counted(len(found), 'range')} of free memory up to --mem-max the next kernel gets "
        f"the largest {len(chosen)}: {format_size(left.size)} are left out, kexec_load takes no "
        "more segments",
    )


def check_kernel(facts: MachineFacts, kernel: X86Kernel) -> None:
    """Refuse a kernel that could not return: it comes back in the mode that it runs in."""
    ours = 32 if facts.arch == I386.name else 64
    wide = XLoadFlags.XLF_KERNEL_64 in kernel.header.xloadflags or kernel.bits == 64
    if kernel.bits == ours and wide == (ours == 64):
        return
    raise ImageError(
        f"--load-preserve-context: a kernel of {ours} bits is returned to by one of {ours} bits, "
        f"and this is one of {64 if wide else 32}, entered in {kernel.bits}",
        hint=f"give a kernel of {ours} bits, without --entry-32bit",
    )


def memory_told(facts: MachineFacts, own: RangeSet) -> MemoryMap:
    """Return the map for the next kernel: RAM is what it gets, all other RAM is reserved."""
    others = facts.memory_map.of_kind(MemoryKind.RAM).minus(own)
    told = [item for item in facts.memory_map if item.kind is not MemoryKind.RAM]
    for kind, ranges in ((MemoryKind.RAM, own), (MemoryKind.RESERVED, others)):
        told += [MemoryRegion(item, kind, kind.value) for item in ranges]
    return MemoryMap.from_overlapping(told)


def with_way_back(cmdline: bytes) -> bytes:
    """Return the command line with the word for the way back, its digits still zeros."""
    return add_words(cmdline, (WORD + b"0" * DIGITS,))


def digits_at(cmdline: bytes) -> int:
    """Return where in such a command line the digits begin."""
    return cmdline.rindex(WORD + b"0" * DIGITS) + len(WORD)
