"""The emulated machine for an arm64 plan: QEMU's ``virt`` board, without firmware. Pure.

The plan's device tree describes the machine that it was made for, and the next kernel finds its
devices by nothing else. So only plans for that very board can be tried out: those of a machine
under QEMU or libvirt that was booted without EFI. How the board is to be configured is read off
the tree.

No program of ours runs: at its reset the emulated processor is in the state in which the
running kernel leaves one for kexec_load(2), which hands no device tree over (Linux
arch/arm64/kernel/machine_kexec.c): MMU and caches off, interrupts masked, registers zero, at
EL1, or at EL2 where the running kernel was entered there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.boot.tree.chosen import find_chosen
from pykexec.boot.tree.given_tree import told_memory
from pykexec.formats.device_tree import parse_device_tree
from pykexec.simulation.emulated import Bank, EmulatedMachine, segment_contents, told_ram
from pykexec.values.command_line import split_words
from pykexec.values.errors import ImageError, SimulationError
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import GIB, counted, format_size

if TYPE_CHECKING:
    from pykexec.formats.device_tree import Node
    from pykexec.planning.plans import SegmentPlan

COUNTER = re.compile(r"\bPC=([0-9a-f]{16})\b")
VECTORS = Range(0, 0x800)

BOARD = b"linux,dummy-virt"
UART = 0x0900_0000
_RAM = GIB
"""Where RAM begins (QEMU hw/arm/virt.c, "base_memmap")."""
_RAM_MAX = 255 * GIB
"""With more, the board's devices above its RAM are elsewhere ("LEGACY_RAMLIMIT_BYTES")."""
_CPUS_MAX = 8


def emulate(plan: SegmentPlan) -> EmulatedMachine:
    """Return the board for ``plan``; raises :class:`SimulationError` if it is for another."""
    root = _tree(plan)
    _check_board(plan, root)
    memory = _memory(plan, root)
    cpus = _cpus(root)
    board, words = _board(root), ("-smp", str(cpus))
    return EmulatedMachine(
        program="qemu-system-aarch64",
        package="qemu-system-arm",
        title=f"QEMU's virt without firmware, {cpus} processor{'s' if cpus > 1 else ''}",
        words=(
            # Linux 6.12 and later die early with 52-bit physical addresses under QEMU 7.2; the
            # architected pointer authentication is slow to emulate.
            *("-cpu", "max,lpa2=off,pauth-impdef=on"),
            *words,
            *("-device", f"loader,addr={plan.entry:#x},cpu-num=0"),
        ),
        board=board,
        memory=memory.size,
        banks=(Bank(memory, 0),),
        contents=segment_contents(plan),
        start=None,
    )


def _tree(plan: SegmentPlan) -> Node:
    segment = plan.segment(Role.DTB)
    if segment is None:
        raise SimulationError("cannot simulate: the plan has no device tree")
    try:
        return parse_device_tree(segment.data).root
    except ImageError as error:
        raise SimulationError(f"cannot simulate: {error.message}") from error


def _check_board(plan: SegmentPlan, root: Node) -> None:
    """Refuse a plan for another machine, and one by which the new kernel would not be heard."""
    chosen = find_chosen(root)
    if chosen is not None and chosen.get("linux,uefi-system-table") is not None:
        raise SimulationError(
            "cannot simulate: the plan hands EFI over, which the emulated machine does not have: "
            "the new kernel would look for its memory where there is nothing",
        )
    compatible = (root.get("compatible") or b"").split(b"\0")
    if BOARD not in compatible or root.child(f"pl011@{UART:x}") is None:
        name = b", ".join(filter(None, compatible)).decode(errors="replace") or "nothing"
        raise SimulationError(
            f"cannot simulate: the plan's device tree describes {name}, and QEMU's virt board "
            "has other devices"
        )
    words = split_words(plan.cmdline)
    default = chosen.get("stdout-path") if chosen is not None else None
    consoles = [word for word in words if word.startswith(b"console=")]
    heard = any(word.startswith((b"console=ttyAMA0", b"earlycon")) for word in words)
    if not heard and (consoles or default is None):
        raise SimulationError(
            "cannot simulate: the plan's command line has no serial console, "
            "so that the new kernel would not be heard",
            hint="plan with console=ttyAMA0 in --append",
        )


def _memory(plan: SegmentPlan, root: Node) -> Range:
    """Return the board's RAM: one stretch from 1 GiB on."""
    told = told_memory(root)
    stray = told_ram(plan).union(told).minus([Range(_RAM, _RAM + _RAM_MAX)])
    if len(stray) or not len(told):
        first = next(iter(stray), None)
        raise SimulationError(
            f"cannot simulate: QEMU's virt board has RAM from {_RAM:#x} on, at most "
            f"{format_size(_RAM_MAX)}, the plan uses {first or 'none that its tree tells of'}"
        )
    return Range(_RAM, max(item.end for item in RangeSet([*told, *told_ram(plan)])))


def _cpus(root: Node) -> int:
    cpus = root.child("cpus")
    found = [node for node in cpus.children if node.get("device_type") == b"cpu\0"] if cpus else []
    if not 1 <= len(found) <= _CPUS_MAX:
        raise SimulationError(
            f"cannot simulate: the plan's device tree has {counted(len(found), 'processor')}, "
            f"1 to {_CPUS_MAX} can be emulated"
        )
    return len(found)


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
