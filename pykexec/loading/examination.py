"""From the machine and what is to be loaded to the doctor's findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import why_no_plan
from pykexec.values.data_classes import replace
from pykexec.values.errors import MachineError, NoCrashRegionError, PykexecError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pykexec.doctor import Asked, Finding, Surroundings
    from pykexec.loading.options import LoadOptions
    from pykexec.loading.planning import Basis
    from pykexec.machine.files import MachineFiles
    from pykexec.planning.plans import Plan
    from pykexec.values.calls import Call
    from pykexec.values.facts import MachineFacts


def examine(root: Path | str, options: LoadOptions) -> list[Finding]:
    """Make every check on the machine at ``root``, for the load that ``options`` describe.

    Raises :class:`MachineError` only for a directory that is no machine directory.
    """
    from pykexec.loading.planning import basis_of, plan_of

    facts, hidden = facts_of(root)
    if not options.kernel or why_no_plan(facts.arch) is not None:
        return [*_unseen(hidden), *_examine_machine(root, facts, _asked(options))]
    try:
        basis = basis_of(facts, hidden, root, options)
    except NoCrashRegionError:
        # A check of its own says so.
        return [*_unseen(hidden), *_examine_machine(root, facts, _asked(options))]
    except PykexecError as error:
        found = [*_unseen(hidden), _refused("image", error, options.kernel)]
        return [*found, *_examine_machine(root, facts, _asked(options))]
    try:
        return examine_plan(root, options, basis, plan_of(basis))
    except PykexecError as error:
        return examine_plan(root, options, basis, error)


def facts_of(root: Path | str) -> tuple[MachineFacts, MachineError | None]:
    """Read a machine, without its memory where that cannot be: the gates are seen nevertheless.

    Returns why not, too. Raises as :func:`examine` does.
    """
    from pykexec.loading.planning import read_facts
    from pykexec.machine import read_without_memory

    try:
        return read_facts(root)
    except MachineError as error:
        return read_without_memory(root), error


def examine_plan(
    root: Path | str, options: LoadOptions, basis: Basis, made: Plan | PykexecError
) -> list[Finding]:
    """Make every check, for a load of which the plan is made; or the refusal, where there is none.

    ``basis`` and ``made`` are of :mod:`pykexec.loading.planning`, for the same ``options``.
    """
    from pykexec.doctor import Finding, Level, inputs

    choice, facts = basis.prepared.choice, basis.facts
    image = basis.prepared.image
    text = f"{basis.image}: to be loaded by {choice.note}"
    name = options.initrd or options.kernel
    asked = replace(
        _asked(options), call=choice.call, fallback=choice.fallback, signed=image.signed
    )
    given = list(inputs.check_inputs(basis.request, image, facts.page_size, name))
    found = [
        *_unseen(basis.unplaceable if not facts.iomem else None, choice.call),
        Finding("image", Level.NOTE, text, options.kernel),
        *given,
        *_examine_machine(root, facts, asked),
        *_examine_layouts(basis, asked),
        *_examine_load(basis, made),
    ]
    if options.crash and not any(finding.level is Level.BLOCKS for finding in given):
        # What cannot be unpacked cannot be measured either.
        found += _estimate(root, options, facts)
    return found


def _asked(options: LoadOptions) -> Asked:
    from pykexec.doctor import Asked
    from pykexec.values.calls import Target

    return Asked(Target.CRASH if options.crash else Target.NORMAL)


def _unseen(hidden: PykexecError | None, call: Call | None = None) -> list[Finding]:
    """Say that memory is hidden. The running kernel knows its own, where it places by itself."""
    from pykexec.doctor import Level
    from pykexec.values.calls import Call

    if hidden is None:
        return []
    level = Level.NOTE if call is Call.KEXEC_FILE_LOAD else Level.BLOCKS
    return [replace(_refused("machine", hidden), level=level)]


def _refused(check: str, error: PykexecError, source: str = "") -> Finding:
    from pykexec.doctor import Finding, Level

    return Finding(check, Level.BLOCKS, error.message, source, error.hint or "")


def _examine_machine(root: Path | str, facts: MachineFacts, asked: Asked) -> Iterator[Finding]:
    from pykexec import known_problems
    from pykexec.doctor import checks, known
    from pykexec.machine.crash_state import read_crash_state
    from pykexec.machine.fadump import read_fadump
    from pykexec.machine.rooms import machine_room
    from pykexec.machine.roots import machine_files
    from pykexec.values.calls import Target

    files = machine_files(root)
    around = read_around(files, facts.kernel.release)
    fadump = read_fadump(files)
    yield from checks.check_architecture(facts.arch)
    yield from checks.check_gates(facts.kernel, asked)
    yield from checks.check_kernel(facts.kernel, around, asked)
    yield from checks.check_signatures(facts.kernel, around, asked)
    yield checks.check_ima(facts, around, asked)
    yield checks.check_xen(facts.kernel)
    yield checks.check_processors(facts, asked)
    yield from checks.check_fadump(fadump, asked)
    if fadump.enabled:
        yield from _examine_next_boot(root, facts)
    if facts.iomem and not fadump.enabled:
        yield checks.check_crash_memory(facts, asked)
    yield from checks.check_handover(facts, around, asked)
    if asked.target is Target.CRASH:
        room = machine_room(facts.arch)
        fault = room.capture_fault(files) if room is not None else None
        if fault is not None:
            yield checks.check_capture(fault)
        state = read_crash_state(root)
        yield checks.check_hotplug(state.updates_cpus, state.updates_memory)
    yield from known.known_problems(known_problems.load(), facts, around, asked.target)


def _examine_next_boot(root: Path | str, facts: MachineFacts) -> Iterator[Finding]:
    """Find out whether what firmware takes would be saved."""
    from pykexec.doctor.next_boot import check_next_boot
    from pykexec.loading.next_boot import read_next_boot

    found = read_next_boot(root, facts.kernel.release, facts.arch)
    if found is not None:
        yield from check_next_boot(found)


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


def _examine_layouts(basis: Basis, asked: Asked) -> Iterator[Finding]:
    """Find out whether the next kernel takes over what this one hands over."""
    from pykexec.doctor import checks
    from pykexec.planning.next_layouts import unknown_to_next
    from pykexec.values.calls import Call, Target

    if asked.target is Target.NORMAL and asked.call is Call.KEXEC_FILE_LOAD:
        unknown = unknown_to_next(basis.prepared.image, basis.facts)
        if unknown is not None:
            yield checks.check_layouts(unknown)


def _examine_load(basis: Basis, made: Plan | PykexecError) -> Iterator[Finding]:
    """Find out whether there is memory for the load."""
    from pykexec.doctor import checks
    from pykexec.planning.plans import SegmentPlan
    from pykexec.values.calls import Target

    request = basis.request
    crash = request.target is Target.CRASH
    if not _has_memory(basis.facts, crash=crash):
        # A check of its own says so.
        return
    yield from _layout(basis, made)
    if not crash:
        size = len(request.kernel) + len(request.initrd or b"")
        if isinstance(made, SegmentPlan):
            size = sum(segment.dest.size for segment in made.segments)
        yield checks.check_available(basis.facts.kernel, size)


def _has_memory(facts: MachineFacts, *, crash: bool) -> bool:
    from pykexec.values.memory import crash_regions

    return bool(crash_regions(facts.iomem) if crash else facts.iomem)


def _estimate(root: Path | str, options: LoadOptions, facts: MachineFacts) -> Iterator[Finding]:
    """Find out whether there is memory for what a crash kernel runs."""
    from pykexec.doctor import checks
    from pykexec.loading.estimate import make_estimate

    if not _has_memory(facts, crash=True):
        return
    try:
        yield checks.check_estimate(make_estimate(root, options))
    except PykexecError as error:
        yield _refused("crash_memory", error)


def _layout(basis: Basis, made: Plan | PykexecError) -> Iterator[Finding]:
    """Say whether kexec_load has room, which it needs where it is called, or may be."""
    from pykexec.doctor import Level, checks
    from pykexec.planning.plans import FileLoadPlan
    from pykexec.values.calls import Call

    if isinstance(made, PykexecError):
        by_segments = basis.prepared.choice.call is Call.KEXEC_LOAD
        yield _refused("layout" if by_segments else "plan", made)
        return
    layout = made.layout if isinstance(made, FileLoadPlan) else made
    if layout is not None:
        total = sum(segment.dest.size for segment in layout.segments)
        yield checks.layout(len(layout.segments), total)
    elif isinstance(made, FileLoadPlan) and made.no_layout and basis.prepared.choice.fallback:
        yield replace(_refused("layout", made.no_layout), level=Level.RISK)
