"""``pykexec plan``: what a load would do, without doing it."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pykexec.cli.terminal import say, say_line, style_of
from pykexec.cli.verb_options import (
    crash_options,
    entry_options,
    json_option,
    load_options,
    lose_option,
    machine_option,
    preserve_option,
)
from pykexec.planning.plans import FileLoadPlan, SegmentPlan
from pykexec.values.errors import NoRoomError, PykexecError, UsageError
from pykexec.values.roles import Role
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.doctor import Finding
    from pykexec.loading.options import LoadOptions
    from pykexec.loading.planning import Basis
    from pykexec.planning.plans import Plan, Segment

_LOG_MAX = 16 << 20
"""Bytes of a plan, or of a log, to compare with."""
EXIT_DIFFERS = 1
"""With ``--diff``, as diff(1) has it."""


@click.command()
@load_options
@preserve_option
@lose_option
@entry_options
@machine_option
@json_option
@crash_options
@click.option("--crash", is_flag=True, help="Plan the load of a crash kernel.")
@click.option(
    "--seed",
    metavar="TEXT",
    help="Make the new kernel's random seeds of TEXT, so that plans can be compared.",
)
@click.option(
    "--explain",
    type=click.Choice([role.value for role in Role]),
    metavar="ROLE",
    help="Say why that segment lies where it lies, or what would make it fit: "
    + ", ".join(role.value for role in Role)
    + ".",
)
@click.option(
    "--diff",
    metavar="FILE",
    help="Compare with another plan's JSON, or with what 'kexec -d' printed; - is stdin. "
    "Exit with 1 if they differ.",
)
@click.option(
    "--dump",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write plan.json and each segment's data as segNN.bin.",
)
@click.option(
    "--svg",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write a picture of the machine's memory, for a bug report.",
)
@click.pass_context
def plan(
    context: click.Context,
    options: LoadOptions,
    machine: Path,
    as_json: bool,
    explain: str | None,
    diff: str | None,
    dump: Path | None,
    svg: Path | None,
) -> None:
    """Print what loading KERNEL would do, and do nothing."""
    from pykexec.loading.examination import examine_plan
    from pykexec.loading.planning import plan_of, read_basis

    if explain is not None and diff is not None:
        raise UsageError("--explain and --diff are two answers; ask for one")
    basis = read_basis(machine, options)
    try:
        made = plan_of(basis)
    except PykexecError as error:
        _tell_refusal(basis, error, explain, as_json)
        raise
    shown = explain is None and diff is None
    found = examine_plan(machine, options, basis, made) if shown or dump is not None else []
    if dump is not None:
        _dump(dump, basis, made, found)
    if svg is not None:
        _write_svg(svg, basis, made)
    if explain is not None:
        _explain(basis, made, explain, as_json)
    elif diff is not None:
        context.exit(_diff(basis, made, diff, as_json))
    else:
        _show(basis, made, found, as_json)


def _show(basis: Basis, made: Plan, found: Sequence[Finding], as_json: bool) -> None:
    from pykexec.render.doctor import verdict_text
    from pykexec.render.json import plan_json
    from pykexec.render.text import plan_text

    if as_json:
        say(plan_json(made, basis.facts, found))
        return
    text = plan_text(made, basis.facts, style_of(sys.stdout))
    say(f"{text}\n{verdict_text(found, made.target)}", end="")


def _tell_refusal(basis: Basis, error: PykexecError, explain: str | None, as_json: bool) -> None:
    """Print what there is to say where there is no plan; the error itself follows."""
    from pykexec.cli.refused_plan import tell_unplaceable

    if explain is not None and isinstance(error, NoRoomError):
        _explain_refusal(basis, error, explain, as_json)
    elif explain is None:
        tell_unplaceable(basis, error, as_json=as_json)


def _explain(basis: Basis, plan: Plan, role: str, as_json: bool) -> None:
    from pykexec.planning.explanations import explain
    from pykexec.render.explain import explanation_json, explanation_text

    layout, beneath = plan, None
    if isinstance(plan, FileLoadPlan):
        beneath = plan
        if isinstance(plan.no_layout, NoRoomError):
            _explain_refusal(basis, plan.no_layout, role, as_json, plan)
        layout = _layout_of(plan, "--explain")
    assert isinstance(layout, SegmentPlan)
    found = explain(layout, role)
    if as_json:
        say(explanation_json(found, beneath=beneath))
    else:
        say(explanation_text(found, style=style_of(sys.stdout), beneath=beneath), end="")


def _layout_of(plan: FileLoadPlan, option: str) -> SegmentPlan:
    """Return the layout beneath a plan; raises why there is none."""
    if plan.layout is not None:
        return plan.layout
    assert plan.no_layout is not None
    error = plan.no_layout
    error.message = f"{option}: there is no layout of kexec_load: {error.message}"
    raise error


def _explain_refusal(
    basis: Basis, error: NoRoomError, role: str, as_json: bool, beneath: FileLoadPlan | None = None
) -> None:
    """Explain the segment that has no place, whichever ``role`` was asked about."""
    from pykexec.planning.explanations import explain_refusal
    from pykexec.planning.remedies import remedies
    from pykexec.render.explain import explanation_json, explanation_text

    found = explain_refusal(error)
    changes = remedies(basis.facts, basis.request, error)
    error.hint = None  # the remedies say more
    if as_json:
        error.answered = True
        say(explanation_json(found, changes, beneath))
        return
    if role != error.role:
        say_line(f"There is no plan to explain {role} in: {error.role} has no place.")
        say("")
    say(explanation_text(found, changes, style_of(sys.stdout), beneath), end="")


def _diff(basis: Basis, made: Plan, other: str, as_json: bool) -> int:
    from pykexec.machine.opening import load_regular
    from pykexec.render.diff import diff_json, diff_text, differences, parse_other
    from pykexec.render.json import plan_value

    where = "stdin" if other == "-" else other
    try:
        data = _piped_in() if other == "-" else load_regular(other, _LOG_MAX)
    except OSError as error:
        raise UsageError(
            f"--diff: cannot read {where}: {error.strerror}",
            hint="give a file, or - for what is piped in",
        ) from error
    before = parse_other(data.decode("utf-8", "backslashreplace"), where)
    found = differences(before, plan_value(made, basis.facts))
    style = style_of(sys.stdout)
    say(diff_json(found) + "\n" if as_json else diff_text(found, where, style), end="")
    return EXIT_DIFFERS if found else 0


def _piped_in() -> bytes:
    """Return what comes by stdin; raises OSError for more than is taken of a file."""
    from pykexec.machine.opening import UnfitFileError

    data = sys.stdin.buffer.read(_LOG_MAX + 1)
    if len(data) > _LOG_MAX:
        raise UnfitFileError(f"larger than {counted(_LOG_MAX, 'byte')}", "stdin", errno.EFBIG)
    return data


def _segments(made: Plan) -> tuple[Segment, ...]:
    """Return the segments of the plan, or of the layout beneath it; none where there is none."""
    layout = made.layout if isinstance(made, FileLoadPlan) else made
    return layout.segments if layout is not None else ()


def _dump(directory: Path, basis: Basis, made: Plan, found: Sequence[Finding]) -> None:
    from pykexec.render.json import plan_json

    try:
        directory.mkdir(parents=True, exist_ok=True)
        text = plan_json(made, basis.facts, found) + "\n"
        (directory / "plan.json").write_text(text, encoding="utf-8")
        for index, segment in enumerate(_segments(made)):
            (directory / f"seg{index:02d}.bin").write_bytes(segment.data)
    except OSError as error:
        raise PykexecError(f"cannot write the dump to {directory}: {error.strerror}") from error


def _write_svg(file: Path, basis: Basis, made: Plan) -> None:
    from pykexec.render.picture import picture_of
    from pykexec.render.svg import plan_svg

    if not basis.facts.iomem and isinstance(made, FileLoadPlan):
        _layout_of(made, "--svg")
    picture = picture_of(basis.facts, _segments(made))
    try:
        file.write_text(plan_svg(made, picture), encoding="utf-8")
    except OSError as error:
        raise PykexecError(f"cannot write the picture to {file}: {error.strerror}") from error
