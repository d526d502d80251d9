"""The emulated machine for a ppc64le plan: read off its tree, and refused where there is none."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pykexec.errors import SimulationError
from pykexec.planning.plans import SegmentPlan
from pykexec.purgatory_objects import load_start
from pykexec.simulation.emulated import Bank, EmulatedMachine
from pykexec.simulation.rooms import emulate, simulation_room
from pykexec.values.calls import Target
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, KIB, MIB
from tests.builders.device_trees import Spec
from tests.builders.ppc64le import CRASH_REGION, RAM, build_facts, build_plan, build_tree

RADIX, HASH = 0x40, 0
UNIT = 0x7100_0000
ENTRY_OF_RTAS = 0x2FFF_0000
RESULT, ENTRY, VECTORS = 0x110, 0x118, 0x120
ARCH_3_00 = 0x0F00_0005
TABLE = 24
"""log2 of the bytes of a hashed page table for 2 GiB."""


def agreed(mmu: int = RADIX) -> bytes:
    """Return option vector 5, as the tree has it."""
    vector = bytearray(27)
    vector[0] = 25
    vector[0x18] = mmu
    return bytes(vector)


def processors(*names: str, threads: int = 1, version: int = ARCH_3_00, order: int = TABLE) -> Spec:
    """Return the node of all processors."""
    nodes = (
        Spec(
            f"{name}@{number:x}",
            {
                "device_type": "cpu",
                "reg": [number * threads],
                "cpu-version": [version],
                "ibm,ppc-interrupt-server#s": list(range(threads)),
                "ibm,pft-size": [0, order],
            },
        )
        for number, name in enumerate(names)
    )
    return Spec("cpus", {"#address-cells": [1], "#size-cells": [0]}, tuple(nodes))


def terminal(unit: int = UNIT) -> Spec:
    """Return the node of the virtual terminal, beside another device."""
    vty = Spec(f"vty@{unit:x}", {"compatible": "hvterm1", "reg": [unit]})
    nvram = Spec("nvram@71000002", {"compatible": "qemu,spapr-nvram", "reg": [0x71000002]})
    return Spec("vdevice", {"#address-cells": [1], "#size-cells": [0]}, (nvram, vty))


POWER9 = processors("PowerPC,POWER9")
RTAS = {"linux,rtas-entry": [ENTRY_OF_RTAS]}


def guest(*children: Spec, mmu: int = RADIX, **more: Any) -> bytes:
    """Build the tree of a guest of QEMU's, in as far as it is looked at."""
    given: dict[str, Any] = {
        "chosen": {"ibm,architecture-vec-5": agreed(mmu)},
        "processors": POWER9,
        "rtas": RTAS,
    }
    given |= more
    ram, chosen = given.pop("ram", RAM), given.pop("chosen")
    return build_tree(ram, chosen, *(children or (terminal(),)), **given)


def plan_for(tree: bytes, cmdline: bytes = b"console=hvc0", **more: Any) -> SegmentPlan:
    return build_plan(build_facts(device_tree=tree), cmdline=cmdline, **more)


def told(machine: EmulatedMachine) -> bytes:
    """Return what the start program tells the hypervisor."""
    assert machine.start is not None
    return machine.start.image[VECTORS:0x200]


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (guest(), ("power9", "1,cores=1,threads=1", UNIT)),
        (
            guest(terminal(0x30000000), processors=processors(*["PowerPC,POWER10"] * 2)),
            ("power10", "2,cores=2,threads=1", 0x30000000),
        ),
        (
            guest(processors=processors(*["PowerPC,POWER8"] * 2, threads=4)),
            ("power8", "8,cores=2,threads=4", UNIT),
        ),
        (guest(mmu=HASH), ("power9", "1,cores=1,threads=1", UNIT)),
    ],
)
def test_the_machine_is_as_the_tree_says(tree: bytes, words: tuple[str, str, int]) -> None:
    machine = emulate(plan_for(tree))
    cpu, cpus, unit = words
    terminal_words = ("-global", f"spapr-vty.reg={unit:#x}")
    assert machine.words == ("-nodefaults", "-cpu", cpu, "-smp", cpus, *terminal_words)
    assert machine.board.startswith("pseries,")
    assert machine.banks == (Bank(Range(0, 2 * GIB), 0),)
    assert machine.memory == 2 * GIB


def test_memory_is_whole_blocks() -> None:
    ram = (Range(0, 2 * GIB - 64 * MIB),)
    machine = emulate(build_plan(build_facts(ram, device_tree=guest(ram=ram))))
    assert machine.memory == 2 * GIB


def test_the_start_program_is_told_what_a_kernel_knows() -> None:
    plan = plan_for(guest())
    machine = emulate(plan)
    assert machine.start is not None
    image, own = machine.start.image, load_start("ppc64le")
    assert machine.start.option == "-bios"
    assert image[:ENTRY] == own[:ENTRY]
    assert image[0x200:] == own[0x200:]
    assert image[ENTRY:VECTORS] == plan.entry.to_bytes(8, "big")
    versions = b"\xff\xff\xff\xff\x0f\0\0\5" + b"\0\0\0\0\xff\xff\xff\xff"
    vectors = b"\5" + bytes.fromhex("0200ffc0") + bytes(6) + agreed() + bytes(2)
    assert told(machine).rstrip(b"\0") == (versions + vectors).rstrip(b"\0")


