"""The emulated machine for a ppc64le plan: a guest of QEMU's own hypervisor, ``pseries``. Pure.

A POWER kernel goes on with what the first one has agreed with the hypervisor, and has no way to
agree anew: the kind of page tables and of interrupt controller (Linux on Power Architecture
Reference, "ibm,client-architecture-support"). So no firmware runs, but a small program of ours in
its place (purgatory/start/ppc64le.S): it tells the hypervisor what stands in the plan's device tree
as the outcome, waits until the segments are in memory, and leaves as the running kernel does (Linux
arch/powerpc/kernel/misc_64.S, "kexec_sequence"). RTAS, which the next kernel calls, is of QEMU's
hypervisor too, behind a few instructions that lie where the tree says.

The other processors are stopped, and not waiting at 0x60: the kernel starts those by RTAS.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.architectures.ppc64le import PPC64LE
from pykexec.boot.ppc64le.page_table import told_orders
from pykexec.boot.ppc64le.platform import installed, number
from pykexec.boot.tree.chosen import find_chosen
from pykexec.boot.tree.invariants import first_tree
from pykexec.formats.device_tree import parse_device_tree
from pykexec.purgatory_objects import load_start
from pykexec.purgatory_objects.ppc64le import KERNEL_HEAD_SIZE, KERNEL_HEAD_START
from pykexec.simulation.emulated import (
    Bank,
    EmulatedMachine,
    StartProgram,
    segment_contents,
    told_ram,
)
from pykexec.values.command_line import split_words
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError, SimulationError
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import MIB, counted, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.formats.device_tree import Node
    from pykexec.planning.plans import SegmentPlan

COUNTER = re.compile(r"\bNIP ([0-9a-f]{16})\b")
VECTORS: Range | None = Range(0, 0x4000)

_STATE, _RESULT, _ENTRY, _VECTORS, _VECTORS_END = 0x108, 0x110, 0x118, 0x120, 0x200
"""In the start program: physical addresses of what it is told and tells."""
_READY, _GO = (number.to_bytes(8, "big") for number in (1, 2))
_PROGRAM = Range(0x100, 0x1000)
_HEAD_SIZE = KERNEL_HEAD_START + KERNEL_HEAD_SIZE

_BOARD = "pseries,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off"
"""What the board offers by itself against leaks no emulation has."""
_COMPATIBLE = b"qemu,pseries"
_RAM_UNIT = 256 * MIB
"""QEMU hw/ppc/spapr.c: memory is whole blocks of it, from address 0 on."""
_CPUS = {"PowerPC,POWER8": "power8", "PowerPC,POWER9": "power9", "PowerPC,POWER10": "power10"}
"""By the names of their nodes."""
_CPUS_MAX = 8

# Linux arch/powerpc/include/asm/prom.h: what the first byte is the length of.
_ARCHITECTURE = "ibm,architecture-vec-5"
_MMU_AT, _MMU, _RADIX = 0x18, 0xC0, 0x40
_ISA_AT_3_0 = bytes((2, 0, 0xFF, 0xC0))
"""Option vector 1: ISA 2.00 to 2.07, 3.0 and 3.1."""
_NOTHING = bytes(2)
"""An option vector of one byte, without an option."""

# As QEMU makes it itself: mr 4,3; lis 3,0; ori 3,3,0xf000 (QEMU include/hw/ppc/spapr.h,
# "KVMPPC_H_RTAS"); sc 1; blr.
_RTAS = bytes.fromhex("7c641b78 3c600000 6063f000 44000022 4e800020")
_TABLE_ORDER_MIN, _TABLE_SHIFT = 18, 7
"""QEMU hw/ppc/spapr.c, "spapr_hpt_shift_for_ramsize": 1/128 of all memory."""


@dataclass(frozen=True, slots=True)
class _Guest:
    """What the plan's tree tells of the machine."""

    root: Node
    memory: int
    """Bytes."""
    processor: str
    """QEMU's name of it."""
    version: int
    cores: int
    threads: int
    """Of each."""


