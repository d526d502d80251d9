"""What only machines of 32-bit ARM show: :class:`~pykexec.machine.rooms.MachineRoom`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.machine.arm.mapping import find_lowmem_end, find_page_offset
from pykexec.machine.arm.processor import read_hashing
from pykexec.machine.tree_machines import capture_fault as capture_fault
from pykexec.machine.tree_machines import mapping_fields
from pykexec.machine.tree_machines import masked as masked
from pykexec.values.units import GIB

if TYPE_CHECKING:
    from pykexec.machine.description import Description
    from pykexec.machine.files import MachineFiles
    from pykexec.values.memory import IomemEntry

NUMBERS: tuple[str, ...] = ()

_ZONEINFO = "proc/zoneinfo"
_LINES_MAX = 4096
"""More than the zones of any machine have of these."""
_NAMED = 4 * GIB
"""ELF32 core headers name nothing from here on, and kernels take no others."""


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
    """See :class:`~pykexec.machine.rooms.MachineRoom`. There is no /proc/kcore."""
    from pykexec.machine.kcore import read_symbol
    from pykexec.values.memory import dumped_ram
    from pykexec.values.ranges import Range

    del xen
    zones = files.lines(
        _ZONEINFO, lambda line: line.startswith(b"Node ") or b"start_pfn" in line, _LINES_MAX
    )
    page_offset = find_page_offset(iomem, read_symbol(files, b"_stext"))
    ram = dumped_ram(iomem)
    end = max((item.end for item in ram), default=0)
    return {
        **mapping_fields(None, None, page_offset),
        "direct_map_end": find_lowmem_end(zones, description.page_size),
        "unreadable": tuple(ram.intersect([Range(_NAMED, max(end, _NAMED))])),
    }
