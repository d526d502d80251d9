"""/sys/firmware/memmap: the memory map that firmware handed over (x86).

Format: Linux Documentation/ABI/testing/sysfs-firmware-memmap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.errors import MachineError
from pykexec.values.memory import MemoryKind, MemoryMap, MemoryRegion, kind_of_name
from pykexec.values.ranges import Range
from pykexec.values.units import ADDRESS_MAX

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

DIRECTORY = "sys/firmware/memmap"

_PURPOSE = "the firmware's memory map"


def read_firmware_map(files: MachineFiles, cmdline: bytes) -> MemoryMap:
    """Read the firmware's map, sorted by address; empty when there is none.

    Empty too when ``cmdline``, the running kernel's, says ``add_efi_memmap``: then the
    kernel took memory from EFI's own map, which sysfs does not show, and /proc/iomem knows
    more. Raises :class:`MachineError` naming a malformed or missing file.
    """
    if b"add_efi_memmap" in cmdline.split():
        return MemoryMap()
    numbers = (name for name in files.names(DIRECTORY, _PURPOSE) if name.isdecimal())
    regions = (_read_region(files, f"{DIRECTORY}/{name}") for name in numbers)
    return MemoryMap.from_overlapping(regions)


def _read_region(files: MachineFiles, name: str) -> MemoryRegion:
    bounds = [
        files.required(f"{name}/{bound}", files.hexadecimal(f"{name}/{bound}", _PURPOSE), _PURPOSE)
        for bound in ("start", "end")
    ]
    if bounds[1] < bounds[0]:
        raise MachineError(
            f"{files.path(name)}: the end {bounds[1]:#x} lies before the start {bounds[0]:#x}"
        )
    if bounds[1] - bounds[0] == ADDRESS_MAX:
        raise MachineError(f"{files.path(name)}: nothing covers all 64 bits of addresses")
    kind_name = files.read_text(f"{name}/type", _PURPOSE)
    if kind_name is None:
        raise MachineError(f"{files.path(name)}/type is missing; it is needed for {_PURPOSE}")
    # "Unknown E820 type", or one that a later kernel invents, is memory not to be touched.
    kind = kind_of_name(kind_name) or MemoryKind.RESERVED
    return MemoryRegion(Range.inclusive(*bounds), kind, kind_name)
