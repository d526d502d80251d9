"""``pykexec``: a verb for each thing one may want to do or to know."""

from __future__ import annotations

if __name__ == "__main__":  # python -m: through the front door, which imports this once more
    from pykexec.cli import front_door

    front_door.pykexec()

import sys
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pykexec import __version__
from pykexec.cli.crash import crash as crash_group
from pykexec.cli.doctor import doctor as doctor_verb
from pykexec.cli.entries import entries as entries_verb
from pykexec.cli.fadump import fadump as fadump_group
from pykexec.cli.front_door import report
from pykexec.cli.initramfs import initramfs as initramfs_group
from pykexec.cli.inspection import inspect
from pykexec.cli.live_update import live_update as live_update_group
from pykexec.cli.machine import machine as machine_group
from pykexec.cli.plan import plan
from pykexec.cli.schema import schema
from pykexec.cli.simulate import simulate
from pykexec.cli.terminal import say, say_line
from pykexec.cli.verb_options import (
    PROGRAM,
    Asked,
    VerbGroup,
    debug_option,
    entry_options,
    how,
    json_option,
    load_and_tell,
    load_options,
    lose_option,
    machine_option,
    preserve_option,
    say_after_load,
    shown,
    warn,
)
from pykexec.values.errors import PykexecError, UsageError
from pykexec.values.units import format_size

if TYPE_CHECKING:
    from pykexec.loading.options import LoadOptions


@click.group(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-v", "--version", prog_name=PROGRAM)
def cli() -> None:
    """Boot a new Linux kernel from the running one, and see beforehand how."""


@cli.command()
@load_options
@preserve_option
@lose_option
@entry_options
@debug_option
def load(options: LoadOptions, debug: bool) -> None:
    """Load KERNEL for a later jump. What was loaded stays when this fails."""
    loaded = load_and_tell(options, debug)
    say_after_load(
        f"loaded {options.kernel} {how(loaded)}; "
        f"the next orderly reboot may jump into it, '{PROGRAM} unload' undoes it"
    )


@cli.command("way-back")
@click.argument("address", required=False)
@debug_option
def way_back(address: str | None, debug: bool) -> None:
    """Load the way back to the kernel that waits; 'pykexec exec' returns to it.

    It waits at the physical ADDRESS; default: what this kernel's command line tells.
    """
    from pykexec.cli.option_values import parse_entry
    from pykexec.loading.way_back import load_way_back

    where = None if address is None else parse_entry(address)
    loaded = load_way_back(where, debug=debug, on_warning=warn, on_plan=shown(debug))
    say_after_load(f"loaded the way back: {loaded.plan.notes[-1]}")


@cli.command()
@click.option("--crash", is_flag=True, help="Unload the crash kernel instead.")
def unload(crash: bool) -> None:
    """Unload the loaded kernel."""
    from pykexec.loading import live

    live.unload("crash" if crash else "normal", on_warning=warn)


@cli.command("exec")
@click.option("-x", "--no-ifdown", is_flag=True, help="Leave network interfaces up.")
@click.option("-y", "--no-sync", is_flag=True, help="Do not write file system buffers out.")
@click.option("--lose-preserved", is_flag=True, help="Lose sessions for the next kernel.")
def exec_(no_ifdown: bool, no_sync: bool, lose_preserved: bool) -> None:
    """Jump into the loaded kernel at once, without shutting anything down."""
    from pykexec.cli.jump import jump
    from pykexec.loading.running_kernel import read_state

    jump(
        read_state(),
        sync=not no_sync,
        ifdown=not no_ifdown,
        program=PROGRAM,
        lose_preserved=lose_preserved,
    )


@cli.command()
@machine_option
@json_option
def status(machine: Path, as_json: bool) -> None:
    """Say what is loaded and which gates are shut."""
    from pykexec.loading.json_forms import to_json
    from pykexec.loading.status import known_as
    from pykexec.loading.status import status as read_status

    found = read_status(machine)
    if as_json:
        say(to_json(found))
        return
    words = {None: "unknown (no such file in /sys/kernel)", True: "loaded", False: "not loaded"}
    say_line(f"running kernel:  {found.kernel.release or 'unknown'}")
    for name, image in (("normal image:", found.normal), ("crash image:", found.crash)):
        known = known_as(image) if image.loaded else None
        say_line(f"{name:<16} {words[image.loaded]}" + (f": {known}" if known else ""))
    if found.crash_size is not None:
        say_line(f"crash memory:    {format_size(found.crash_size)}")
    for gate in found.shut_gates:
        say_line(f"shut:            {gate}")


cli.add_command(doctor_verb)
cli.add_command(entries_verb)
cli.add_command(fadump_group)
cli.add_command(initramfs_group)
cli.add_command(inspect)
cli.add_command(live_update_group)
cli.add_command(machine_group)
cli.add_command(crash_group)
cli.add_command(plan)
cli.add_command(schema)
cli.add_command(simulate)


def main() -> int:
    """Run ``pykexec``; returns the exit code."""
    asked = Asked()
    try:
        # What a verb returns is nothing; what it leaves by context.exit is returned here.
        return cli.main(prog_name=PROGRAM, standalone_mode=False, obj=asked) or 0
    except click.Abort:
        return 130
    except click.ClickException as error:
        return report(PROGRAM, _wrong_usage(error), as_json=asked.as_json or _names_json(error))
    except PykexecError as error:
        return report(PROGRAM, error, as_json=asked.as_json)


def _names_json(error: click.ClickException) -> bool:
    """Tell whether JSON is asked for among words that could not be made sense of as a whole."""
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return False
    takes_it = any("--json" in parameter.opts for parameter in error.ctx.command.params)
    return takes_it and "--json" in takewhile(lambda word: word != "--", sys.argv)


def _wrong_usage(error: click.ClickException) -> UsageError:
    """Return click's error as one of ours: the error is the last thing to be read, not usage."""
    hint = None
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f"'{error.ctx.command_path} --help' lists what it takes"
    return UsageError(error.format_message(), hint=hint)
