"""What Xen's hypervisor tells its dom0, as values. Pure.

All addresses are machine addresses: those of the hardware, which a kernel that boots there calls
physical. What dom0's own kernel calls physical are others, that the hypervisor has made up.
"""

from __future__ import annotations

from pykexec.values.data_classes import dataclass, field
from pykexec.values.memory import IomemEntry, MemoryKind, MemoryMap, MemoryRegion
from pykexec.values.ranges import Range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

CRASH_KERNEL = "Crash kernel"
HYPERVISOR = "Xen hypervisor"
"""Names of entries below System RAM; the second one no kernel shows."""


KIND_OF_TYPE = {
    1: MemoryKind.RAM,
    2: MemoryKind.RESERVED,
    3: MemoryKind.ACPI_TABLES,
    4: MemoryKind.ACPI_NVS,
    5: MemoryKind.UNUSABLE,
    7: MemoryKind.PMEM,
    12: MemoryKind.PRAM,
}
"""E820 types, which the hypervisor passes on as firmware has them. Any other is not to be used."""


@dataclass(frozen=True, slots=True)
class XenProblem:
    """Why the hypervisor was not asked, or has not answered."""

    reason: str
    hint: str


@dataclass(frozen=True, slots=True)
class XenFacts:
    """The answers of a hypervisor: xen/include/public/kexec.h and memory.h."""

    memory_map: MemoryMap = field(default_factory=MemoryMap)
    """XENMEM_machine_memory_map."""
    crash_area: Range | None = None
    """What crashkernel= on Xen's own command line has reserved (KEXEC_RANGE_MA_CRASH)."""
    image: Range | None = None
    """The hypervisor itself (KEXEC_RANGE_MA_XEN)."""
    cpu_notes: tuple[tuple[int, Range], ...] = ()
    """(processor, its notes) of the machine's processors, not of dom0's (KEXEC_RANGE_MA_CPU)."""
    vmcoreinfo: Range | None = None
    """The note VMCOREINFO_XEN (KEXEC_RANGE_MA_VMCOREINFO), which is written with the first load."""
    loaded: bool | None = None
    crash_loaded: bool | None = None


def map_of_e820(entries: Iterable[tuple[int, int, int]]) -> MemoryMap:
    """Return the map of (machine address, bytes, E820 type) entries."""
    regions = []
    for start, size, number in entries:
        kind = KIND_OF_TYPE.get(number, MemoryKind.RESERVED)
        where = Range.fitting(start, size)
        if where is not None:
            regions.append(MemoryRegion(where, kind, kind.value))
    return MemoryMap.from_overlapping(regions)


def machine_iomem(facts: XenFacts) -> tuple[IomemEntry, ...]:
    """Return the machine's memory as /proc/iomem would show it on a machine without Xen.

    The hypervisor's own memory is RAM for the next kernel, and belongs into a dump.
    """
    named = [(facts.crash_area, CRASH_KERNEL), (facts.image, HYPERVISOR)]
    parts = [IomemEntry(part, name) for part, name in named if part is not None]
    parts.sort(key=lambda item: item.range.start)
    return tuple(
        IomemEntry(
            region.range,
            region.kind.value,
            tuple(
                part
                for part in parts
                if region.kind is MemoryKind.RAM and region.range.contains(part.range)
            ),
        )
        for region in facts.memory_map
    )
