"""What only arm64 machines show: the functions of :class:`~pykexec.machine.rooms.MachineRoom`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.machine.arm64.mapping import NUMBERS as NUMBERS
from pykexec.machine.arm64.mapping import find_mapping
from pykexec.machine.arm64.processor import read_hashing
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
    from pykexec.machine.kcore import read_symbol

    del xen
    numbers = read_numbers(files, description, NUMBERS)
    return mapping_fields(*find_mapping(numbers, iomem, read_symbol(files, b"_text")))
