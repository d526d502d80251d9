"""``pykexec plan``: what a load would do, without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pykexec.cli.verb_options import crash_options, json_option, load_options, machine_option
from pykexec.errors import PykexecError

if TYPE_CHECKING:
    from pykexec.cli.loading import LoadOptions


@click.command()
@load_options
@machine_option
@json_option
@crash_options
@click.option("--crash", is_flag=True, help="Plan the load of a crash kernel.")
@click.option(
    "--dump",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write plan.json and each segment's data as segNN.bin.",
)
def plan(options: LoadOptions, machine: Path, as_json: bool, dump: Path | None) -> None:
    """Print what loading KERNEL would do, and do nothing."""
    from pykexec.cli.loading import make_plan
    from pykexec.plans import FileLoadPlan
    from pykexec.render.json import plan_json
    from pykexec.render.text import plan_text

    made = make_plan(machine, options)
    text = plan_json(made) + "\n"
    if dump is not None:
        segments = () if isinstance(made, FileLoadPlan) else made.segments
        _dump(dump, text, [segment.data for segment in segments])
    click.echo(text if as_json else plan_text(made), nl=False)


def _dump(directory: Path, plan_json_text: str, segments: list[bytes | memoryview]) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "plan.json").write_text(plan_json_text, encoding="utf-8")
        for index, data in enumerate(segments):
            (directory / f"seg{index:02d}.bin").write_bytes(data)
    except OSError as error:
        raise PykexecError(f"cannot write the dump to {directory}: {error}") from error
