"""What only riscv64 machines show: the functions of :class:`~pykexec.machine.rooms.MachineRoom`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.machine.riscv64.firmware import firmware_memory
from pykexec.machine.riscv64.mapping import NUMBERS as NUMBERS
from pykexec.machine.riscv64.mapping import find_mapping

if TYPE_CHECKING:
    from pykexec.machine.description import Description
    from pykexec.machine.files import MachineFiles
    from pykexec.values.memory import IomemEntry


def read_own(files: MachineFiles, *, memory: bool) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    del files, memory
    return {}


def masked(name: str, data: bytes) -> bytes | None:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    del name, data
    return None


def read_mapping(
    files: MachineFiles,
    description: Description,
    iomem: tuple[IomemEntry, ...],
    *,
    xen: bool,
) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    from pykexec.machine.device_tree import read_device_tree
    from pykexec.machine.kcore import read_kcore_loads, read_symbol, read_vmcoreinfo_numbers

    del xen
    numbers, loads = description.vmcoreinfo, description.kcore
    if numbers is None:
        numbers = read_vmcoreinfo_numbers(files, NUMBERS)
    if loads is None:
        loads = read_kcore_loads(files)
    text, text_vaddr, page_offset = find_mapping(
        numbers, loads, iomem, read_symbol(files, b"_text")
    )
    tree = read_device_tree(files, flatten=True)
    return {
        "unreadable": firmware_memory(tree[0]) if tree is not None else (),
        "kernel_text": text,
        "kernel_text_vaddr": text_vaddr,
        "page_offset_vaddr": page_offset,
    }
