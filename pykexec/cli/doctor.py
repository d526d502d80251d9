"""``pykexec doctor``: from the machine and a kernel's files to findings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pykexec.cli.terminal import say
from pykexec.cli.verb_options import estimate_options, json_option, machine_option
from pykexec.errors import MachineError, NoCrashRegionError, PykexecError
from pykexec.render.escape import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.cli.load_request import LoadOptions, Prepared
    from pykexec.doctor import Finding, Surroundings
    from pykexec.doctor.checks import Asked
    from pykexec.facts import MachineFacts
    from pykexec.machine.files import MachineFiles


@click.command()
@click.argument("kernel", required=False)
@click.option("--crash", is_flag=True, help="Ask about the load of a crash kernel.")
@estimate_options
@machine_option
@json_option
@click.pass_context
def doctor(
    context: click.Context,
    kernel: str | None,
    crash: bool,
    initrd: str | None,
    append: str | None,
    reuse_cmdline: bool,
    machine: Path,
    as_json: bool,
) -> None:
    """Say whether a load and a jump will work here, and which gate is shut.

    With KERNEL, also whether that one can be loaded. Nothing is loaded. Exit status: 0 when
    nothing blocks, 1 when something does.
    """
    from pykexec.cli.load_request import LoadOptions
    from pykexec.doctor import Level
    from pykexec.plans import Target
    from pykexec.render.doctor import doctor_text, doctor_value

    options = LoadOptions(
        kernel or "", crash=crash, initrd=initrd, append=append, reuse_cmdline=reuse_cmdline
    )
    target = Target.CRASH if crash else Target.NORMAL
    found = examine(machine, options)
    if as_json:
        say(json_text(doctor_value(found, target)))
    else:
        say(doctor_text(found, target), end="")
    context.exit(1 if any(finding.level is Level.BLOCKS for finding in found) else 0)


def examine(root: Path | str, options: LoadOptions) -> list[Finding]:
    """Make every check on the machine at ``root``, for the load that ``options`` describe.

    Raises :class:`MachineError` only for a directory that is no machine directory.
    """
    from pykexec.cli.load_request import identify_kernel
    from pykexec.doctor import Finding, Level, inputs
    from pykexec.doctor.checks import Asked
    from pykexec.machine import read_machine
    from pykexec.plans import Target

    found: list[Finding] = []
    prepared: Prepared | None = None
    has_memory = True
    try:
        facts = read_machine(root)
    except MachineError as error:
        # The gates can be looked at nevertheless.
        facts, has_memory = _facts_without_memory(root), False
        found.append(_refused("machine", error))
    else:
        if options.kernel:
            prepared, finding = _examine_files(root, facts, options)
            found += [finding] if finding is not None else []
    asked = Asked(Target.CRASH if options.crash else Target.NORMAL)
    if prepared is not None:
        image = identify_kernel(options.kernel, prepared.request.kernel, facts.arch).image
        choice = prepared.choice
        asked = replace(asked, call=choice.call, fallback=choice.fallback, signed=image.signed)
        text = f"{image.format_name} {image.release}: to be loaded by {choice.note}"
        found.append(Finding("image", Level.NOTE, text, options.kernel))
        name = options.initrd or options.kernel
        found += inputs.check_inputs(prepared.request, image, facts.page_size, name)
    found += _examine_machine(root, facts, asked, has_memory=has_memory)
    if prepared is not None:
        found += _examine_load(root, facts, options, prepared)
    return found


def _refused(check: str, error: PykexecError, source: str = "") -> Finding:
    from pykexec.doctor import Finding, Level

    return Finding(check, Level.BLOCKS, error.message, source, error.hint or "")


def _facts_without_memory(root: Path | str) -> MachineFacts:
    """Return what is known of a machine whose memory map cannot be read."""
    from pykexec.facts import MachineFacts
    from pykexec.machine.description import read_description
    from pykexec.machine.files import machine_files
    from pykexec.machine.kernel_state import kernel_state

    files = machine_files(root)
    description = read_description(files)
    return MachineFacts(
        arch=description.arch,
        page_size=description.page_size,
        iomem=(),
        cmdline=(files.peek("proc/cmdline") or "").encode("utf-8", "surrogateescape"),
        cpus=description.cpus,
        kernel=kernel_state(files, description.kernel_release),
    )


def _examine_files(
    root: Path | str, facts: MachineFacts, options: LoadOptions
) -> tuple[Prepared | None, Finding | None]:
    """Open the kernel and the initrd, and choose the call; or say why that cannot be."""
    from pykexec.cli.load_request import prepare

    try:
        return prepare(facts, options, root), None
    except NoCrashRegionError:
        # A check of its own says so.
        return None, None
    except PykexecError as error:
        return None, _refused("image", error, options.kernel)


def _examine_machine(
    root: Path | str, facts: MachineFacts, asked: Asked, *, has_memory: bool
) -> Iterator[Finding]:
    from pykexec import known_problems
    from pykexec.doctor import checks, known
    from pykexec.machine.crash_state import read_crash_state
    from pykexec.machine.files import machine_files
    from pykexec.plans import Target

    around = read_around(machine_files(root), facts.kernel.release)
    yield from checks.check_gates(facts.kernel, asked)
    yield from checks.check_kernel(facts.kernel, around, asked)
    yield from checks.check_signatures(facts.kernel, around, asked)
    yield checks.check_ima(facts, around, asked)
    yield checks.check_xen(facts.kernel)
    yield checks.check_processors(facts, asked)
    if has_memory:
        yield checks.check_crash_memory(facts, asked)
    yield from checks.check_handover(facts, around, asked)
    if asked.target is Target.CRASH:
        state = read_crash_state(root)
        yield checks.check_hotplug(state.updates_cpus, state.updates_memory)
    yield from known.known_problems(known_problems.load(), facts, around, asked.target)


def read_around(files: MachineFiles, release: str) -> Surroundings:
    """Read what the checks look at beside a machine's facts."""
    from pykexec import known_problems
    from pykexec.machine.surroundings import read_surroundings

    problems = known_problems.load()
    return read_surroundings(
        files,
        release,
        modules=sorted({name for problem in problems for name in problem.modules}),
        buses=sorted({name for problem in problems for name in problem.buses}),
    )


def _examine_load(
    root: Path | str, facts: MachineFacts, options: LoadOptions, prepared: Prepared
) -> Iterator[Finding]:
    """Find out whether there is memory for the load, and for what runs then."""
    from pykexec.cli.estimate import make_estimate
    from pykexec.cli.loading import check_plan
    from pykexec.doctor import Level, checks
    from pykexec.machine import read_machine
    from pykexec.memory import crash_regions
    from pykexec.planner import plan
    from pykexec.plans import Call

    if options.crash and not crash_regions(facts.iomem):
        # A check of its own says so.
        return
    request = prepared.request
    size = len(request.kernel) + len(request.initrd or b"")
    by_segments = prepared.choice.call is Call.KEXEC_LOAD
    if by_segments or prepared.choice.fallback:
        try:
            known = read_machine(root, crash=True) if options.crash else facts
            made = plan(known, request)
            check_plan(made, known)
        except PykexecError as error:
            finding = _refused("layout", error)
            yield finding if by_segments else replace(finding, level=Level.RISK)
        else:
            total = sum(segment.dest.size for segment in made.segments)
            size = total if by_segments else size
            yield checks.layout(len(made.segments), total)
    if not options.crash:
        yield checks.check_available(facts.kernel, size)
        return
    try:
        yield checks.check_estimate(make_estimate(root, options))
    except PykexecError as error:
        yield _refused("crash_memory", error)
