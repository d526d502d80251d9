"""A simulation as text and as JSON: schema ``pykexec.simulation/1``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.render.lines import wrapped
from pykexec.values.data_classes import dataclass
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.planning.plans import SegmentPlan
    from pykexec.simulation.emulated import EmulatedMachine
    from pykexec.simulation.verdict import Step, Verdict

TAIL = 20
"""Lines of the console to show where nobody asked for all."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What was simulated, and what came of it."""

    plan: SegmentPlan
    machine: EmulatedMachine
    seconds_before: float
    """From the start of the emulation until the plan was entered."""
    steps: tuple[Step, ...]
    seconds: float
    """From the entry to the verdict."""
    verdict: Verdict
    console: str


def machine_text(plan: SegmentPlan, machine: EmulatedMachine) -> str:
    """Return the lines above a simulation."""
    size = sum(segment.dest.size for segment in plan.segments)
    return (
        f"machine:  {machine.title}, {format_size(machine.memory)} of RAM, emulated\n"
        f"plan:     {plan.target.value}, {counted(len(plan.segments), 'segment')}, "
        f"{format_size(size)}, "
        f"entered at {plan.entry:#x}\n"
    )


def changes_text(changes: Sequence[str]) -> str:
    """Return a line for each thing that was changed of the command line asked for."""
    lines = (wrapped(f"changed:  {change}", indent="", hanging=" " * 10) for change in changes)
    return "".join(f"{line}\n" for line in lines)


def step_text(step: Step) -> str:
    """Return the line that tells of a step while it happens."""
    return f"{step.seconds:7.1f} s  {step.text}\n"


def verdict_text(simulation: Simulation, *, with_console: bool) -> str:
    """Return the lines below a simulation: the verdict, and for a failure the console's end."""
    verdict = simulation.verdict
    word = "the layout boots" if verdict.booted else "the layout does not boot"
    text = f"verdict:  {word}: {verdict.reason}\n"
    if verdict.booted or with_console:
        return text
    lines = [line for line in simulation.console.splitlines() if line.strip()][-TAIL:]
    shown = "".join(f"  | {line}\n" for line in lines)
    return text + (f"console, last {counted(len(lines), 'line')}:\n{shown}" if lines else "")


def simulation_value(simulation: Simulation, changes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the simulation as what JSON can say; ``changes`` as in :func:`changes_text`."""
    machine = simulation.machine
    return {
        "schema": "pykexec.simulation/1",
        "booted": simulation.verdict.booted,
        "reason": simulation.verdict.reason,
        "arch": simulation.plan.arch,
        "target": simulation.plan.target.value,
        "entry": f"{simulation.plan.entry:#x}",
        "cmdline": simulation.plan.cmdline.decode("utf-8", "backslashreplace"),
        "changes": list(changes),
        "machine": {
            "program": machine.program,
            "board": machine.board,
            "title": machine.title,
            "memory": machine.memory,
        },
        "seconds_before_entry": round(simulation.seconds_before, 2),
        "seconds": round(simulation.seconds, 2),
        "steps": [
            {"seconds": round(step.seconds, 2), "text": step.text} for step in simulation.steps
        ],
        "console": simulation.console.splitlines(),
    }