def emulate(plan: SegmentPlan) -> EmulatedMachine:
    """Return the guest for ``plan``; raises :class:`SimulationError` if it is for another one."""
    guest = _guest(plan)
    for item in plan.segments:
        if item.dest.overlaps(_PROGRAM):
            raise SimulationError(
                f"cannot simulate: {item.role} {item.dest} lies on {_PROGRAM}, which the start "
                "program uses",
                hint="plan with a higher --mem-min to try out the rest of the layout",
            )
    image = bytearray(load_start("ppc64le"))
    told = _told_hypervisor(guest)
    image[_VECTORS : _VECTORS + len(told)] = told
    image[_ENTRY : _ENTRY + 8] = plan.entry.to_bytes(8, "big")
    cpus = guest.cores * guest.threads
    return EmulatedMachine(
        program="qemu-system-ppc64",
        package="qemu-system-ppc",
        title=f"QEMU's pseries without firmware, {counted(cpus, 'processor')}",
        words=(
            *("-nodefaults", "-cpu", guest.processor),
            *("-smp", f"{cpus},cores={guest.cores},threads={guest.threads}"),
            *("-global", f"spapr-vty.reg={_terminal(guest.root):#x}"),
        ),
        board=_BOARD,
        memory=guest.memory,
        banks=(Bank(Range(0, guest.memory), 0),),
        contents=(*_firmware(guest), *segment_contents(plan), (0, _head(plan))),
        start=StartProgram(
            image=bytes(image), ready=(_STATE, _READY), go=(_STATE, _GO), settle=_settle,
            option="-bios",
        ),
    )  # fmt: skip


def _guest(plan: SegmentPlan) -> _Guest:
    first = first_tree(plan)
    if first is None:
        raise SimulationError("cannot simulate: the plan has no device tree")
    try:
        root = parse_device_tree(first.data).root
    except ImageError as error:
        raise SimulationError(f"cannot simulate: {error.message}") from error
    _check_board(root)
    _check_heard(plan)
    memory = _memory(plan, root)
    _check_table(root, memory)
    return _Guest(root, memory, *_processors(root))


def _check_board(root: Node) -> None:
    compatible = (root.get("compatible") or b"").split(b"\0")
    if _COMPATIBLE in compatible:
        return
    model = (root.get("model") or b", ".join(filter(None, compatible))).strip(b"\0")
    name = model.decode(errors="replace") or "nothing"
    raise SimulationError(
        f"cannot simulate: the plan's device tree describes {name}, with a firmware of its own "
        "that its kernel calls; QEMU's pseries machine has another",
        hint="what can be simulated are plans for guests of QEMU and KVM",
    )


def _check_heard(plan: SegmentPlan) -> None:
    words = split_words(plan.cmdline)
    consoles = [word for word in words if word.startswith(b"console=")]
    console = b"console=" + PPC64LE.simulated_tty
    if consoles and not any(word.startswith(console) for word in consoles):
        raise SimulationError(
            "cannot simulate: the plan's command line has no console on the virtual terminal, "
            "so that the new kernel would not be heard",
            hint=f"plan with {console.decode()} in --append",
        )


def _memory(plan: SegmentPlan, root: Node) -> int:
    """Return how much there has to be: the board has it in one stretch."""
    told = RangeSet([*installed(root), *told_ram(plan)])
    end = max((item.end for item in told), default=0)
    if not end or min(told).start:
        raise SimulationError(
            "cannot simulate: the emulated machine has memory from address 0 on, and the plan's "
            f"device tree tells of {next(iter(told), 'none')}"
        )
    return end + -end % _RAM_UNIT


def _check_table(root: Node, memory: int) -> None:
    """Refuse a hashed page table of another size than the hypervisor gives: nothing would be found.

    It is that of the memory at the start; radix tables are the kernel's own.
    """
    vector = _vector(root)
    if vector[_MMU_AT] & _MMU == _RADIX:
        return
    given = max((memory - 1).bit_length() - _TABLE_SHIFT, _TABLE_ORDER_MIN)
    for order in told_orders(root) - {given}:
        raise SimulationError(
            f"cannot simulate: the plan's device tree has a hashed page table of "
            f"{format_size(1 << order)}, and QEMU gives a machine with {format_size(memory)} of "
            f"memory one of {format_size(1 << given)}"
        )


