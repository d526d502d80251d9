"""Crashes of s390x kernels: where memory is reserved, and how addresses are translated. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash.linear_maps import untold
from pykexec.crash.reservation_rules import Rules
from pykexec.values.units import MIB

if TYPE_CHECKING:
    from pykexec.crash.elf_core import PhysicalMemory, VmcoreInfo
    from pykexec.values.facts import MachineFacts

_PHYSICAL_END = 1 << 53
"""Linux arch/s390/include/asm/sparsemem.h, "MAX_PHYSMEM_BITS", as the newest processors have it."""


def rules(facts: MachineFacts) -> Rules:
    """See :class:`~pykexec.crash.rooms.CrashRoom`.

    Linux arch/s390/kernel/setup.c, "reserve_crashkernel". There is one region; it lies above as
    much memory as it has itself, with which it is exchanged.
    """
    del facts
    return Rules(
        align=MIB,
        fixed_align=MIB,
        low_end=_PHYSICAL_END,
        high_end=_PHYSICAL_END,
        low_size=0,
        high=False,
        high_on_failure=False,
    )


def translate(vaddr: int, _: VmcoreInfo, __: PhysicalMemory) -> tuple[int, int]:
    """See :class:`~pykexec.crash.rooms.CrashRoom`.

    The headers of a dump have the virtual addresses of all memory, as the capture kernel knows
    them (Linux arch/s390/kernel/crash_dump.c, "loads_init"): what they do not cover nothing tells.
    """
    raise untold(vaddr)