@pytest.mark.parametrize("target", [Target.NORMAL, Target.CRASH])
def test_memory_is_as_the_running_kernel_leaves_it(target: Target) -> None:
    facts = build_facts(RAM, [CRASH_REGION], device_tree=guest())
    plan = build_plan(facts, target=target)
    purgatory = plan.segment(Role.PURGATORY)
    assert purgatory is not None
    contents = dict(emulate(plan).contents)
    assert contents[0] == bytes(purgatory.data[:0x100])
    # mr r4,r3; r3 = 0xf000; sc 1; blr
    assert contents[ENTRY_OF_RTAS].hex(" ", 4) == "7c641b78 3c600000 6063f000 44000022 4e800020"
    assert set(contents) >= {item.dest.start for item in plan.segments}


@pytest.mark.parametrize(
    ("tree", "cmdline", "message"),
    [
        (guest(root={"compatible": "IBM,9009-22A", "model": "IBM,9009-22A"}), b"",
         "describes IBM,9009-22A, with a firmware of its own"),
        (guest(root={"compatible": ""}), b"", "describes nothing, with"),
        (guest(), b"console=tty0", "no console on the virtual terminal"),
        (guest(Spec("vdevice", {})), b"", "has no virtual terminal"),
        (guest(chosen={}), b"", "does not say in ibm,architecture-vec-5"),
        (guest(chosen={"ibm,architecture-vec-5": agreed()[:-1]}), b"", "does not say in ibm,arch"),
        (guest(rtas={}), b"", "does not say where RTAS is"),
        (guest(rtas={"linux,rtas-entry": [0x8000_0000 - 4]}), b"", "does not say where RTAS is"),
        (guest(processors=processors()), b"", "has processors of no kind; PowerPC,POWER8, "),
        (guest(processors=processors("PowerPC,POWER7")), b"", "has processors PowerPC,POWER7; "),
        (guest(processors=processors("PowerPC,POWER8", "PowerPC,POWER9")), b"", "all of one kind"),
        (guest(processors=processors(*["PowerPC,POWER9"] * 9)), b"", "has 9 processors, 1 to 8"),
        (guest(mmu=HASH, processors=processors("PowerPC,POWER9", order=25)), b"",
         "page table of 32 MiB, and QEMU gives a machine with 2 GiB of memory one of 16 MiB"),
    ],
)  # fmt: skip
def test_another_machine_is_refused(tree: bytes, cmdline: bytes, message: str) -> None:
    with pytest.raises(SimulationError, match=re.escape(message)):
        emulate(plan_for(tree, cmdline))


def test_no_tree_and_no_memory_at_the_start() -> None:
    plan = plan_for(guest())
    with pytest.raises(SimulationError, match="the plan has no device tree"):
        emulate(replace(plan, segments=tuple(s for s in plan.segments if s.role is not Role.DTB)))
    with pytest.raises(SimulationError, match="cannot simulate: malformed device tree"):
        emulate(plan.with_data(Role.DTB, bytes.fromhex("d00dfeed") + bytes(60)))
    plan = plan.with_data(Role.DTB, guest(ram=(Range(GIB, 2 * GIB),)))
    above = tuple(item for item in plan.segments if item.dest.start >= GIB or item.role is Role.DTB)
    with pytest.raises(SimulationError, match="tells of 0x"):
        emulate(replace(plan, segments=above, memory_map=replace(plan.memory_map, regions=())))


def test_a_plan_on_the_start_program_is_refused() -> None:
    plan = plan_for(guest())
    initrd = plan.segment(Role.INITRD)
    assert initrd is not None
    moved = replace(initrd, dest=Range.sized(0, 4 * KIB))
    others = tuple(item for item in plan.segments if item.role is not Role.INITRD)
    with pytest.raises(SimulationError, match="which the start program uses"):
        emulate(replace(plan, segments=(*others, moved)))


def answering(result: int) -> Callable[[int, int], bytes]:
    """Return a reader of a memory in which the start program has left ``result``."""

    def read(address: int, size: int) -> bytes:
        assert address == RESULT
        return result.to_bytes(size, "big", signed=True)

    return read


def test_the_hypervisor_has_to_agree() -> None:
    start = emulate(plan_for(guest())).start
    assert start is not None
    assert start.settle(answering(0)) == ()
    with pytest.raises(SimulationError, match=r"does not take .* \(error -4\)"):
        start.settle(answering(-4))


def test_an_entry_in_no_segment_leaves_nothing_at_the_start() -> None:
    plan = replace(plan_for(guest()), entry=0x1000_0000)
    assert dict(emulate(plan).contents)[0] == b""


def test_where_the_processor_stands() -> None:
    room = simulation_room("ppc64le")
    shown = "NIP 0000000000000700   LR 0000000000000000 CTR 0000000000000000 XER\n"
    match = room.COUNTER.search(shown)
    assert match is not None
    assert room.VECTORS is not None
    assert room.VECTORS.contains(Range.sized(int(match[1], 16), 4))
