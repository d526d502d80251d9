"""``pykexec doctor``: from the machine and a kernel's files to findings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pykexec.cli.terminal import say
from pykexec.cli.verb_options import estimate_options, json_option, machine_option
from pykexec.render.escape import json_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.doctor import Finding


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
    from pykexec.doctor import Level
    from pykexec.loading.examination import examine
    from pykexec.loading.options import LoadOptions
    from pykexec.render.doctor import doctor_text, doctor_value
    from pykexec.values.calls import Target

    options = LoadOptions(
        kernel or "", crash=crash, initrd=initrd, append=append, reuse_cmdline=reuse_cmdline
    )
    target = Target.CRASH if crash else Target.NORMAL
    found = examine(machine, options)
    if crash and str(machine) == "/":
        found += _dump_readiness()
    if as_json:
        say(json_text(doctor_value(found, target)))
    else:
        say(doctor_text(found, target), end="")
    context.exit(1 if any(finding.level is Level.BLOCKS for finding in found) else 0)


def _dump_readiness() -> Iterator[Finding]:
    """Find out whether a dump would be saved, where a setup says how; a record does not tell."""
    from pykexec.cli.setup_check import readiness
    from pykexec.cli.setup_facts import read_manifest
    from pykexec.loading.examination import facts_of

    known = read_manifest()
    if known is not None:
        yield from readiness(facts_of("/")[0], known)
