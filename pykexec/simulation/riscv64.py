"""The emulated machine for a riscv64 plan: QEMU's ``virt`` board behind OpenSBI. Pure.

The firmware stays: the next kernel calls it. It starts a small program of ours
(purgatory/start/riscv64.S), which waits until the segments are in memory, and then leaves as the
running kernel does (Linux arch/riscv/kernel/kexec_relocate.S): in supervisor mode, without paging,
interrupts off, with the hart's ID and the device tree in registers. After a crash the kernel takes
its paging away under its own feet, and goes on by way of stvec; so does the program.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.architectures.riscv64 import RISCV64
from pykexec.boot.tree.given_tree import reserved_regions
from pykexec.boot.tree.invariants import first_tree
from pykexec.formats.device_tree import parse_device_tree
from pykexec.purgatory_objects import load_start
from pykexec.simulation.emulated import Bank, EmulatedMachine, StartProgram, segment_contents
from pykexec.simulation.virt import VirtBoard, read_board
from pykexec.values.calls import Target
from pykexec.values.errors import ImageError, SimulationError
from pykexec.values.memory import MemoryKind
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.formats.device_tree import Node
    from pykexec.planning.plans import SegmentPlan
    from pykexec.simulation.virt import ToldBoard
    from pykexec.values.roles import Role

COUNTER = re.compile(r"\bpc +([0-9a-f]{16})\b")

UART = 0x1000_0000
_RAM = 2 * GIB
"""Where RAM begins, and the firmware lies (QEMU hw/riscv/virt.c, "virt_memmap")."""
START = _RAM + 2 * MIB - 0x1000
"""Where the start program runs: below the lowest place for a kernel, the firmware's is below it."""
_PROGRAM = Range.sized(START, 0x1000)
VECTORS: Range | None = _PROGRAM
_BOARD = VirtBoard(
    compatible=b"riscv-virtio",
    uarts=(f"soc/serial@{UART:x}", f"soc/uart@{UART:x}"),
    tty=RISCV64.simulated_tty,
    ram=Range(_RAM, 1 << 56),
    cpus_max=8,
)

# Behind the first instruction: a loop, the program's state, the firmware's device tree; then what
# it is told: the plan's tree, stvec, where it jumps to, the plan's entry.
_STAND, _STATE, _INFO, _TREE, _VECTOR, _TARGET, _ENTRY = (
    START + offset for offset in (4, 8, 16, 24, 32, 40, 48)
)
_READY, _GO = (number.to_bytes(8, "little") for number in (1, 2))

_KERNEL_ADDRESS = 0xFFFF_FFFF_8000_0000
"""Of the running kernel's text (Linux Documentation/arch/riscv/vm-layout.rst). Without paging
nothing is there."""

_TREE_HEADER = 40
_TREE_MAX = 2 * MIB

_EXTENSIONS = frozenset(
    {*"imafdch", "zicsr", "zifencei", "zihintpause", "zba", "zbb", "zbc", "zbs", "sstc"}
)
"""What QEMU's ``rv64`` has since version 7.2. A kernel uses what it is told of and nothing else."""


def emulate(plan: SegmentPlan) -> EmulatedMachine:
    """Return the board for ``plan``; raises :class:`SimulationError` if it is for another."""
    told = read_board(plan, _BOARD)
    first = first_tree(plan)
    if first is None:
        raise SimulationError("cannot simulate: the plan has no device tree")
    for item in plan.segments:
        _check_free(item.role, item.dest, _PROGRAM, "the start program")
    crash = plan.target is Target.CRASH
    parameters = {
        _TREE: first.dest.start,
        _VECTOR: plan.entry if crash else _STAND,
        _TARGET: _KERNEL_ADDRESS if crash else plan.entry,
        _ENTRY: plan.entry,
    }
    return EmulatedMachine(
        program="qemu-system-riscv64",
        package="qemu-system-riscv (of Debian 12 qemu-system-misc) and opensbi",
        title=f"QEMU's virt behind OpenSBI, {told.processors}",
        words=("-cpu", _processor(told.root), "-smp", str(told.cpus)),
        board=_board(told.root),
        memory=told.memory.size,
        banks=(Bank(told.memory, 0),),
        contents=(
            *segment_contents(plan),
            *((at, value.to_bytes(8, "little")) for at, value in parameters.items()),
        ),
        start=StartProgram(
            image=load_start("riscv64"),
            ready=(_STATE, _READY),
            go=(_STATE, _GO),
            settle=lambda read: _settle(plan, told, read),
        ),
    )


