"""What only ppc64le machines show: the functions of :class:`~pykexec.machine.rooms.MachineRoom`."""

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

_PAGE_OFFSET = 0xC000_0000_0000_0000
"""Of all memory, the kernel's image included: Linux arch/powerpc/include/asm/page.h."""


def read_mapping(
    files: MachineFiles,
    description: Description,
    iomem: tuple[IomemEntry, ...],
    *,
    xen: bool,
) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    del files, description, iomem, xen
    return mapping_fields(None, None, _PAGE_OFFSET)
