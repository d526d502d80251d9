"""The emulated machine for an arm64 plan: QEMU's ``virt`` board, without firmware. Pure.

After its reset the processor is in the state in which the running kernel leaves one for
kexec_load(2), which hands no device tree over (Linux arch/arm64/kernel/machine_kexec.c): MMU and
caches off, interrupts masked, registers zero, at EL1, or at EL2 where the running kernel was
entered there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.architectures.arm64 import ARM64
from pykexec.simulation.bare_virt import BareVirt, emulate_bare
from pykexec.values.ranges import Range

if TYPE_CHECKING:
    from pykexec.planning.plans import SegmentPlan
    from pykexec.simulation.emulated import EmulatedMachine

COUNTER = re.compile(r"\bPC=([0-9a-f]{16})\b")
VECTORS = Range(0, 0x800)

_VIRT = BareVirt(
    program="qemu-system-aarch64",
    package="qemu-system-arm",
    # Linux 6.12 and later die early with 52-bit physical addresses under QEMU 7.2; the
    # architected pointer authentication is slow to emulate.
    cpu="max,lpa2=off,pauth-impdef=on",
    tty=ARM64.simulated_tty,
)


def emulate(plan: SegmentPlan) -> EmulatedMachine:
    """Return the board for ``plan``; raises :class:`SimulationError` if it is for another."""
    return emulate_bare(plan, _VIRT)
