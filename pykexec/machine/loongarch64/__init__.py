"""What only loongarch64 machines show: functions of :class:`~pykexec.machine.rooms.MachineRoom`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.machine.tree_machines import mapping_fields
from pykexec.machine.tree_machines import masked as masked
from pykexec.machine.tree_machines import read_own as read_own

if TYPE_CHECKING:
    from pykexec.machine.description import Description
    from pykexec.machine.files import MachineFiles
    from pykexec.values.memory import IomemEntry

NUMBERS: tuple[str, ...] = ()

_CACHED_WINDOW = 0x9000_0000_0000_0000
"""Of all memory, the kernel's image included: Linux arch/loongarch/include/asm/addrspace.h."""


def read_mapping(
    files: MachineFiles,
    description: Description,
    iomem: tuple[IomemEntry, ...],
    *,
    xen: bool,
) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    del files, description, iomem, xen
    return mapping_fields(None, None, _CACHED_WINDOW)
