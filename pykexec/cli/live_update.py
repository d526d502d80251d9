"""``pykexec live-update``: memory that goes over into the next kernel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pykexec.cli.terminal import say, say_line
from pykexec.cli.verb_options import VerbGroup, json_option, machine_option
from pykexec.render.escape import json_text
from pykexec.values.errors import PykexecError, SessionError
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from typing import NoReturn

name_argument = click.argument("name")


@click.group("live-update", cls=VerbGroup)
def live_update() -> None:
    """Memory that goes over into the next kernel, where kernels can do that."""


@live_update.command("status")
@machine_option
@json_option
def status(machine: Path, as_json: bool) -> None:
    """Say what is on, which sessions there are, and whether a jump hands them over."""
    from pykexec.loading.update_status import live_update_status
    from pykexec.render.live_update import status_text, status_value

    found = live_update_status(machine)
    if as_json:
        say(json_text(status_value(found)))
    else:
        say(status_text(found), end="")


@live_update.group("session", cls=VerbGroup)
def session() -> None:
    """Sessions: named sets of files for the next kernel."""


@session.command("create")
@name_argument
def create(name: str) -> None:
    """Create a session, which a process holds until the jump.

    That process has to live until then: what it holds is given up when it ends.
    """
    pid = start_holder(name, "outgoing")
    say_line(f"created the session {name!r}; process {pid} holds it until the jump")


@session.command("drop")
@name_argument
def drop(name: str) -> None:
    """Give a session and its files up; none of it goes over."""
    from pykexec.loading import update_verbs as verbs

    verbs.drop(name)
    say_line(f"gave the session {name!r} up")


@live_update.command("preserve")
@name_argument
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def preserve(name: str, files: tuple[str, ...]) -> None:
    """Have what is in each FILE go over, in the session NAME.

    A file is copied to memory; a memfd, as /proc/PID/fd/N, is preserved as it is.
    """
    from pykexec.loading import update_verbs as verbs

    for file in verbs.preserve(name, files):
        digest = "" if file.sha256 is None else f", SHA-256 {file.sha256}"
        say_line(f"preserved {file.name!r}: {format_size(file.size)}{digest}")


@live_update.command("retrieve")
@name_argument
@click.argument("directory", metavar="DIR")
@click.option(
    "--token", "tokens", metavar="N", type=click.IntRange(0, (1 << 64) - 1), multiple=True,
    help="Write the file with this number to DIR/N; for sessions that a program made.",
)  # fmt: skip
@click.option("--unchecked", is_flag=True, help="Also what is not as it was preserved.")
def retrieve(name: str, directory: str, tokens: tuple[int, ...], unchecked: bool) -> None:
    """Write the files of a session of the kernel before into DIR, over none.

    The session is held, and its memory in use, until 'finish'.
    """
    from pykexec.loading import update_verbs as verbs

    def hold() -> None:
        start_holder(name, "incoming")

    count = 0
    found = verbs.retrieve(name, directory, hold, tokens=tokens, unchecked=unchecked)
    for file, digest in found:
        count += 1
        say_line(f"retrieved {file.name!r}: {format_size(file.size)}, SHA-256 {digest}")
    say_line(
        f"{counted(count, 'file')} of the session {name!r}; "
        f"'pykexec live-update finish' gives its memory back"
    )


@live_update.command("finish")
@name_argument
@click.option("--force", is_flag=True, help="Also with files that nobody retrieved.")
def finish(name: str, force: bool) -> None:
    """End a session of the kernel before; files that nobody retrieved are lost."""
    from pykexec.loading import update_verbs as verbs

    def hold() -> None:
        start_holder(name, "incoming")

    for file in verbs.finish(name, hold, force=force):
        say_line(f"lost {file.name!r}: {format_size(file.size)}")
    say_line(f"finished the session {name!r}")


def start_holder(name: str, direction: str) -> int:
    """Start the process that holds a session, and return its number when it can be asked.

    Raises the error that it met.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _be_holder(name, direction, writing)
    os.close(writing)
    with open(reading, "rb") as file:
        said = file.read()
    from pykexec.loading import update_messages as messages
    from pykexec.values.json_fields import Fields, parse_json

    if not said:
        raise SessionError("the process that is to hold the session has ended at once")
    messages.raise_error(Fields(parse_json(said, "the holder"), "the holder"))
    return pid


def _be_holder(name: str, direction: str, writing: int) -> NoReturn:
    """Hold a session, in a process of its own, until it is over; never returns."""
    import json
    import signal
    from contextlib import suppress

    from pykexec.loading import update_holder as holder
    from pykexec.loading import update_messages as messages

    code = 1
    try:
        os.setsid()
        os.chdir("/")
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(null, standard)
        # The last to go where memory is short: others lose less.
        with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("-900")
        for descriptor in os.listdir("/proc/self/fd"):
            if int(descriptor) > 2 and int(descriptor) != writing:
                with suppress(OSError):
                    os.close(int(descriptor))

        def report(error: PykexecError | None) -> None:
            value = {} if error is None else messages.error_value(error)
            os.write(writing, json.dumps(value).encode("ascii"))
            os.close(writing)

        holder.hold(name, direction, report)
        code = 0
    finally:
        os._exit(code)
