"""A machine with a crash kernel region, as the fixture ``here`` lets it stand in for this one."""

from __future__ import annotations

from pykexec.machine.description import KcoreLoad
from pykexec.values.facts import CAP_SYS_BOOT
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.units import MIB
from tests.builders.machines import RAM

REGION = IomemEntry(Range(512 * MIB, 768 * MIB), "Crash kernel")
CODE = IomemEntry(Range(0x1000000, 0x2000000), "Kernel code")
STATE = KernelState(
    "6.12",
    crash_loaded=True,
    crash_size=REGION.range.size,
    effective_capabilities=1 << CAP_SYS_BOOT,
)
LOADS = (
    KcoreLoad(0xFFFFFFFF81000000, 0x2000000),
    *(KcoreLoad(0xFFFF888000000000 + item.start, item.size) for item in RAM),
)
