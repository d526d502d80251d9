"""The emulated board for a plan of arm: read off its tree, and refused where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pykexec.errors import SimulationError
from pykexec.planning.plans import SegmentPlan
from pykexec.simulation.arm import COUNTER
from pykexec.simulation.emulated import Bank
from pykexec.simulation.rooms import emulate
from pykexec.values.ranges import Range
from pykexec.values.units import GIB
from tests.builders.arm import build_facts, build_plan
from tests.builders.device_trees import Spec, board, build_blob, wide

RAM = Range(GIB, 2 * GIB)
UART = Spec("pl011@9000000", {"compatible": "arm,pl011", "reg": wide(0x9000000, 0x1000)})
CPU = {"device_type": "cpu", "compatible": "arm,cortex-a15"}


def virt(
    *,
    compatible: str = "linux,dummy-virt",
    cpus: int = 1,
    psci: str = "hvc",
    ecam: int = 0x4010000000,
    uart: Sequence[Spec] = (UART,),
) -> bytes:
    """Build the tree of a virt board, in as far as it is looked at."""
    nodes = (
        *uart,
        Spec("cpus", {}, tuple(Spec(f"cpu@{number}", CPU) for number in range(cpus))),
        Spec("pcie@10000000", {"reg": wide(ecam, 0x10000000)}),
        Spec("psci", {"method": psci}),
    )
    root = board({"stdout-path": "/pl011@9000000"}, *nodes, memory=[(RAM.start, RAM.size)])
    return build_blob(replace(root, properties={**root.properties, "compatible": compatible}))


def plan_for(tree: bytes, cmdline: bytes = b"quiet") -> SegmentPlan:
    return build_plan(build_facts([RAM], device_tree=tree), cmdline=cmdline)


@pytest.mark.parametrize(
    ("tree", "words", "cpus"),
    [
        (virt(), "virt,gic-version=2", 1),
        (virt(cpus=4, ecam=0x3F000000), "virt,gic-version=2,highmem=off", 4),
        (virt(psci="smc"), "virt,gic-version=2,virtualization=on", 1),
    ],
)
def test_the_board_is_as_the_tree_says(tree: bytes, words: str, cpus: int) -> None:
    plan = plan_for(tree)
    machine = emulate(plan)
    assert machine.program == "qemu-system-arm"
    assert machine.board == words
    assert machine.words[machine.words.index("-smp") + 1] == str(cpus)
    assert f"loader,addr={plan.entry:#x},cpu-num=0" in machine.words
    assert machine.start is None
    assert machine.banks == (Bank(RAM, 0),)
    assert {address for address, _ in machine.contents} >= {s.dest.start for s in plan.segments}


@pytest.mark.parametrize(
    ("tree", "cmdline", "message"),
    [
        (virt(compatible="ti,omap5"), b"", "describes ti,omap5"),
        (virt(uart=()), b"", "QEMU's virt board has other devices"),
        (virt(), b"console=tty0", "no serial console"),
    ],
)
def test_refusals(tree: bytes, cmdline: bytes, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        emulate(plan_for(tree, cmdline))


def test_where_the_processor_stands() -> None:
    found = COUNTER.search("R12=00000000 R13=41b58ff0 R14=41b51034 R15=41608000\n")
    assert found is not None
    assert found[1] == "41608000"
