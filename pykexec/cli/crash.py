"""``pykexec crash``: the verbs about the kernel that takes over when this one panics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pykexec.cli import vmcore_dmesg
from pykexec.cli.crash_setup import setup as crash_setup
from pykexec.cli.inspection import crash_match
from pykexec.cli.terminal import say
from pykexec.cli.verb_options import (
    PROGRAM,
    VerbGroup,
    crash_options,
    debug_option,
    entry_options,
    estimate_options,
    how,
    json_option,
    load_and_tell,
    load_options,
    machine_option,
    say_after_load,
    switches,
)
from pykexec.render.escape import json_text
from pykexec.values.data_classes import replace
from pykexec.values.errors import UsageError

if TYPE_CHECKING:
    from pykexec.loading.options import LoadOptions

DUMP_DIR = "/var/crash"
"""Where distributions keep cores: kdump-tools of Debian, kdump-utils of Fedora, kdump of SUSE."""


@click.group(cls=VerbGroup)
def crash() -> None:
    """The kernel that takes over when this one panics."""


@crash.command("load")
@load_options
@entry_options
@crash_options
@debug_option
def crash_load(options: LoadOptions, debug: bool) -> None:
    """Load KERNEL to be jumped into on a panic."""
    loaded = load_and_tell(replace(options, crash=True), debug)
    say_after_load(
        f"loaded {options.kernel} {how(loaded)}; "
        f"a panic jumps into it, '{PROGRAM} unload --crash' undoes it"
    )


@crash.command("dmesg")
@click.argument("core", nargs=-1)
@switches(vmcore_dmesg.OPTIONS, "level", "caller", "utf8")
def crash_dmesg(core: tuple[str, ...], level: bool, caller: bool, utf8: bool) -> None:
    """Print the kernel log in CORE: /proc/vmcore, a core file or a makedumpfile dump.

    Several are the parts of one dump that 'makedumpfile --split' wrote.
    """
    paths = core or ("/proc/vmcore",)
    vmcore_dmesg.print_log(PROGRAM, paths, level=level, caller=caller, utf8=utf8)


crash.add_command(crash_match)


@crash.command("status")
@machine_option
@json_option
@click.pass_context
def crash_status(context: click.Context, machine: Path, as_json: bool) -> None:
    """Say whether a crash kernel is loaded, and whether it is still the right one.

    Exit status: 0 loaded and fresh, 1 not loaded or stale, 2 nobody can tell.
    """
    from pykexec.loading import status
    from pykexec.loading.json_forms import to_json
    from pykexec.render.crash import STATUS_EXIT_CODES, status_text

    found = status.crash_status(machine)
    if as_json:
        say(to_json(found))
    else:
        say(status_text(found.state, found.judgement), end="")
        if str(machine) == "/" and found.dumps is not None:
            from pykexec.cli.setup_check import say_dumps

            say_dumps(found.dumps)
    context.exit(STATUS_EXIT_CODES[found.judgement.verdict])


@crash.command("estimate")
@click.argument("kernel")
@estimate_options
@machine_option
@json_option
@click.pass_context
def crash_estimate(
    context: click.Context,
    kernel: str,
    initrd: str | None,
    append: str | None,
    reuse_cmdline: bool,
    machine: Path,
    as_json: bool,
) -> None:
    """Say whether KERNEL would have memory enough to take a dump.

    Exit status: 0 it fits into what is reserved, 1 it does not.
    """
    from pykexec.loading.estimate import make_estimate
    from pykexec.loading.options import LoadOptions
    from pykexec.render.crash import estimate_text, estimate_value

    options = LoadOptions(
        kernel, crash=True, initrd=initrd, append=append, reuse_cmdline=reuse_cmdline
    )
    found = make_estimate(machine, options)
    if as_json:
        say(json_text(estimate_value(found)))
    else:
        say(estimate_text(found), end="")
    context.exit(0 if found.fits else 1)


@crash.command("test")
@click.option("--yes", is_flag=True, help="Crash this machine.")
@click.option("--force", is_flag=True, help="Also where the crash kernel is stale or unknown.")
@click.option("--report", is_flag=True, help="After the reboot: say what was caught.")
@click.option("--dump-dir", metavar="DIR", help="Where cores appear (default: /var/crash).")
@click.pass_context
def crash_test(
    context: click.Context, yes: bool, force: bool, report: bool, dump_dir: str | None
) -> None:
    """Crash this machine on purpose, and say after the reboot whether a core was caught.

    Without --yes it only says what would happen. Exit status: with --report 0 for a core that
    ends in the crash, 1 without one; 1 without --yes.
    """
    from pykexec.cli import trial
    from pykexec.loading import status
    from pykexec.loading.fadump import fadump_status
    from pykexec.machine.crash_state import read_crash_state
    from pykexec.render.crash import report_text, trial_text

    if report and yes:
        raise UsageError("--yes and --report exclude each other: the reboot lies in between")
    if report:
        found = trial.make_report(read_crash_state("/").boot_id, dump_dir)
        say(report_text(found), end="")
        context.exit(0 if found.success else 1)
    now = status.crash_status()
    state, judgement = now.state, now.judgement
    firmware = fadump_status() if state.by_firmware else None
    refused = trial.refusal(state, judgement, firmware, force=force)
    directory = dump_dir or DUMP_DIR
    if not yes:
        say(trial_text(state, judgement, firmware, refused, trial.TOKEN, directory), end="")
        context.exit(1)
    if refused is not None:
        raise refused
    trial.prepare(state, directory)
    say("crashing now; after the reboot: pykexec crash test --report")
    trial.crash()


crash.add_command(crash_setup)
