"""Crashes of arm64 kernels: where memory is reserved, and how addresses are translated. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash.core_reading import EXIT_NO_ADDRESS, VmcoreError
from pykexec.crash.reservation_rules import Rules, before, installed_ram
from pykexec.values.units import GIB, MIB

if TYPE_CHECKING:
    from pykexec.crash.elf_core import PhysicalMemory, VmcoreInfo
    from pykexec.values.facts import MachineFacts


def rules(facts: MachineFacts) -> Rules:
    """See :class:`~pykexec.crash.rooms.CrashRoom`. ``,high`` is known since v5.19."""
    # Where all RAM is above, devices of 32 bits reach all of it.
    first = min((item.start for item in installed_ram(facts)), default=0)
    low_end = 4 * GIB if first < 4 * GIB else 1 << 52
    high = not before(facts, "5.19")
    return Rules(2 * MIB, 2 * MIB, low_end, 1 << 52, 128 * MIB, high=high, high_on_failure=False)


def translate(vaddr: int, info: VmcoreInfo, _: PhysicalMemory) -> tuple[int, int]:
    """Undo the two linear maps of arm64: physical address, bytes for which that surely holds.

    Since Linux 5.4 memory is in the lower half of the kernel's addresses, the kernel's image
    in the upper one: Linux Documentation/arch/arm64/memory.rst.
    """
    bits = info.number("VA_BITS")
    voffset, phys_offset = info.number("kimage_voffset"), info.number("PHYS_OFFSET")
    if bits is None or voffset is None or phys_offset is None or not 36 <= bits <= 52:
        raise VmcoreError(
            f"nothing covers {vaddr:#x}, and VMCOREINFO does not tell of the linear map",
            EXIT_NO_ADDRESS,
        )
    page_offset = (1 << 64) - (1 << bits)
    if vaddr < page_offset:
        raise VmcoreError(f"{vaddr:#x} is no address of the kernel", EXIT_NO_ADDRESS)
    if vaddr >> bits - 1 & 1:
        return vaddr - voffset & (1 << 64) - 1, 4096
    paddr = vaddr - page_offset + phys_offset
    if paddr < 0:
        raise VmcoreError(f"{vaddr:#x} is below the linear map", EXIT_NO_ADDRESS)
    return paddr, 4096
