"""``pykexec simulate``: boots a plan in QEMU, with no kexec at all."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pykexec.cli.terminal import say
from pykexec.cli.verb_options import (
    crash_options,
    entry_options,
    json_option,
    load_options,
    machine_option,
    preserve_option,
)
from pykexec.loading.options import LoadOptions
from pykexec.render.escape import json_text
from pykexec.values.data_classes import replace
from pykexec.values.errors import (
    EXIT_FAILURE,
    CommandLineError,
    ImageError,
    PykexecError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.cli.emulator import Emulator
    from pykexec.planning.plans import SegmentPlan
    from pykexec.render.simulation import Simulation
    from pykexec.simulation.emulated import EmulatedMachine
    from pykexec.simulation.verdict import Listening, Step, Verdict
    from pykexec.values.buffers import Buffer

SILENCE = 60.0
"""Seconds without a word after which nothing more is waited for, unless told otherwise."""
_CONSOLE_MAX = 8 << 20
"""Characters of a console that goes on and on."""
_INIT_SILENCE = 5.0
"""Seconds that init may take for its first message."""
_LAST_WORDS = 1.0
"""Seconds that a dying kernel has for the rest of what it says."""
_PLAN_JSON = "plan.json"


@click.command()
@load_options
@preserve_option
@entry_options
@machine_option
@crash_options
@click.option("--crash", is_flag=True, help="Plan the load of a crash kernel.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=SILENCE,
    metavar="SECONDS",
    help=f"Give up when nothing is heard for so long; {SILENCE:.0f} unless given.",
)
@click.option(
    "--expect",
    metavar="REGEX",
    help="What the console says when all is well, instead of init's first message.",
)
@click.option(
    "--as-is",
    is_flag=True,
    help="Leave the command line as it is: no console added, nothing that mutes taken off.",
)
@click.option(
    "--log",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write all that the console says.",
)
@json_option
@click.pass_context
def simulate(
    context: click.Context,
    options: LoadOptions,
    machine: Path,
    timeout: float,
    expect: str | None,
    as_is: bool,
    log: Path | None,
    as_json: bool,
) -> None:
    """Boot a plan in QEMU, with no kexec at all, and say whether its layout holds.

    KERNEL is a kernel, as for 'pykexec plan', or a directory that 'pykexec plan --dump' wrote.
    What a kernel's command line lacks to be heard is supplied, and told of; that of a plan stays.
    Exit status: 0 it boots, 255 it does not.
    """
    from pykexec.render.simulation import (
        changes_text,
        machine_text,
        simulation_value,
        step_text,
        verdict_text,
    )
    from pykexec.simulation.emulated import check_room
    from pykexec.simulation.rooms import emulate
    from pykexec.simulation.verdict import muted

    pattern = _pattern(expect)
    plan, changes = _plan(options, machine, as_is=as_is, says_init=pattern is None)
    word = muted(plan) if pattern is None else None
    if word is not None:
        raise UsageError(
            f"the command line has {word}: the new kernel would not say that it runs its init",
            hint="plan without it, or name with --expect what the console says when all is well",
        )
    emulated = emulate(plan)
    check_room(emulated, _memory_available())

    def tell(text: str) -> None:
        say(text, end="", err=as_json)

    tell(machine_text(plan, emulated) + changes_text(changes))
    done = run(plan, emulated, pattern, timeout, lambda step: tell(step_text(step)))
    if log is not None:
        _write_log(log, done.console)
    if as_json:
        say(json_text(simulation_value(done, changes)))
    else:
        say(verdict_text(done, with_console=log is not None), end="")
    context.exit(0 if done.verdict.booted else EXIT_FAILURE)


def _pattern(expect: str | None) -> re.Pattern[str] | None:
    if expect is None:
        return None
    try:
        return re.compile(expect)
    except re.error as error:
        raise UsageError(f"--expect: {expect!r} is no regular expression: {error}") from error


def _plan(
    options: LoadOptions, root: Path, *, as_is: bool, says_init: bool
) -> tuple[SegmentPlan, tuple[str, ...]]:
    """Make the plan, or read it, and judge it where the machine is known.

    Returns it with what was changed of what was asked for, so that the new kernel is heard.
    """
    source = Path(options.kernel)
    if source.is_dir() or source.name == _PLAN_JSON:
        return _dumped(source, options, root), ()
    from pykexec.loading.planning import plan_segments, read_basis
    from pykexec.simulation.audible import make_audible

    if options.call == "file":
        raise UsageError(
            "--call file: the running kernel would choose the addresses, there is no layout to "
            "simulate",
            hint="leave --call away",
        )
    basis = read_basis(root, replace(options, call="segments"))
    if as_is:
        return plan_segments(basis), ()
    heard = make_audible(basis.request.cmdline, basis.facts.arch, says_init=says_init)
    try:
        return plan_segments(basis.with_request(cmdline=heard.cmdline)), heard.changes
    except CommandLineError as error:
        if heard.changes:
            error.hint = f"the simulation changes it ({'; '.join(heard.changes)}): try --as-is"
        raise


def _dumped(source: Path, options: LoadOptions, root: Path) -> SegmentPlan:
    from pykexec.loading.files import map_file
    from pykexec.simulation.dumped import parse_dump

    if options != LoadOptions(options.kernel):
        raise UsageError(
            f"{source} is a plan already: options of a load do not change it",
            hint="give them to 'pykexec plan --dump', or give a kernel here",
        )
    directory = source if source.is_dir() else source.parent

    def read_data(index: int) -> Buffer:
        # Not only to spare memory: what is mapped is a regular file.
        return map_file(os.fspath(directory / f"seg{index:02d}.bin"), "segment").data

    plan = parse_dump(_read(directory / _PLAN_JSON), read_data)
    if root != Path("/"):
        from pykexec.loading.live import check_plan
        from pykexec.machine import read_machine

        check_plan(plan, read_machine(root, crash=plan.target.value == "crash"))
    return plan


def _read(path: Path) -> bytes:
    from pykexec.machine.opening import load_regular
    from pykexec.values.json_fields import JSON_MAX

    try:
        return load_regular(os.fspath(path), JSON_MAX)
    except OSError as error:
        raise ImageError(
            f"cannot read {path}: {error.strerror}", hint="'pykexec plan --dump DIR' writes plans"
        ) from error


def _memory_available() -> int | None:
    """Return how much memory this computer has to give, in bytes."""
    from pykexec.loading.running_kernel import read_state

    return read_state().memory_available


def run(
    plan: SegmentPlan,
    machine: EmulatedMachine,
    expect: re.Pattern[str] | None,
    timeout: float,
    tell: Callable[[Step], None],
) -> Simulation:
    """Simulate ``plan`` on ``machine``, telling of each step while it happens.

    ``timeout`` is in seconds of silence. Raises :class:`SimulationError` when QEMU fails, or
    keeps memory that the plan uses; what the plan's own faults lead to is in the verdict.
    """
    from pykexec.cli.emulator import Emulator
    from pykexec.render.simulation import Simulation
    from pykexec.simulation.verdict import Listening, Step

    started = time.monotonic()
    listening = Listening(plan, expect)
    steps: list[Step] = []

    def note(step: Step) -> None:
        steps.append(step)
        tell(step)

    with Emulator(machine) as emulator:
        emulator.enter_plan()
        entered = time.monotonic()
        note(Step(0.0, f"entered, {entered - started:.1f} s after the start of the emulation"))
        verdict = _listen(plan, emulator, listening, timeout, entered, note)
    ended = time.monotonic()
    return Simulation(
        plan,
        machine,
        entered - started,
        tuple(steps),
        ended - entered,
        verdict,
        listening.console,
    )


def _listen(
    plan: SegmentPlan,
    emulator: Emulator,
    listening: Listening,
    timeout: float,
    entered: float,
    note: Callable[[Step], None],
) -> Verdict:
    """Listen until the verdict stands, or nothing more is to be expected."""
    from pykexec.simulation.verdict import whereabouts

    def hear(seconds: float) -> bool:
        data = emulator.listen(seconds)
        for step in listening.hear(time.monotonic() - entered, data):
            note(step)
        return bool(data)

    heard = time.monotonic()
    while listening.verdict is None:
        if hear(0.5):
            heard = time.monotonic()
        patience = min(timeout, _INIT_SILENCE) if listening.init_started else timeout
        if emulator.stopped:
            while hear(0):
                pass
            why = "the machine has reset itself, as after a triple fault or a panic"
        elif time.monotonic() - heard > patience:
            why = f"nothing was heard for {patience:.0f} s"
        elif listening.size > _CONSOLE_MAX:
            why = "the console goes on and on"
        else:
            continue
        if listening.verdict is None:
            return listening.give_up(why, whereabouts(plan, emulator.registers()))
    if not listening.verdict.booted:
        deadline = time.monotonic() + _LAST_WORDS
        while time.monotonic() < deadline and not emulator.stopped:
            hear(0.2)
    return listening.verdict


def _write_log(path: Path, console: str) -> None:
    try:
        path.write_text(console, encoding="utf-8")
    except OSError as error:
        raise PykexecError(f"cannot write the console to {path}: {error.strerror}") from error
