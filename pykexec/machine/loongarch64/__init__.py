"""What only loongarch64 machines show: functions of :class:`~pykexec.machine.rooms.MachineRoom`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.machine.tree_machines import capture_fault as capture_fault
from pykexec.machine.tree_machines import mapping_fields
from pykexec.machine.tree_machines import masked as masked

if TYPE_CHECKING:
    from pykexec.machine.description import Description
    from pykexec.machine.files import MachineFiles
    from pykexec.values.memory import IomemEntry

NUMBERS: tuple[str, ...] = ()

_LINES_MAX = 8192
"""More than any machine has processors."""
_LA664 = ("Loongson-3A6000", "Loongson-3B6000", "Loongson-3C6000")
"""How the names of processors with such cores begin; QEMU's are called 3A5000, whatever runs them
(Linux arch/loongarch/kernel/proc.c, "Model Name")."""

_CACHED_WINDOW = 0x9000_0000_0000_0000
"""Of all memory, the kernel's image included: Linux arch/loongarch/include/asm/addrspace.h."""


def read_own(files: MachineFiles, *, memory: bool) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    return {"hashing": _hashing(files)} if memory else {}


def _hashing(files: MachineFiles) -> str:
    """Return how fast the purgatory hashes here: a name in the architecture's ``check_speeds``."""
    lines = files.lines("proc/cpuinfo", lambda line: line.startswith(b"Model Name"), _LINES_MAX)
    names = [line.partition(":")[2].strip() for line in lines]
    return "la664" if names and all(name.startswith(_LA664) for name in names) else ""


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
