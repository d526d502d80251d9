"""QEMU's ``virt`` boards that are entered without firmware, by their reset. Pure.

No program of ours runs: after its reset the emulated processor is in the state in which the running
kernel leaves one, with MMU and caches off and interrupts masked, at the level of privilege that the
board is told to start at. One board has processors of either width, so that its options are read
off the plan's tree in one place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.tree.chosen import Cells
from pykexec.simulation.emulated import Bank, EmulatedMachine, segment_contents
from pykexec.simulation.virt import VirtBoard, read_board
from pykexec.values.data_classes import dataclass
from pykexec.values.ranges import Range
from pykexec.values.units import GIB

if TYPE_CHECKING:
    from pykexec.formats.device_tree import Node
    from pykexec.planning.plans import SegmentPlan

UART = 0x0900_0000
"""Physical address of the console, a PL011."""


@dataclass(frozen=True, slots=True)
class BareVirt:
    """What differs between the processors."""

    program: str
    """Of QEMU."""
    package: str
    """Which Debian package has it."""
    cpu: str
    """The processor, as QEMU names it."""
    tty: bytes
    """What Linux calls the console."""


def emulate_bare(plan: SegmentPlan, virt: BareVirt) -> EmulatedMachine:
    """Return the board for ``plan``; raises :class:`SimulationError` if it is for another."""
    told = read_board(
        plan,
        VirtBoard(
            compatible=b"linux,dummy-virt",
            uarts=(f"pl011@{UART:x}",),
            tty=virt.tty,
            # QEMU hw/arm/virt.c, "base_memmap". With more the board's devices above its RAM are
            # elsewhere ("LEGACY_RAMLIMIT_BYTES").
            ram=Range.sized(GIB, 255 * GIB),
            cpus_max=8,
        ),
    )
    return EmulatedMachine(
        program=virt.program,
        package=virt.package,
        title=f"QEMU's virt without firmware, {told.processors}",
        words=(
            *("-cpu", virt.cpu),
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
    names = ((gic.get("compatible") or b"") if gic else b"").split(b"\0")
    if gic is not None and any(name.endswith(b",gic-v3") for name in names):
        its = any(node.name.startswith("its@") for node in gic.children)
        words += ["gic-version=3", f"its={'on' if its else 'off'}"]
    else:
        words.append("gic-version=2")
    pcie = next((node for node in root.children if node.name.startswith("pcie@")), None)
    registers = Cells.of(root).decode((pcie.get("reg") or b"") if pcie else b"")
    if any(item.end <= 4 * GIB for item in registers):
        words.append("highmem=off")
    # Who starts at EL2 calls PSCI by smc, everybody else by hvc (QEMU hw/arm/virt.c).
    psci = root.child("psci")
    if psci is not None and psci.get("method") == b"smc\0":
        words.append("virtualization=on")
    return ",".join(words)
