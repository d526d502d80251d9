"""What only m68k machines show: functions of :class:`~pykexec.machine.rooms.MachineRoom`.

/proc/bootinfo (Linux arch/m68k/kernel/bootinfo_proc.c), which root alone may read, has what the
boot loader told. Memory is told of there, and not in /proc/iomem: the kernel enters none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.formats.bootinfo import Tag, chunks_of, parse_bootinfo, without
from pykexec.machine.iomem import read_iomem
from pykexec.machine.tree_machines import capture_fault as capture_fault
from pykexec.values.errors import ImageError
from pykexec.values.memory import IomemEntry, MemoryKind, kind_of_name

if TYPE_CHECKING:
    from pykexec.machine.description import Description
    from pykexec.machine.files import MachineFiles

NUMBERS: tuple[str, ...] = ()

FILE = "proc/bootinfo"
_NAMING = (Tag.COMMAND_LINE, Tag.RNG_SEED)


def read_own(files: MachineFiles, *, memory: bool) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`. What cannot be decoded tells of no memory.

    Planning says what is wrong with it.
    """
    if not memory:
        return {}
    data = files.read(FILE, "what the boot loader told of the machine")
    iomem = read_iomem(files)
    if any(kind_of_name(item.name) is MemoryKind.RAM for item in iomem):
        return {"bootinfo": data}
    try:
        chunks = chunks_of(parse_bootinfo(data or b"\0\0"))
    except ImageError:
        chunks = ()
    told = tuple(IomemEntry(item, MemoryKind.RAM.value) for item in chunks)
    return {"bootinfo": data, "iomem": tuple(sorted((*iomem, *told), key=lambda e: e.range))}


def masked(name: str, data: bytes) -> bytes | None:
    """See :class:`~pykexec.machine.rooms.MachineRoom`: without command line and seed."""
    if name != FILE:
        return None
    try:
        return without(data, _NAMING)
    except ImageError:
        return bytes(len(data))


def read_mapping(
    files: MachineFiles,
    description: Description,
    iomem: tuple[IomemEntry, ...],
    *,
    xen: bool,
) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`: there are no crash kernels."""
    del files, description, iomem, xen
    return {}
