"""The emulated board for a riscv64 plan: read off its tree, and refused where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from pykexec.errors import SimulationError
from pykexec.planning.plans import SegmentPlan
from pykexec.purgatory_objects import load_start
from pykexec.simulation.emulated import Bank, EmulatedMachine
from pykexec.simulation.riscv64 import START, UART
from pykexec.simulation.rooms import emulate
from pykexec.values.calls import Target
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, KIB, MIB
from tests.builders.device_trees import Spec, board, build_blob, wide
from tests.builders.riscv64 import DRAM, OPENSBI, RAM, build_facts, build_image, build_plan, opensbi

STDOUT = {"stdout-path": f"/soc/serial@{UART:x}"}
CONSOLE = Spec(f"serial@{UART:x}", {"compatible": "ns16550a", "reg": wide(UART, 0x100)})
ISA = "rv64imafdch_zicsr_zifencei_zihintpause_zba_zbb_zbc_zbs_sstc"
STATE, INFO, TREE, VECTOR, TARGET, ENTRY = (START + 8 * number for number in range(1, 7))


def virt(
    chosen: Mapping[str, bytes | str] | None = None,
    *,
    compatible: str = "riscv-virtio",
    cpus: int = 1,
    isa: Mapping[str, bytes | str] | None = None,
    soc: Sequence[Spec] = (CONSOLE, Spec("plic@c000000"), Spec("clint@2000000")),
    memory: Sequence[Range] = RAM,
    reserved: Sequence[Spec] = (opensbi(),),
    more: Sequence[Spec] = (),
) -> bytes:
    """Build the tree of a virt board, in as far as it is looked at."""
    cpu = {"device_type": "cpu", "compatible": "riscv", **(isa or {"riscv,isa": ISA})}
    nodes = (
        Spec("cpus", {}, tuple(Spec(f"cpu@{number}", cpu) for number in range(cpus))),
        Spec("soc", {"#address-cells": [2], "#size-cells": [2]}, tuple(soc)),
        *reserved,
        *more,
    )
    root = board(chosen or STDOUT, *nodes, memory=[(item.start, item.size) for item in memory])
    return build_blob(replace(root, properties={**root.properties, "compatible": compatible}))


def plan_for(
    tree: bytes, cmdline: bytes = b"quiet", ram: Sequence[Range] = RAM, **more: object
) -> SegmentPlan:
    return build_plan(build_facts(ram, device_tree=tree), cmdline=cmdline, **more)


def written(machine: EmulatedMachine, address: int) -> int:
    """Return the word that the start program finds at ``address``."""
    return int.from_bytes(dict(machine.contents)[address], "little")


@pytest.mark.parametrize(
    ("tree", "board", "cpu", "cpus"),
    [
        (virt(), "virt", "rv64", 1),
        (virt(soc=(Spec("uart@10000000"), Spec("plic@c000000")), cpus=4), "virt", "rv64", 4),
        (virt(isa={"riscv,isa": "rv64imafdcsu"}), "virt", "max", 1),
        (virt(isa={"riscv,isa": "rv64gc_zba"}), "virt", "rv64", 1),
        (virt(isa={"riscv,isa": ISA + "_zicboz"}), "virt", "max", 1),
        (virt(isa={"riscv,isa-extensions": b"i\0m\0zba\0"}), "virt", "rv64", 1),
        # The list counts where there are both.
        (
            virt(isa={"riscv,isa": "rv64imac", "riscv,isa-extensions": b"i\0m\0v\0"}),
            "virt",
            "max",
            1,
        ),
        (virt(soc=(CONSOLE, Spec("aplic@d000000"))), "virt,aia=aplic", "rv64", 1),
        (
            virt(soc=(CONSOLE, Spec("aplic@d000000"), Spec("imsics@28000000"))),
            "virt,aia=aplic-imsic",
            "rv64",
            1,
        ),
        (
            virt(soc=(CONSOLE, Spec("plic@c000000"), Spec("mswi@2000000"))),
            "virt,aclint=on",
            "rv64",
            1,
        ),
    ],
)
def test_the_board_is_as_the_tree_says(tree: bytes, board: str, cpu: str, cpus: int) -> None:
    machine = emulate(plan_for(tree))
    assert machine.board == board
    assert machine.words == ("-cpu", cpu, "-smp", str(cpus))
    assert machine.banks == (Bank(RAM[0], 0),)
    assert machine.memory == 2 * GIB


def test_the_start_program_is_told_what_a_kernel_knows() -> None:
    plan = plan_for(virt())
    machine = emulate(plan)
    assert machine.start is not None
    assert machine.start.image == load_start("riscv64")
    tree = plan.segment(Role.DTB)
    assert tree is not None
    assert written(machine, TREE) == tree.dest.start
    assert written(machine, TARGET) == written(machine, ENTRY) == plan.entry
    # A loop of the program's own, at a multiple of 4: the two lowest bits are a mode.
    assert written(machine, VECTOR) == START + 4
    assert {address for address, _ in machine.contents} >= {s.dest.start for s in plan.segments}


def crash_plan() -> SegmentPlan:
    region = Range.sized(DRAM + GIB, 256 * MIB)
    children = (IomemEntry(region, "Crash kernel"),)
    facts = build_facts(RAM, children, device_tree=virt())
    return build_plan(facts, target=Target.CRASH)


def test_after_a_crash_the_way_is_by_the_vector() -> None:
    plan = crash_plan()
    machine = emulate(plan)
    assert written(machine, VECTOR) == written(machine, ENTRY) == plan.entry
    assert written(machine, TARGET) == 0xFFFFFFFF80000000
    assert machine.banks == (Bank(RAM[0], 0),)


def test_the_first_tree_is_handed_on_whatever_it_is() -> None:
    plan = plan_for(virt())
    initrd = plan.segment(Role.INITRD)
    assert initrd is not None
    false = bytes.fromhex("d00dfeed") + bytes(initrd.data)[4:]
    plan = plan.with_data(Role.INITRD, false)
    others = tuple(item for item in plan.segments if item.role is not Role.INITRD)
    moved = next(item for item in plan.segments if item.role is Role.INITRD)
    machine = emulate(replace(plan, segments=(moved, *others)))
    assert written(machine, TREE) == initrd.dest.start


@pytest.mark.parametrize(
    ("tree", "cmdline", "message"),
    [
        (virt(compatible="starfive,jh7110"), b"", "describes starfive,jh7110, and"),
        (virt(soc=()), b"", "describes riscv-virtio, and QEMU's virt board has other devices"),
        (virt({"linux,uefi-system-table": wide(1)}), b"", "hands EFI over"),
        (virt({"a": "b"}), b"quiet", "no serial console"),
        (virt(), b"console=tty0", "no serial console"),
        (virt(cpus=0), b"", "has 0 processors, 1 to 8 can be emulated"),
        (virt(cpus=9), b"", "has 9 processors"),
        (virt(memory=[Range(GIB, DRAM), *RAM]), b"", "the plan uses 0x40000000-0x7fffffff"),
        (virt(memory=[]), b"", "the plan uses none that its tree tells of"),
        (virt(more=[Spec("memory@1", {"numa-node-id": [1]})]), b"", "several NUMA nodes"),
    ],
)
def test_another_machine_is_refused(tree: bytes, cmdline: bytes, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        emulate(plan_for(tree, cmdline))


@pytest.mark.parametrize("place", [START, START + 0xFFF, START - 0x1000])
def test_a_plan_on_the_start_program_is_refused(place: int) -> None:
    plan = plan_for(virt())
    initrd = plan.segment(Role.INITRD)
    assert initrd is not None
    moved = replace(initrd, dest=Range.sized(place, 0x3000))
    others = tuple(item for item in plan.segments if item.role is not Role.INITRD)
    with pytest.raises(SimulationError, match="which the start program uses"):
        emulate(replace(plan, segments=(*others, moved)))


def firmware(tree: bytes) -> Callable[[int, int], bytes]:
    """Return a reader of a memory in which the firmware has left ``tree``."""
    at = DRAM + GIB

    def read(address: int, size: int) -> bytes:
        if address == INFO:
            return at.to_bytes(8, "little")
        assert address >= at
        return (tree + bytes(size))[address - at :][:size]

    return read


def settle(plan: SegmentPlan, tree: bytes) -> tuple[tuple[int, bytes], ...]:
    start = emulate(plan).start
    assert start is not None
    return start.settle(firmware(tree))


def test_a_plan_that_keeps_off_the_firmware_is_taken() -> None:
    assert settle(plan_for(virt()), virt()) == ()
    assert settle(crash_plan(), virt()) == ()


def reservation(name: str, where: Range) -> Spec:
    cells = {"#address-cells": [2], "#size-cells": [2], "ranges": b""}
    node = Spec(name, {"reg": wide(where.start, where.size), "no-map": b""})
    return Spec("reserved-memory", cells, (node,))


def test_a_plan_that_leaves_the_firmware_to_the_kernel_is_refused() -> None:
    bare = virt(reserved=())
    with pytest.raises(SimulationError, match=r"keeps 0x80000000-0x8007ffff for itself"):
        settle(plan_for(bare, ram=(Range(OPENSBI.end, RAM[0].end),)), virt())
    larger = Range(OPENSBI.start, OPENSBI.end + 256 * KIB)
    with pytest.raises(SimulationError, match=r"keeps 0x80080000-0x800bffff for itself"):
        settle(plan_for(virt()), virt(reserved=[reservation("mmode_resv0@80000000", larger)]))


def test_a_plan_on_the_firmware_is_refused() -> None:
    plan = plan_for(virt())
    kernel = plan.segment(Role.KERNEL)
    assert kernel is not None
    kept = reservation("mmode_resv0@80000000", Range(DRAM, kernel.dest.start + 1))
    with pytest.raises(SimulationError, match=r"kernel 0x8.* which the emulated firmware uses"):
        settle(plan, virt(reserved=[kept]))


def test_a_firmware_that_leaves_no_tree_is_an_error() -> None:
    with pytest.raises(SimulationError, match=r"gives no device tree at 0xc0000000: "):
        settle(plan_for(virt()), b"\0" * 64)


def test_a_large_kernel_is_no_matter() -> None:
    """One that ends where its segment ends, a multiple of 2 MiB."""
    plan = plan_for(virt(), kernel=build_image(image_size=64 * MIB))
    assert emulate(plan).banks[0].range.contains(plan.segments[0].dest)
