"""What ``kexec -d`` prints in the words of kexec-tools, because programs read it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.planning.plans import FileLoadPlan
from pykexec.values.memory import MemoryKind

if TYPE_CHECKING:
    from pykexec.planning.plans import Plan

_RESERVED = 1
_NUMBERS = {
    MemoryKind.RAM: 0,
    MemoryKind.ACPI_TABLES: 2,
    MemoryKind.ACPI_NVS: 3,
    MemoryKind.PMEM: 6,
    MemoryKind.PRAM: 11,
}
"""kexec-tools' own, as it prints them; whatever else there is, it calls reserved."""


def ranges_text(plan: Plan) -> str:
    """Print the memory map of a load: first and last byte of each range, and its kind."""
    if isinstance(plan, FileLoadPlan):
        return ""
    lines = [
        f"{item.range.start:016x}-{item.range.last:016x} ({_NUMBERS.get(item.kind, _RESERVED)})"
        for item in plan.memory_map
    ]
    return "\n".join(["MEMORY RANGES", *lines]) + "\n"
