"""What only riscv64 machines show: the functions of :class:`~pykexec.machine.rooms.MachineRoom`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.boot.riscv64.firmware import firmware_memory
from pykexec.machine.riscv64.mapping import NUMBERS as NUMBERS
from pykexec.machine.riscv64.mapping import find_mapping
from pykexec.machine.riscv64.processor import read_hashing
from pykexec.machine.tree_machines import capture_fault as capture_fault
from pykexec.machine.tree_machines import mapping_fields, read_numbers
from pykexec.machine.tree_machines import masked as masked

if TYPE_CHECKING:
    from pykexec.machine.description import Description
    from pykexec.machine.files import MachineFiles
    from pykexec.values.memory import IomemEntry


def read_own(files: MachineFiles, *, memory: bool) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    return {"hashing": read_hashing(files)} if memory else {}


def read_mapping(
    files: MachineFiles,
    description: Description,
    iomem: tuple[IomemEntry, ...],
    *,
    xen: bool,
) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    from pykexec.machine.device_tree import read_device_tree
    from pykexec.machine.kcore import read_kcore_loads, read_symbol

    del xen
    numbers, loads = read_numbers(files, description, NUMBERS), description.kcore
    if loads is None:
        loads = read_kcore_loads(files)
    found = find_mapping(numbers, loads, iomem, read_symbol(files, b"_text"))
    tree = read_device_tree(files, flatten=True)
    firmware = firmware_memory(tree[0]) if tree is not None else ()
    return {"unreadable": firmware, **mapping_fields(*found)}
