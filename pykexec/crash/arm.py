"""Crashes of 32-bit ARM kernels: where memory is reserved. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash.linear_maps import untold
from pykexec.crash.reservation_rules import Rules, installed_ram
from pykexec.values.units import GIB, MIB

if TYPE_CHECKING:
    from pykexec.crash.elf_core import PhysicalMemory, VmcoreInfo
    from pykexec.values.facts import MachineFacts

_LOWMEM = 768 * MIB
"""With CONFIG_VMSPLIT_3G: Linux arch/arm/mm/mmu.c, "adjust_lowmem_bounds"."""


def rules(facts: MachineFacts) -> Rules:
    """See :class:`~pykexec.crash.rooms.CrashRoom`.

    Linux arch/arm/kernel/setup.c, "reserve_crashkernel": one region, in lowmem, at a multiple of
    128 MiB unless its address is given.
    """
    end = facts.crash.direct_map_end
    if end is None:
        ram = installed_ram(facts)
        start = min((item.start for item in ram), default=0)
        end = min(start + _LOWMEM, max((item.end for item in ram), default=4 * GIB))
    return Rules(
        align=128 * MIB,
        fixed_align=MIB,
        low_end=end,
        high_end=end,
        low_size=0,
        high=False,
        high_on_failure=False,
    )


def translate(vaddr: int, _: VmcoreInfo, __: PhysicalMemory) -> tuple[int, int]:
    """See :class:`~pykexec.crash.rooms.CrashRoom`: the core header has all that is mapped."""
    raise untold(vaddr)
