"""``pykexec fadump``: dumps that firmware takes, on machines whose firmware does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pykexec.cli.option_values import parse_at, parse_base, parse_need
from pykexec.cli.terminal import say, say_line
from pykexec.cli.verb_options import VerbGroup, json_option, machine_option
from pykexec.render.escape import json_text
from pykexec.values.errors import FadumpError, UsageError

if TYPE_CHECKING:
    from pykexec.crash.fadump.dump import FirmwareDump


@click.group(cls=VerbGroup)
def fadump() -> None:
    """Dumps that firmware takes when this kernel crashes, on POWER machines."""


@fadump.command("status")
@machine_option
@json_option
@click.pass_context
def status(context: click.Context, machine: Path, as_json: bool) -> None:
    """Say whether firmware saves a dump when this kernel crashes, and if not, why.

    Exit status: 0 registered, 1 not, 3 a dump is active and waits to be saved.
    """
    from pykexec.loading.fadump import fadump_status
    from pykexec.render.fadump import exit_code, status_text, status_value

    found = fadump_status(machine)
    if as_json:
        say(json_text(status_value(found)))
    else:
        say(status_text(found), end="")
    context.exit(exit_code(found))


@fadump.command("register")
def register() -> None:
    """Register with firmware, anew where it is registered already."""
    from pykexec.crash.fadump.state import STRAY_WORDS
    from pykexec.loading.fadump import fadump_register

    done = fadump_register()
    how = "registered again" if done.was_registered else "registered"
    if done.in_two_steps:
        how += ", by way of unregistering"
    say_line(f"{how}: firmware saves a dump when this kernel crashes")
    if done.state.words_are_lost:
        say_line(f"but {STRAY_WORDS}")


@fadump.command("unregister")
def unregister() -> None:
    """Unregister: a crash leaves no dump then, and memory stays reserved."""
    from pykexec.loading.fadump import fadump_unregister

    fadump_unregister()
    say_line("not registered: a crash leaves no dump")


@fadump.command("append", context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED)
def append(words: tuple[str, ...]) -> None:
    """Have WORDS behind the command line of the capture kernel, instead of any before."""
    from pykexec.loading.fadump import fadump_append
    from pykexec.render.fadump import addition_text

    say(addition_text(fadump_append(" ".join(words)).addition), end="")


@fadump.command("release")
@click.option("--force", is_flag=True, help="Also unsaved, or where RTAS is lost.")
def release(force: bool) -> None:
    """Release the memory of a dump that was saved; /proc/vmcore is gone then."""
    from pykexec.loading.fadump import fadump_release

    done = fadump_release(force=force)
    say_line("released; nothing is registered: 'pykexec fadump register' does that")
    if done.rtas_released is not None:
        say_line(f"but RTAS lies at {done.rtas_released}, which is anybody's now: reboot soon")


@fadump.command("size")
@click.option(
    "--need",
    metavar="SIZE",
    type=parse_need,
    help="What the capture kernel needs, such as 900M, in place of the table.",
)
@click.option(
    "--cpus", metavar="N", type=click.IntRange(0, 1 << 16), default=0, show_default=True,
    help="How many processors it brings up (nr_cpus=).",
)  # fmt: skip
@machine_option
@json_option
@click.pass_context
def size(context: click.Context, need: int | None, cpus: int, machine: Path, as_json: bool) -> None:
    """Say how much memory to reserve, as crashkernel= on the command line.

    Exit status: 0, or 1 where this machine has too little for any.
    """
    from pykexec.crash.fadump.size import recommend
    from pykexec.loading.fadump import fadump_status
    from pykexec.render.fadump import size_text, size_value

    state = fadump_status(machine)
    if state.platform is None:
        raise FadumpError(
            "this machine's firmware has no firmware-assisted dump",
            hint="'pykexec crash estimate KERNEL' is about crash kernels",
        )
    if state.ram is None:
        raise FadumpError("nobody knows how much RAM this machine has", hint="run it as root")
    found = recommend(state.ram, state.platform, cpus=cpus, needed=need)
    if as_json:
        say(json_text(size_value(found, state.ram, state.platform.value)))
    else:
        say(size_text(found, state.ram, state.platform.value), end="")
    context.exit(0 if found.size is not None else 1)


@fadump.command("event")
@click.option(
    "--subsystem", metavar="NAME", envvar="SUBSYSTEM", default="memory",
    help="memory or cpu (default: what udev sets in the environment, else memory).",
)  # fmt: skip
@click.option(
    "--action", metavar="NAME", envvar="ACTION", default="online",
    help="add, remove, online, offline (default: as above, else online).",
)  # fmt: skip
@click.option(
    "--settle", metavar="SECONDS", type=click.FloatRange(0, 60), default=2.0, show_default=True,
    help="How long no further event must come.",
)  # fmt: skip
def event(subsystem: str, action: str, settle: float) -> None:
    """Answer an event of udev's: register again where the kernel needs it, once for a burst."""
    from pykexec.loading.fadump import fadump_event

    answer = fadump_event(subsystem, action, settle=settle)
    if answer.superseded:
        say_line("left to a later event of the same burst")
    elif answer.registered is None:
        say_line(f"nothing to do: {answer.decision.reason}")
    else:
        say_line(f"registered again: {answer.decision.reason}")


@fadump.command("inspect")
@click.argument("file", required=False)
@click.option("--at", metavar="ADDRESS", type=parse_at, help="Where the header is, physical.")
@click.option(
    "--base", metavar="ADDRESS", type=parse_base, default="0",
    help="Where FILE, plain memory, begins, physical (default: 0).",
)  # fmt: skip
@click.option(
    "--property", "kernel_dump", metavar="FILE", help="A file with ibm,kernel-dump, which leads on."
)
@json_option
def inspect(
    file: str | None, at: int | None, base: int, kernel_dump: str | None, as_json: bool
) -> None:
    """Show what a dump by firmware has left in memory: in FILE, else in this machine's.

    FILE is a crash info header, a register save area, ibm,kernel-dump, plain memory or a core.
    """
    from pykexec.loading.fadump_dump import dump_here, dumps_of_file
    from pykexec.render.fadump_dump import dumps_text, dumps_value

    if file is None:
        if at is not None or base or kernel_dump is not None:
            raise UsageError("--at, --base and --property are about a FILE, and there is none")
        found: tuple[FirmwareDump, ...] = (dump_here(),)
    else:
        found = dumps_of_file(file, at=at, base=base, kernel_dump=kernel_dump)
    if as_json:
        say(json_text(dumps_value(found)))
    else:
        say(dumps_text(found), end="")
