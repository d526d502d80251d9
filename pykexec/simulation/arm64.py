"""The emulated machine for an arm64 plan: QEMU's ``virt`` board, without firmware. Pure.

How the board is to be configured is read off the plan's tree.

No program of ours runs: at its reset the emulated processor is in the state in which the
running kernel leaves one for kexec_load(2), which hands no device tree over (Linux
arch/arm64/kernel/machine_kexec.c): MMU and caches off, interrupts masked, registers zero, at
EL1, or at EL2 where the running kernel was entered there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.architectures.arm64 import ARM64
from pykexec.simulation.emulated import Bank, EmulatedMachine, segment_contents
from pykexec.simulation.virt import VirtBoard, read_board
from pykexec.values.ranges import Range
from pykexec.values.units import GIB

if TYPE_CHECKING:
    from pykexec.formats.device_tree import Node
    from pykexec.planning.plans import SegmentPlan

COUNTER = re.compile(r"\bPC=([0-9a-f]{16})\b")
VECTORS = Range(0, 0x800)

UART = 0x0900_0000
_BOARD = VirtBoard(
    compatible=b"linux,dummy-virt",
    uarts=(f"pl011@{UART:x}",),
    tty=ARM64.simulated_tty,
    # QEMU hw/arm/virt.c, "base_memmap". With more the board's devices above its RAM are elsewhere
    # ("LEGACY_RAMLIMIT_BYTES").
    ram=Range.sized(GIB, 255 * GIB),
    cpus_max=8,
)


def emulate(plan: SegmentPlan) -> EmulatedMachine:
    """Return the board for ``plan``; raises :class:`SimulationError` if it is for another."""
    told = read_board(plan, _BOARD)
    return EmulatedMachine(
        program="qemu-system-aarch64",
        package="qemu-system-arm",
        title=f"QEMU's virt without firmware, {told.processors}",
        words=(
            # Linux 6.12 and later die early with 52-bit physical addresses under QEMU 7.2; the
            # architected pointer authentication is slow to emulate.
            *("-cpu", "max,lpa2=off,pauth-impdef=on"),
            *("-smp", str(told.cpus)),
            *("-device", f"loader,addr={plan.entry:#x},cpu-num=0"),
        ),
        board=_board(told.root),
        memory=told.memory.size,
        banks=(Bank(told.memory, 0),),
        contents=segment_contents(plan),
        start=None,
    )


def _board(root: Node) -> str:
    """Return the options of the board by which it has the devices that the tree tells of."""
    words = ["virt"]
    gic = next((node for node in root.children if node.name.startswith("intc@")), None)
    if gic is not None and b"arm,gic-v3" in (gic.get("compatible") or b"").split(b"\0"):
        its = any(node.name.startswith("its@") for node in gic.children)
        words += ["gic-version=3", f"its={'on' if its else 'off'}"]
    else:
        words.append("gic-version=2")
    # Who starts at EL2 calls PSCI by smc, everybody else by hvc (QEMU hw/arm/virt.c).
    psci = root.child("psci")
    if psci is not None and psci.get("method") == b"smc\0":
        words.append("virtualization=on")
    return ",".join(words)
