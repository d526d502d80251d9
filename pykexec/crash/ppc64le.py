"""Crashes of ppc64le kernels: where memory is reserved, and how addresses are translated. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash.core_reading import EXIT_NO_ADDRESS, VmcoreError
from pykexec.crash.reservation_rules import Rules

if TYPE_CHECKING:
    from pykexec.crash.elf_core import PhysicalMemory, VmcoreInfo
    from pykexec.values.facts import MachineFacts

PAGE_OFFSET = 0xC000_0000_0000_0000
"""Of all memory: Linux arch/powerpc/include/asm/page.h."""
_LINEAR_END = 0xC008_0000_0000_0000
"""From here on a kernel with radix trees has what it maps otherwise: Linux
arch/powerpc/include/asm/book3s/64/radix.h, "RADIX_KERN_VIRT_START"."""
_PHYSICAL_END = _LINEAR_END - PAGE_OFFSET
_SURE = 4096


def rules(facts: MachineFacts) -> Rules:
    """See :class:`~pykexec.crash.rooms.CrashRoom`.

    Linux arch/powerpc/kexec/core.c, "reserve_crashkernel". There is one region and no second below
    4 GiB: devices reach memory through windows of the host bridge.
    """
    page = facts.page_size
    return Rules(
        align=page,
        fixed_align=page,
        low_end=_PHYSICAL_END,
        high_end=_PHYSICAL_END,
        low_size=0,
        high=False,
        high_on_failure=False,
    )


def translate(vaddr: int, _: VmcoreInfo, __: PhysicalMemory) -> tuple[int, int]:
    """See :class:`~pykexec.crash.rooms.CrashRoom`: the kernel's image is a part of all memory."""
    if not PAGE_OFFSET <= vaddr < _LINEAR_END:
        raise VmcoreError(f"{vaddr:#x} is not in the linear map", EXIT_NO_ADDRESS)
    return vaddr - PAGE_OFFSET, _SURE
