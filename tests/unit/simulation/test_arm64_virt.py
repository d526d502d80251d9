"""The emulated board for an arm64 plan: read off its tree, and refused where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from pykexec.errors import SimulationError
from pykexec.planning.plans import SegmentPlan
from pykexec.simulation.emulated import Bank
from pykexec.simulation.rooms import emulate
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from tests.builders.arm64 import build_facts, build_plan
from tests.builders.device_trees import Spec, board, build_blob, wide

RAM = Range(GIB, 2 * GIB)
STDOUT = {"stdout-path": "/pl011@9000000"}
UART = Spec("pl011@9000000", {"compatible": "arm,pl011", "reg": wide(0x9000000, 0x1000)})
CPU = {"device_type": "cpu", "compatible": "arm,cortex-a57"}


def virt(
    chosen: Mapping[str, bytes | str] | None = None,
    *,
    compatible: str = "linux,dummy-virt",
    cpus: int = 1,
    gic: str = "arm,gic-v3",
    its: bool = False,
    psci: str = "hvc",
    ecam: int = 0x4010000000,
    uart: Sequence[Spec] = (UART,),
    memory: Sequence[Range] = (RAM,),
) -> bytes:
    """Build the tree of a virt board, in as far as it is looked at."""
    nodes = (
        *uart,
        Spec("cpus", {}, tuple(Spec(f"cpu@{number}", CPU) for number in range(cpus))),
        Spec("intc@8000000", {"compatible": gic}, (Spec("its@8080000"),) if its else ()),
        Spec("pcie@10000000", {"reg": wide(ecam, 0x10000000)}),
        Spec("psci", {"method": psci}),
    )
    root = board(chosen or STDOUT, *nodes, memory=[(item.start, item.size) for item in memory])
    return build_blob(replace(root, properties={**root.properties, "compatible": compatible}))


def plan_for(tree: bytes, cmdline: bytes = b"quiet") -> SegmentPlan:
    return build_plan(build_facts([RAM], device_tree=tree), cmdline=cmdline)


@pytest.mark.parametrize(
    ("tree", "words", "cpus"),
    [
        (virt(), "virt,gic-version=3,its=off", 1),
        (virt(its=True, cpus=4), "virt,gic-version=3,its=on", 4),
        (virt(gic="arm,cortex-a15-gic"), "virt,gic-version=2", 1),
        (virt(ecam=0x3F000000), "virt,gic-version=3,its=off,highmem=off", 1),
        (virt(psci="smc"), "virt,gic-version=3,its=off,virtualization=on", 1),
    ],
)
def test_the_board_is_as_the_tree_says(tree: bytes, words: str, cpus: int) -> None:
    plan = plan_for(tree)
    machine = emulate(plan)
    assert machine.board == words
    assert machine.words[machine.words.index("-smp") + 1] == str(cpus)
    assert f"loader,addr={plan.entry:#x},cpu-num=0" in machine.words
    assert machine.start is None
    assert machine.banks == (Bank(Range(GIB, 2 * GIB), 0),)
    assert {address for address, _ in machine.contents} >= {s.dest.start for s in plan.segments}


def test_memory_that_only_the_tree_tells_of_is_there() -> None:
    memory = (Range(GIB, 2 * GIB), Range(2 * GIB, 3 * GIB + MIB))
    machine = emulate(plan_for(virt(memory=memory)))
    assert machine.memory == 2 * GIB + MIB


@pytest.mark.parametrize(
    ("tree", "cmdline", "message"),
    [
        (virt(compatible="raspberrypi,4-model-b"), b"", "describes raspberrypi,4-model-b, and"),
        (virt(uart=()), b"", "describes linux,dummy-virt, and QEMU's virt board has other devices"),
        (virt({"linux,uefi-system-table": wide(1)}), b"", "hands EFI over"),
        (virt({"a": "b"}), b"quiet", "no serial console"),
        (virt(), b"console=tty0", "no serial console"),
        (virt(cpus=0), b"", "has 0 processors, 1 to 8 can be emulated"),
        (virt(cpus=9), b"", "has 9 processors"),
        (virt(memory=[Range(0, GIB), RAM]), b"", "the plan uses 0x0-0x3fffffff"),
        (virt(memory=[]), b"", "the plan uses none that its tree tells of"),
    ],
)
def test_another_machine_is_refused(tree: bytes, cmdline: bytes, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        emulate(plan_for(tree, cmdline))


@pytest.mark.parametrize(
    ("chosen", "cmdline"),
    [
        (STDOUT, b"quiet"),
        ({"a": "b"}, b"console=ttyAMA0,115200"),
        ({"a": "b"}, b"earlycon=pl011,0x9000000 console=tty0"),
    ],
)
def test_a_kernel_that_will_be_heard_is_taken(
    chosen: Mapping[str, bytes | str], cmdline: bytes
) -> None:
    assert emulate(plan_for(virt(chosen), cmdline))


@pytest.mark.parametrize(
    ("data", "message"), [(None, "the plan has no device tree"), (b"\0" * 64, "not a device tree")]
)
def test_a_plan_without_a_tree_is_refused(data: bytes | None, message: str) -> None:
    plan = plan_for(virt())
    if data is None:
        others = tuple(item for item in plan.segments if item.role is not Role.DTB)
        plan = replace(plan, segments=others)
    else:
        plan = plan.with_data(Role.DTB, data)
    with pytest.raises(SimulationError, match=message):
        emulate(plan)
