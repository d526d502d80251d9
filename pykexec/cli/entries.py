"""``pykexec entries``: what the boot loader would start."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pykexec.cli.terminal import say
from pykexec.cli.verb_options import json_option, warn
from pykexec.render.escape import json_text


@click.command()
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    metavar="DIR",
    help="List those of the system below DIR.",
)
@json_option
def entries(root: Path, as_json: bool) -> None:
    """List the boot entries that boot loaders' configurations have, and bare kernels.

    A star marks what the boot loader would start by itself.
    """
    from pykexec.architectures import name_of
    from pykexec.loading.chosen_entry import read_entries
    from pykexec.render.entries import entries_text, entries_value

    found = read_entries(root, name_of(os.uname().machine))
    if as_json:
        say(json_text(entries_value(found)))
        return
    for problem in found.problems:
        warn(problem)
    say(entries_text(found), end="")
