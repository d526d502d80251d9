"""The emulated machine for an s390x plan: what the start program is told, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pykexec.planning.plans import SegmentPlan
from pykexec.purgatory_objects import load_start
from pykexec.simulation.emulated import StartProgram
from pykexec.simulation.rooms import emulate
from pykexec.simulation.s390x import COUNTER
from pykexec.values.calls import Target
from pykexec.values.errors import SimulationError
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from tests.builders.s390x import build_facts, build_plan


def start_of(plan: SegmentPlan) -> StartProgram:
    start = emulate(plan).start
    assert start is not None
    return start


@pytest.mark.parametrize("crash", [False, True])
def test_the_machine(crash: bool) -> None:
    plan = build_plan(build_facts(crash=crash), target=Target.CRASH if crash else Target.NORMAL)
    machine = emulate(plan)
    # A capture kernel is told of the beginning alone; where it was loaded is beyond.
    assert machine.memory == (GIB if crash else 4 * GIB)
    assert machine.locate(plan.segments[-1].dest) == plan.segments[-1].dest.start
    start, own = start_of(plan), load_start("s390x")
    assert start.image[0x208:0x218] == plan.entry.to_bytes(8, "big") + crash.to_bytes(8, "big")
    assert (start.image[:0x208], start.image[0x218:]) == (own[:0x208], own[0x218:])
    # A short PSW in 31 bits, to the first instruction behind the parameters.
    assert own[:8] == bytes.fromhex("0008000080000218")
    assert len(own) < 0x1000
    assert start.settle(lambda _address, _size: b"") == ()
    written = {address: bytes(data) for address, data in machine.contents}
    kernel = plan.segment(Role.KERNEL)
    assert kernel is not None
    assert written[kernel.dest.start] == bytes(kernel.data)


def test_memory_is_a_whole_number_of_pieces() -> None:
    facts = build_facts()
    (entry,) = facts.iomem
    facts = replace(facts, iomem=(replace(entry, range=Range(0, 4 * GIB - MIB)),))
    assert emulate(build_plan(facts)).memory == 4 * GIB


def test_what_lies_on_the_start_program() -> None:
    plan = build_plan(build_facts())
    first, *rest = plan.segments
    moved = replace(first, dest=Range.sized(0x3000, first.dest.size))
    with pytest.raises(SimulationError, match="lies on 0x0-0x3fff, which the start program uses"):
        emulate(replace(plan, segments=(moved, *rest)))


def test_where_the_processor_stands() -> None:
    said = "CPU#0\nPSW=mask 0002000180000000 addr 0000000050590004 cc 00\nR00=0"
    (counter,) = COUNTER.findall(said)
    assert int(counter, 16) == 0x50590004
