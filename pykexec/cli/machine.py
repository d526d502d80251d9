"""``pykexec machine``: a machine as files, so that loads can be planned for it elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from pykexec.cli.terminal import say
from pykexec.cli.verb_options import VerbGroup, json_option, machine_option, warn
from pykexec.loading.undisturbed import undisturbed
from pykexec.render.escape import json_text
from pykexec.values.data_classes import replace


@click.group(cls=VerbGroup)
def machine() -> None:
    """Record a machine, so that loads can be planned for it elsewhere."""


@machine.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--redact",
    is_flag=True,
    help="Mask serial numbers, addresses, hosts and passwords, and say what was left.",
)
@click.option("--ima", is_flag=True, help="Take IMA's list along: it names every file that ran.")
@machine_option
def record(target: Path, redact: bool, ima: bool, machine: Path) -> None:
    """Write what a plan needs of this machine to TARGET, a new directory or a .tar file.

    Nothing secret is in it, and no random seed. The kernel's command line is, and the kernel's
    addresses: only the owner can read it. With --machine, a record is copied, as to mask it.
    """
    from pykexec.loading.examination import read_around
    from pykexec.machine.description import IMA
    from pykexec.machine.record import record as write_record
    from pykexec.machine.redact import Redactions
    from pykexec.render.redactions import redactions_text

    report = Redactions() if redact else None
    left_out = write_record(
        machine,
        target,
        redacted=redact,
        report=report,
        ima=ima,
        also=read_around,
        undisturbed=undisturbed(),
    )
    if report is not None:
        masked = {
            name: {kind.value: count for kind, count in kinds.items()}
            for name, kinds in report.masked.items()
        }
        say(redactions_text(masked, report.left, len(report.untouched)), end="")
    if IMA in left_out and not ima:
        warn(f"{IMA} is left out, and plans for the record lack it; --ima takes it along")


@machine.command()
@click.argument("machine", type=click.Path(path_type=Path), default=Path("/"))
@click.option("--files", is_flag=True, help="Also list what was recorded.")
@json_option
def show(machine: Path, files: bool, as_json: bool) -> None:
    """Say what is known of MACHINE, a record; without one, of this machine."""
    from pykexec.machine import read_machine
    from pykexec.machine.description import read_description
    from pykexec.machine.record import recorded_files
    from pykexec.machine.roots import machine_files
    from pykexec.render.machine import Shown, machine_text, machine_value
    from pykexec.values.errors import MachineError

    opened = machine_files(machine)
    description = read_description(opened)
    facts = read_machine(machine)
    obstacle = ""
    try:
        facts = replace(facts, crash=read_machine(machine, crash=True).crash)
    except MachineError as error:
        obstacle = error.message
    shown = Shown(
        facts=facts,
        crash_obstacle=obstacle,
        left_out=description.left_out,
        files=None if opened.is_live else recorded_files(opened),
    )
    if as_json:
        say(json_text(machine_value(shown)))
    else:
        say(machine_text(shown, list_files=files), end="")
