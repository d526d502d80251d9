"""Where an arm64 kernel has mapped itself and memory, from what its VMCOREINFO note says.

Linux arch/arm64/kernel/vmcore_info.c, "arch_crash_save_vmcoreinfo", and
Documentation/arch/arm64/memory.rst. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.machine.tree_machines import impossible, number_in
from pykexec.values.errors import MachineError
from pykexec.values.memory import walk
from pykexec.values.ranges import Range
from pykexec.values.units import ADDRESS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pykexec.values.memory import IomemEntry

_VA_BITS = "NUMBER(VA_BITS)"
_PHYS_OFFSET = "NUMBER(PHYS_OFFSET)"
_KIMAGE_VOFFSET = "NUMBER(kimage_voffset)"
NUMBERS = (_VA_BITS, _PHYS_OFFSET, _KIMAGE_VOFFSET)
"""The lines of the note that are used."""

_VA_BITS_RANGE = range(36, 53)


def find_mapping(
    numbers: Mapping[str, str], iomem: tuple[IomemEntry, ...], text_vaddr: int | None
) -> tuple[Range, int, int] | tuple[None, None, None]:
    """Return the kernel's image, its virtual address, and that of physical address 0.

    ``text_vaddr`` is ``_text`` from kallsyms; without it the image starts with "Kernel code",
    which since v5.11 excludes the headers. All arithmetic is modulo 2^64: a kernel for
    52 bits on a processor with 48 has a negative PHYS_OFFSET, and the direct map's address of
    physical 0 is only a number on any machine whose RAM starts above. None where the note or
    /proc/iomem does not say.
    """
    va_bits, phys_offset, kimage_voffset = (number_in(numbers, name) for name in NUMBERS)
    if va_bits is not None and va_bits not in _VA_BITS_RANGE:
        raise impossible(_VA_BITS, numbers[_VA_BITS])
    code = [item.range for item in walk(iomem) if item.name == "Kernel code"]
    data = [item.range for item in walk(iomem) if item.name == "Kernel data"]
    if va_bits is None or phys_offset is None or kimage_voffset is None:
        return None, None, None
    if len(code) != 1 or len(data) != 1:
        return None, None, None
    start = code[0].start
    if text_vaddr is not None:
        start = (text_vaddr - kimage_voffset) & ADDRESS_MAX
    if not start <= code[0].start < data[0].end:
        raise MachineError(
            f"the kernel's _text is at {start:#x} by kimage_voffset {kimage_voffset:#x}, which is "
            f"not in front of its code at {code[0].start:#x} in /proc/iomem"
        )
    vaddr = (start + kimage_voffset) & ADDRESS_MAX
    page_offset = _page_offset(va_bits, vaddr)
    return Range(start, data[0].end), vaddr, (page_offset - phys_offset) & ADDRESS_MAX


def _page_offset(va_bits: int, text_vaddr: int) -> int:
    """Return where the direct map starts.

    Linux kernel commit 14c127c957c1 ("arm64: mm: Flip kernel VA space") (in v5.4) moved it
    from the upper half of the kernel's addresses, where the image then lies, to the lower.
    """
    upper_half = (1 << 64) - (1 << va_bits - 1)
    return (1 << 64) - (1 << va_bits) if text_vaddr >= upper_half else upper_half
