"""Crashes of riscv64 kernels: where memory is reserved, and how addresses are translated. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash.linear_maps import LinearMaps, map_numbers
from pykexec.crash.reservation_rules import Rules, before, installed_ram
from pykexec.values.units import GIB, MIB

if TYPE_CHECKING:
    from pykexec.crash.elf_core import PhysicalMemory, VmcoreInfo
    from pykexec.values.facts import MachineFacts

_PHYSICAL_END = 1 << 56
"""Linux arch/riscv/Kconfig, "PA_BITS"."""


def rules(facts: MachineFacts) -> Rules:
    """See :class:`~pykexec.crash.rooms.CrashRoom`.

    Linux arch/riscv/include/asm/crash_reserve.h, arch/riscv/mm/init.c ("dma32_phys_limit").
    ``,high`` is known since v6.6: kernel commit 5882e5acf18d ("riscv: kdump: Implement
    crashkernel=X,[high,low]").
    """
    end = max((item.end for item in installed_ram(facts)), default=4 * GIB)
    return Rules(
        align=2 * MIB,
        fixed_align=2 * MIB,
        low_end=min(4 * GIB, end),
        high_end=_PHYSICAL_END,
        low_size=128 * MIB,
        high=not before(facts, "6.6"),
        high_on_failure=False,
    )


def translate(vaddr: int, info: VmcoreInfo, _: PhysicalMemory) -> tuple[int, int]:
    """See :class:`~pykexec.crash.rooms.CrashRoom`.

    Linux Documentation/arch/riscv/vm-layout.rst: the kernel's image lies in the last 2 GiB of all
    addresses, memory from PAGE_OFFSET on.
    """
    names = ("KERNEL_LINK_ADDR", "va_kernel_pa_offset", "PAGE_OFFSET", "phys_ram_base")
    return LinearMaps(*map_numbers(vaddr, info, *names)).translate(vaddr)
