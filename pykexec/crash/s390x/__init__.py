"""Crashes of s390x kernels: where memory is reserved, and how addresses are translated. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.crash.linear_maps import LinearMaps, untold
from pykexec.crash.reservation_rules import Rules
from pykexec.values.units import ADDRESS_MAX, MIB

if TYPE_CHECKING:
    from pykexec.crash.elf_core import PhysicalMemory, VmcoreInfo
    from pykexec.values.facts import MachineFacts

_PHYSICAL_END = 1 << 53
"""Linux arch/s390/include/asm/sparsemem.h, "MAX_PHYSMEM_BITS", as the newest processors have it."""

_LAYOUT = ("KERNELOFFSET", "KERNELOFFPHYS", "IDENTITYBASE")
"""The lines of VMCOREINFO that say where the image is, in virtual and in physical memory, and where
all memory is mapped."""


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
        exchanged=True,
    )


def translate(vaddr: int, info: VmcoreInfo, _: PhysicalMemory) -> tuple[int, int]:
    """See :class:`~pykexec.crash.rooms.CrashRoom`.

    Linux arch/s390/include/asm/page.h, "__pa_nodebug": since v6.10 the image lies above the map of
    all memory, and VMCOREINFO has three numbers for both (arch/s390/kernel/vmcore_info.c). In
    kernels before that a virtual address is the physical one, but for what is in no linear map.
    """
    if not any(name in info for name in _LAYOUT[1:]):
        return LinearMaps(ADDRESS_MAX + 1, 0, 0, 0).translate(vaddr)
    image, image_start, memory = (_hexadecimal(vaddr, info, name) for name in _LAYOUT)
    return LinearMaps(image, image - image_start, memory, 0).translate(vaddr)


def _hexadecimal(vaddr: int, info: VmcoreInfo, name: str) -> int:
    text = info.text(name).strip()
    if not re.fullmatch(r"[0-9a-f]{1,16}", text):
        raise untold(vaddr)
    return int(text, 16)
