"""The emulated machine for a plan of 32-bit ARM: QEMU's ``virt`` board, without firmware. Pure.

After its reset the processor is in the state in which the running kernel leaves one (Linux
arch/arm/kernel/relocate_kernel.S): MMU and caches off, interrupts masked, in SVC mode, or in HYP
mode where the running kernel was entered in that. What that leaves in r1, the number of the
machine's type, is 0 here; kernels with a device tree do not look at it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.architectures.arm import ARM
from pykexec.simulation.bare_virt import BareVirt, emulate_bare
from pykexec.values.ranges import Range
from pykexec.values.units import MIB

if TYPE_CHECKING:
    from pykexec.planning.plans import SegmentPlan
    from pykexec.simulation.emulated import EmulatedMachine

COUNTER = re.compile(r"\bR15=([0-9a-f]{8})\b")
VECTORS = Range(0, 128 * MIB)
"""The board's flash, with the vectors at its start. Nothing is in it, and zeros are instructions
without an effect, so that the processor goes through all of it, again and again."""

_VIRT = BareVirt(
    program="qemu-system-arm",
    package="qemu-system-arm",
    cpu="cortex-a15",
    tty=ARM.simulated_tty,
)


def emulate(plan: SegmentPlan) -> EmulatedMachine:
    """Return the board for ``plan``; raises :class:`SimulationError` if it is for another."""
    return emulate_bare(plan, _VIRT)
