"""A simulation as JSON, without an emulator."""

from __future__ import annotations

from pykexec.render.simulation import Simulation, simulation_value
from pykexec.simulation.rooms import emulate
from pykexec.simulation.verdict import Step, Verdict
from pykexec.values.ranges import Range
from pykexec.values.units import MIB
from tests.builders.plans import build_facts, build_plan
from tests.json_schemas import validate


def test_it_keeps_to_the_schema() -> None:
    ram = (Range(0, 640 << 10), Range(1 * MIB, 512 * MIB))
    plan = build_plan(build_facts(ram), cmdline=b"console=ttyS0")
    steps = (Step(0.125, "Linux 6.12 has started"),)
    done = Simulation(plan, emulate(plan), 1.0, steps, 2.5, Verdict(True, "it runs"), "a\nb\n")
    value = simulation_value(done, ["console=ttyS0 is added"])
    validate(value)
    assert value["steps"] == [{"seconds": 0.12, "text": "Linux 6.12 has started"}]
    assert value["console"] == ["a", "b"]
