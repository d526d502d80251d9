"""The emulated machine for a plan of 32-bit ARM: QEMU's ``virt`` board, without firmware. Pure.

How the board is to be configured is read off the plan's tree.

No program of ours runs: at its reset the emulated processor is in the state in which the running
kernel leaves one (Linux arch/arm/kernel/relocate_kernel.S): MMU and caches off, interrupts masked,
in SVC mode, or in HYP mode where the running kernel was entered in that. What it leaves in r1, the
number of the machine's type, is 0 here; kernels with a device tree do not look at it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.architectures.arm import ARM
from pykexec.boot.tree.chosen import Cells
from pykexec.simulation.emulated import Bank, EmulatedMachine, segment_contents
from pykexec.simulation.virt import VirtBoard, read_board
from pykexec.values.ranges import Range
from pykexec.values.units import GIB

if TYPE_CHECKING:
    from pykexec.formats.device_tree import Node
    from pykexec.planning.plans import SegmentPlan

COUNTER = re.compile(r"\bR15=([0-9a-f]{8})\b")
VECTORS = Range(0, 0x20)

UART = 0x0900_0000
_BOARD = VirtBoard(
    compatible=b"linux,dummy-virt",
    uarts=(f"pl011@{UART:x}",),
    tty=ARM.simulated_tty,
    # QEMU hw/arm/virt.c, "base_memmap"; a kernel with LPAE reaches 1 TiB.
    ram=Range.sized(GIB, 255 * GIB),
    cpus_max=8,
)


def emulate(plan: SegmentPlan) -> EmulatedMachine:
    """Return the board for ``plan``; raises :class:`SimulationError` if it is for another."""
    told = read_board(plan, _BOARD)
    return EmulatedMachine(
        program="qemu-system-arm",
        package="qemu-system-arm",
        title=f"QEMU's virt without firmware, {told.processors}",
        words=(
            *("-cpu", "cortex-a15"),
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
    pcie = next((node for node in root.children if node.name.startswith("pcie@")), None)
    registers = list(Cells.of(root).decode((pcie.get("reg") or b"") if pcie else b""))
    if any(item.end <= 4 * GIB for item in registers):
        words.append("highmem=off")
    # Who starts in HYP mode calls PSCI by smc, everybody else by hvc (QEMU hw/arm/virt.c).
    psci = root.child("psci")
    if psci is not None and psci.get("method") == b"smc\0":
        words.append("virtualization=on")
    return ",".join(words)
