"""``pykexec plan``: what a load would do, without doing it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pykexec.cli.terminal import say, style_of
from pykexec.cli.verb_options import (
    crash_options,
    entry_options,
    json_option,
    load_options,
    machine_option,
)
from pykexec.errors import NoRoomError, PykexecError, UsageError
from pykexec.plans import FileLoadPlan, Role

if TYPE_CHECKING:
    from pykexec.cli.load_request import LoadOptions, Prepared
    from pykexec.facts import MachineFacts
    from pykexec.plans import Plan

EXIT_DIFFERS = 1
"""With ``--diff``, as diff(1) has it."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A plan with the facts that it was made from."""

    plan: Plan
    facts: MachineFacts


@click.command()
@load_options
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
    from pykexec.cli.loading import plan_prepared, prepare_plan

    if explain is not None and diff is not None:
        raise UsageError("--explain and --diff are two answers; ask for one")
    facts, prepared = prepare_plan(machine, options)
    try:
        made = _Made(plan_prepared(facts, prepared), facts)
    except NoRoomError as error:
        if explain is not None:
            _explain_refusal(facts, prepared, error, explain, as_json)
            error.hint = None
        raise
    if dump is not None:
        _dump(dump, made)
    if svg is not None:
        _write_svg(svg, made)
    if explain is not None:
        _explain(made.plan, explain, as_json)
    elif diff is not None:
        context.exit(_diff(made, diff, as_json))
    else:
        _show(made, as_json)


def _show(made: _Made, as_json: bool) -> None:
    from pykexec.render.json import plan_json
    from pykexec.render.text import plan_text

    if as_json:
        say(plan_json(made.plan, made.facts))
    else:
        say(plan_text(made.plan, made.facts, style_of(sys.stdout)), end="")


def _explain(plan: Plan, role: str, as_json: bool) -> None:
    from pykexec.explanations import explain
    from pykexec.render.explain import explanation_json, explanation_text

    if isinstance(plan, FileLoadPlan):
        raise UsageError(
            "--explain: with kexec_file_load the running kernel chooses the addresses",
            hint="--call segments plans a load by kexec_load",
        )
    found = explain(plan, role)
    style = style_of(sys.stdout)
    say(explanation_json(found) + "\n" if as_json else explanation_text(found, style=style), end="")


def _explain_refusal(
    facts: MachineFacts, prepared: Prepared, error: NoRoomError, role: str, as_json: bool
) -> None:
    """Explain the segment that has no place, whichever ``role`` was asked about."""
    from pykexec.explanations import explain_refusal
    from pykexec.remedies import remedies
    from pykexec.render.explain import explanation_json, explanation_text

    found = explain_refusal(error)
    changes = remedies(facts, prepared.request, error)
    if as_json:
        say(explanation_json(found, changes))
        return
    if role != error.role:
        say(f"There is no plan to explain {role} in: {error.role} has no place.\n")
    say(explanation_text(found, changes, style_of(sys.stdout)), end="")


def _diff(made: _Made, other: str, as_json: bool) -> int:
    from pykexec.render.diff import diff_json, diff_text, differences, parse_other
    from pykexec.render.json import plan_value

    where = "stdin" if other == "-" else other
    try:
        data = sys.stdin.buffer.read() if other == "-" else Path(other).read_bytes()
    except OSError as error:
        raise UsageError(f"--diff: cannot read {where}: {error.strerror}") from error
    before = parse_other(data.decode("utf-8", "backslashreplace"), where)
    found = differences(before, plan_value(made.plan, made.facts))
    style = style_of(sys.stdout)
    say(diff_json(found) + "\n" if as_json else diff_text(found, where, style), end="")
    return EXIT_DIFFERS if found else 0


def _dump(directory: Path, made: _Made) -> None:
    from pykexec.render.json import plan_json

    segments = () if isinstance(made.plan, FileLoadPlan) else made.plan.segments
    try:
        directory.mkdir(parents=True, exist_ok=True)
        text = plan_json(made.plan, made.facts) + "\n"
        (directory / "plan.json").write_text(text, encoding="utf-8")
        for index, segment in enumerate(segments):
            (directory / f"seg{index:02d}.bin").write_bytes(segment.data)
    except OSError as error:
        raise PykexecError(f"cannot write the dump to {directory}: {error}") from error


def _write_svg(file: Path, made: _Made) -> None:
    from pykexec.render.picture import picture_of
    from pykexec.render.svg import plan_svg

    segments = () if isinstance(made.plan, FileLoadPlan) else made.plan.segments
    picture = picture_of(made.facts, segments)
    try:
        file.write_text(plan_svg(made.plan, picture), encoding="utf-8")
    except OSError as error:
        raise PykexecError(f"cannot write the picture to {file}: {error}") from error