def _check_free(role: Role, where: Range, kept: Range, whose: str) -> None:
    if where.overlaps(kept):
        raise SimulationError(
            f"cannot simulate: {role} {where} lies on {kept}, which {whose} uses",
            hint="plan with a higher --mem-min to try out the rest of the layout",
        )


def _processor(root: Node) -> str:
    """Return QEMU's name of a processor that has what the tree tells of."""
    cpus = root.child("cpus")
    told = {name for node in (cpus.children if cpus else ()) for name in _extensions(node)}
    return "rv64" if told <= _EXTENSIONS else "max"


def _extensions(cpu: Node) -> set[str]:
    """Linux Documentation/devicetree/bindings/riscv/extensions.yaml: the list, or one string."""
    names = cpu.get("riscv,isa-extensions")
    if names is not None:
        return {name.decode(errors="replace") for name in names.split(b"\0") if name}
    text = (cpu.get("riscv,isa") or b"").decode(errors="replace").strip("\0").lower()
    letters, *others = text.removeprefix("rv64").split("_")
    return {*letters.replace("g", "imafd"), *others}


def _board(root: Node) -> str:
    """Return the options of the board by which it has the devices that the tree tells of.

    QEMU hw/riscv/virt.c: "create_fdt_imsic", "create_fdt_one_aplic", "create_fdt_socket_aclint".
    """
    if any(node.get("numa-node-id") is not None for node in root.children):
        raise SimulationError(
            "cannot simulate: the plan's device tree has several NUMA nodes, the emulated board one"
        )
    soc = root.child("soc")
    names = {node.name.partition("@")[0] for node in soc.children} if soc is not None else set()
    words = ["virt"]
    if "aplic" in names or "imsics" in names:
        words.append("aia=aplic-imsic" if "imsics" in names else "aia=aplic")
    if "mswi" in names:
        words.append("aclint=on")
    return ",".join(words)


def _settle(
    plan: SegmentPlan, told: ToldBoard, read: Callable[[int, int], bytes]
) -> tuple[tuple[int, bytes], ...]:
    """Refuse a plan that uses memory which the emulated firmware keeps for itself.

    An access there is a fault, whoever makes it: a segment's copy, or the new kernel that is not
    told of it.
    """
    firmware = RangeSet(item for _, item in reserved_regions(_firmware_tree(read)))
    for kept in firmware:
        for item in plan.segments:
            _check_free(item.role, item.dest, kept, "the emulated firmware")
    reserved = (item for _, item in reserved_regions(told.root))
    left = plan.memory_map.of_kind(MemoryKind.RAM).minus(reserved).intersect(firmware)
    if left:
        raise SimulationError(
            f"cannot simulate: the emulated firmware keeps {next(iter(left))} for itself, and the "
            "plan's device tree does not: the new kernel would use it, and fault",
        )
    return ()


def _firmware_tree(read: Callable[[int, int], bytes]) -> Node:
    """Return the root of the tree that the firmware has handed to the start program."""
    address = int.from_bytes(read(_INFO, 8), "little")
    size = int.from_bytes(read(address, _TREE_HEADER)[4:8], "big")
    try:
        return parse_device_tree(read(address, min(size, _TREE_MAX))).root
    except ImageError as error:
        raise SimulationError(
            f"the emulated firmware gives no device tree at {address:#x}: {error.message}"
        ) from error
