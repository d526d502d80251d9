"""Crashes of riscv64 kernels: where memory is reserved, and how addresses are translated. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash.core_reading import EXIT_NO_ADDRESS, VmcoreError
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
    """Undo the two linear maps: physical address, bytes for which that surely holds.

    Linux Documentation/arch/riscv/vm-layout.rst: the kernel's image lies in the last 2 GiB of all
    addresses, memory from PAGE_OFFSET on.
    """
    link, image_offset = info.number("KERNEL_LINK_ADDR"), info.number("va_kernel_pa_offset")
    page_offset, ram_base = info.number("PAGE_OFFSET"), info.number("phys_ram_base")
    if link is None or image_offset is None or page_offset is None or ram_base is None:
        raise VmcoreError(
            f"nothing covers {vaddr:#x}, and VMCOREINFO does not tell of the linear map",
            EXIT_NO_ADDRESS,
        )
    if vaddr >= link:
        return vaddr - image_offset & (1 << 64) - 1, 4096
    if vaddr < page_offset:
        raise VmcoreError(f"{vaddr:#x} is not in the linear map", EXIT_NO_ADDRESS)
    return vaddr - page_offset + ram_base, 4096
