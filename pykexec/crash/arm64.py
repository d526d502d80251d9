"""Crashes of arm64 kernels: where memory is reserved, and how addresses are translated. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash.linear_maps import LinearMaps, map_numbers, untold
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
    """See :class:`~pykexec.crash.rooms.CrashRoom`.

    Since Linux 5.4 memory is in the lower half of the kernel's addresses, the kernel's image
    in the upper one: Linux Documentation/arch/arm64/memory.rst.
    """
    bits, voffset, phys_offset = map_numbers(
        vaddr, info, "VA_BITS", "kimage_voffset", "PHYS_OFFSET"
    )
    if not 36 <= bits <= 52:
        raise untold(vaddr)
    end = 1 << 64
    return LinearMaps(end - (1 << bits - 1), voffset, end - (1 << bits), phys_offset).translate(
        vaddr
    )
