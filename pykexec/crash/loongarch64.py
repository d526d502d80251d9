"""Crashes of loongarch64 kernels: where memory is reserved, and translation. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash.core_reading import EXIT_NO_ADDRESS, VmcoreError
from pykexec.crash.reservation_rules import Rules, installed_ram
from pykexec.values.units import GIB, MIB

if TYPE_CHECKING:
    from pykexec.crash.elf_core import PhysicalMemory, VmcoreInfo
    from pykexec.values.facts import MachineFacts

_WINDOWS = (0x8, 0x9, 0xA)
"""First digits of addresses behind which is memory as it is: uncached, cached, write-combined
(Linux arch/loongarch/include/asm/loongarch.h, "CSR_DMW0_BASE")."""
_PHYSICAL_BITS = 48
_SURE = 4096


def rules(facts: MachineFacts) -> Rules:
    """See :class:`~pykexec.crash.rooms.CrashRoom`.

    Linux arch/loongarch/include/asm/crash_reserve.h, which does not define
    HAVE_ARCH_CRASHKERNEL_RESERVATION_HIGH: there is no ``,high``.
    """
    end = max((item.end for item in installed_ram(facts)), default=4 * GIB)
    return Rules(
        align=2 * MIB,
        fixed_align=2 * MIB,
        low_end=min(4 * GIB, end),
        high_end=end,
        low_size=128 * MIB,
        high=False,
        high_on_failure=False,
    )


def translate(vaddr: int, _: VmcoreInfo, __: PhysicalMemory) -> tuple[int, int]:
    """See :class:`~pykexec.crash.rooms.CrashRoom`: the kernel's image is a part of all memory."""
    if vaddr >> 60 not in _WINDOWS:
        raise VmcoreError(f"{vaddr:#x} is in none of the direct windows", EXIT_NO_ADDRESS)
    return vaddr & (1 << _PHYSICAL_BITS) - 1, _SURE