def _vector(root: Node) -> bytes:
    """Return what the first kernel has agreed with the hypervisor, with the length before it."""
    chosen = find_chosen(root)
    value = (chosen.get(_ARCHITECTURE) if chosen is not None else None) or b""
    if not _MMU_AT < len(value) <= _VECTORS_END - _VECTORS - 64 or value[0] + 2 != len(value):
        raise SimulationError(
            f"cannot simulate: the plan's device tree does not say in {_ARCHITECTURE} what its "
            "first kernel has agreed with the hypervisor"
        )
    return value


def _processors(root: Node) -> tuple[str, int, int, int]:
    """Return QEMU's name, the version that they are to behave as, cores, and threads of each."""
    cpus = root.child("cpus")
    found = [node for node in cpus.children if node.get("device_type") == b"cpu\0"] if cpus else []
    names = {node.name.partition("@")[0] for node in found}
    threads = {len(node.get("ibm,ppc-interrupt-server#s") or b"") // 4 for node in found}
    versions = {number(node, "cpu-version") for node in found}
    known = names & set(_CPUS)
    if len(names) != 1 or len(threads) != 1 or len(versions) != 1 or not known:
        raise SimulationError(
            f"cannot simulate: the plan's device tree has processors "
            f"{', '.join(sorted(names)) or 'of no kind'}; {', '.join(_CPUS)} can be emulated, all "
            "of one kind"
        )
    (each,), (version,) = threads, versions
    if not 1 <= len(found) * each <= _CPUS_MAX or version is None:
        raise SimulationError(
            f"cannot simulate: the plan's device tree has "
            f"{counted(len(found) * each, 'processor')}, 1 to {_CPUS_MAX} can be emulated"
        )
    return _CPUS[known.pop()], version, len(found), each


def _told_hypervisor(guest: _Guest) -> bytes:
    """Return what the hypervisor is told: processor versions up to one of no mask, and vectors."""
    versions = (0xFFFFFFFF, guest.version, 0, 0xFFFFFFFF)
    vectors = (_ISA_AT_3_0, *[_NOTHING] * 3, _vector(guest.root), _NOTHING)
    listed = b"".join(word.to_bytes(4, "big") for word in versions)
    return listed + bytes([len(vectors) - 1]) + b"".join(vectors)


def _terminal(root: Node) -> int:
    """Return the unit address of the virtual terminal, which the board is given."""
    devices = root.child("vdevice")
    for node in devices.children if devices is not None else ():
        unit = number(node, "reg")
        if node.get("compatible") == b"hvterm1\0" and unit is not None:
            return unit
    raise SimulationError("cannot simulate: the plan's device tree has no virtual terminal")


def _firmware(guest: _Guest) -> tuple[tuple[int, bytes], ...]:
    """Return RTAS, where the tree says that it is."""
    entry = number(guest.root.child("rtas"), "linux,rtas-entry")
    if entry is None or not Range(0, guest.memory).contains(Range.sized(entry, len(_RTAS))):
        raise SimulationError("cannot simulate: the plan's device tree does not say where RTAS is")
    return ((entry, _RTAS),)


def _head(plan: SegmentPlan) -> bytes:
    """Return what the running kernel copies to address 0 before it leaves."""
    segment = plan.segment_at(plan.entry)
    if segment is None:
        return b""
    offset = plan.entry - segment.dest.start
    return bytes(segment.data[offset : offset + _HEAD_SIZE])


def _settle(read: Callable[[int, int], bytes]) -> tuple[tuple[int, bytes], ...]:
    """Insist on that the hypervisor has agreed."""
    result = int.from_bytes(read(_RESULT, 8), "big", signed=True)
    if result:
        raise SimulationError(
            f"the emulated hypervisor does not take what the plan's device tree says in "
            f"{_ARCHITECTURE} (error {result})"
        )
    return ()
