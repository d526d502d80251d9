"""Where a riscv64 kernel has mapped itself and memory. Pure.

Its VMCOREINFO note says it: Linux arch/riscv/kernel/vmcore_info.c, "arch_crash_save_vmcoreinfo";
Documentation/admin-guide/kdump/vmcoreinfo.rst, "RISCV64". Since v6.2 of memory: kernel commit
649d6b1019a2 ("RISC-V: Add arch_crash_save_vmcoreinfo support"). Since v6.5 (and v6.4.10) of the
image: fbe7d19d2b7f ("riscv: Export va_kernel_pa_offset in vmcoreinfo"). Of an older one /proc/kcore
shows where each range of RAM is mapped (fs/proc/kcore.c, "kclist_add_private"), and kallsyms where
the image is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.machine.tree_machines import number_in
from pykexec.values.errors import MachineError
from pykexec.values.memory import MemoryKind, kind_of_name, walk
from pykexec.values.units import ADDRESS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pykexec.machine.description import KcoreLoad
    from pykexec.values.memory import IomemEntry
    from pykexec.values.ranges import Range

_IMAGE_OFFSET = "NUMBER(va_kernel_pa_offset)"
_PAGE_OFFSET = "NUMBER(PAGE_OFFSET)"
_RAM_BASE = "NUMBER(phys_ram_base)"
NUMBERS = (_IMAGE_OFFSET, _PAGE_OFFSET, _RAM_BASE)
"""The lines of the note that are used."""

_IMAGE = "Kernel image"
"""In /proc/iomem, around code, data and BSS: Linux arch/riscv/kernel/setup.c,
"add_kernel_resources"."""


def find_mapping(
    numbers: Mapping[str, str],
    loads: tuple[KcoreLoad, ...],
    iomem: tuple[IomemEntry, ...],
    text_vaddr: int | None,
) -> tuple[Range | None, int | None, int | None]:
    """Return the kernel's image, its virtual address, and that of physical address 0.

    ``text_vaddr`` is ``_text`` from kallsyms. All arithmetic is modulo 2^64. None where nothing
    says it. Raises :class:`MachineError` where two sources contradict each other.
    """
    found = {name: number_in(numbers, name) for name in NUMBERS}
    image_offset, page_offset, ram_base = (found[name] for name in NUMBERS)
    vaddr_of_zero = _linear_offset(loads, iomem)
    if page_offset is not None and ram_base is not None:
        vaddr_of_zero = (page_offset - ram_base) & ADDRESS_MAX
    images = [item.range for item in walk(iomem) if item.name == _IMAGE]
    if len(images) != 1:
        return None, None, vaddr_of_zero
    vaddr = text_vaddr
    if image_offset is not None:
        vaddr = (images[0].start + image_offset) & ADDRESS_MAX
        if text_vaddr not in (None, vaddr):
            raise MachineError(
                f"the kernel's _text is at {text_vaddr:#x} by /proc/kallsyms, and at {vaddr:#x} by "
                f"va_kernel_pa_offset {image_offset:#x} and /proc/iomem"
            )
    return (images[0], vaddr, vaddr_of_zero) if vaddr is not None else (None, None, vaddr_of_zero)


def _linear_offset(loads: tuple[KcoreLoad, ...], iomem: tuple[IomemEntry, ...]) -> int | None:
    """Return the distance by which all ranges of RAM are mapped; None unless there is just one."""
    ram = [entry.range for entry in iomem if kind_of_name(entry.name) is MemoryKind.RAM]
    if not ram:
        return None
    mapped = {(load.vaddr, load.memsz) for load in loads}
    offsets = {load.vaddr - ram[0].start for load in loads if load.memsz == ram[0].size}
    found = [
        offset
        for offset in offsets
        if all((item.start + offset, item.size) in mapped for item in ram)
    ]
    return found[0] & ADDRESS_MAX if len(found) == 1 else None
