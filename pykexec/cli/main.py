"""``pykexec``: a verb for each thing one may want to do or to know."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pykexec import __version__
from pykexec.cli import vmcore_dmesg
from pykexec.cli.kexec_options import OPTIONS
from pykexec.cli.loading import (
    LoadOptions,
    parse_baud,
    parse_mem_max,
    parse_mem_min,
    parse_serial,
)
from pykexec.errors import PykexecError
from pykexec.units import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pykexec.cli.getopt_long import Option
    from pykexec.plans import Plan

PROGRAM = "pykexec"


_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_machine_option = click.option(
    "--machine",
    type=click.Path(path_type=Path),
    default=Path("/"),
    metavar="DIR",
    help="Take the facts from a recorded machine.",
)


# The options of a load are those of ``kexec``: name there, field of LoadOptions, conversion.
_LOAD_OPTIONS: tuple[tuple[str, str, Callable[[str], int] | None], ...] = (
    ("initrd", "initrd", None),
    ("append", "append", None),
    ("reuse-cmdline", "reuse_cmdline", None),
    ("mem-min", "mem_min", parse_mem_min),
    ("mem-max", "mem_max", parse_mem_max),
    ("no-checks", "no_checks", None),
    ("console-serial", "console_serial", None),
    ("console-vga", "console_vga", None),
    ("serial", "serial_base", parse_serial),
    ("serial-baud", "serial_baud", parse_baud),
    ("no-cma", "no_cma", None),
    ("force-dtb", "force_dtb", None),
    ("noefi", "no_efi", None),
)
_CRASH_OPTIONS: tuple[tuple[str, str, Callable[[str], int] | None], ...] = (
    ("pass-memmap-cmdline", "pass_memmap_cmdline", None),
    ("hotplug", "hotplug", None),
)
_CALLS = {
    "auto": "the better of the two (default)",
    "file": "kexec_file_load",
    "segments": "kexec_load",
}


def _switches(
    table: Sequence[Option], *names: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add switches with the names and the help that another front door's table gives them."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (item for item in reversed(table) if item.name in names):
            flags = (f"-{option.short}", f"--{option.long[0]}")
            command = click.option(*flags, option.name, is_flag=True, help=option.help)(command)
        return command

    return add


def _load_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a load, and hand them over as one LoadOptions."""

    @functools.wraps(command)
    def wrapper(**values: Any) -> Any:
        given = {name: values.pop(name) for name in LoadOptions.__slots__ if name in values}
        chosen = {name: value for name, value in given.items() if value is not None}
        return command(options=LoadOptions(**chosen), **values)

    decorated = _kexec_options(wrapper, _LOAD_OPTIONS)
    decorated = click.option(
        "--call",
        type=click.Choice(list(_CALLS)),
        help="The system call: " + ", ".join(f"{name}: {call}" for name, call in _CALLS.items()),
    )(decorated)
    return click.argument("kernel")(decorated)


def _kexec_options(
    command: Callable[..., Any], table: tuple[tuple[str, str, Callable[[str], int] | None], ...]
) -> Callable[..., Any]:
    for name, field, convert in reversed(table):
        option = next(item for item in OPTIONS if item.name == name)
        names = [f"--{long}" for long in option.long]
        if option.short:
            names.insert(0, f"-{option.short}")
        command = click.option(
            *names,
            field,
            help=option.help,
            is_flag=None if option.metavar else True,  # False would make the value optional
            metavar=option.metavar or None,
            type=convert,
        )(command)
    return command


def _crash_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that only a crash kernel has a use for."""
    return _kexec_options(command, _CRASH_OPTIONS)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-v", "--version", prog_name=PROGRAM)
def cli() -> None:
    """Boot a new Linux kernel from the running one, and see beforehand how."""


@cli.command()
@_load_options
@_machine_option
@_json_option
@_crash_options
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


_debug_option = click.option(
    "-d", "--debug", is_flag=True, help="Print the plan, and have the kernel log the load."
)


@cli.command()
@_load_options
@_debug_option
def load(options: LoadOptions, debug: bool) -> None:
    """Load KERNEL for a later jump. What was loaded stays when this fails."""
    made = _load(options, debug)
    click.echo(
        f"loaded {options.kernel} {_how(made)}; "
        f"the next orderly reboot may jump into it, '{PROGRAM} unload' undoes it"
    )


@cli.group()
def crash() -> None:
    """The kernel that takes over when this one panics."""


@crash.command("load")
@_load_options
@_crash_options
@_debug_option
def crash_load(options: LoadOptions, debug: bool) -> None:
    """Load KERNEL to be jumped into on a panic."""
    options.crash = True
    made = _load(options, debug)
    click.echo(
        f"loaded {options.kernel} {_how(made)}; "
        f"a panic jumps into it, '{PROGRAM} unload --crash' undoes it"
    )


@crash.command("dmesg")
@click.argument("core", default="/proc/vmcore")
@_switches(vmcore_dmesg.OPTIONS, "level", "caller", "utf8")
def crash_dmesg(core: str, level: bool, caller: bool, utf8: bool) -> None:
    """Print the kernel log in CORE: /proc/vmcore, a core file or a makedumpfile dump."""
    vmcore_dmesg.print_log(core, level=level, caller=caller, utf8=utf8)


def _load(options: LoadOptions, debug: bool) -> Plan:
    from pykexec.cli.loading import load_live
    from pykexec.render.text import call_text, plan_text

    def show(made: Plan) -> None:
        if debug:
            click.echo(plan_text(made) + call_text(made), nl=False, err=True)

    def warn(text: str) -> None:
        click.echo(f"{PROGRAM}: {text}", err=True)

    return load_live(options, debug=debug, warn=warn, show=show)


def _how(made: Plan) -> str:
    from pykexec.plans import FileLoadPlan

    if isinstance(made, FileLoadPlan):
        return "by kexec_file_load"
    size = sum(segment.dest.size for segment in made.segments)
    return f"by kexec_load: {len(made.segments)} segments, {format_size(size)}"


@cli.command()
@click.option("--crash", is_flag=True, help="Unload the crash kernel instead.")
def unload(crash: bool) -> None:
    """Unload the loaded kernel."""
    from pykexec import syscalls
    from pykexec.cli.loading import read_state
    from pykexec.plans import Target

    syscalls.unload(Target.CRASH if crash else Target.NORMAL, read_state())


@cli.command("exec")
@click.option("-x", "--no-ifdown", is_flag=True, help="Leave network interfaces up.")
@click.option("-y", "--no-sync", is_flag=True, help="Do not write file system buffers out.")
def exec_(no_ifdown: bool, no_sync: bool) -> None:
    """Jump into the loaded kernel at once, without shutting anything down."""
    from pykexec.cli.jump import jump
    from pykexec.cli.loading import read_state

    jump(read_state(), sync=not no_sync, ifdown=not no_ifdown, program=PROGRAM)


@cli.command()
@_machine_option
@_json_option
def status(machine: Path, as_json: bool) -> None:
    """Say what is loaded and which gates are shut."""
    from pykexec.cli.loading import read_state
    from pykexec.rejections import shut_gates

    state = read_state(machine)
    gates = [reason for reason, _ in shut_gates(state)]
    value = {
        "schema": "pykexec.status/1",
        "kernel_release": state.release,
        "loaded": state.loaded,
        "crash_loaded": state.crash_loaded,
        "crash_size": state.crash_size,
        "shut_gates": gates,
    }
    if as_json:
        click.echo(json.dumps(value, indent=2))
        return
    words = {None: "unknown (no such file in /sys/kernel)", True: "loaded", False: "not loaded"}
    click.echo(f"running kernel:  {state.release or 'unknown'}")
    click.echo(f"normal image:    {words[state.loaded]}")
    click.echo(f"crash image:     {words[state.crash_loaded]}")
    if state.crash_size is not None:
        click.echo(f"crash memory:    {format_size(state.crash_size)}")
    for gate in gates:
        click.echo(f"shut:            {gate}")


@cli.command()
@click.argument("kernel")
@_json_option
def inspect(kernel: str, as_json: bool) -> None:
    """Say what a kernel image is and what it asks for."""
    from pykexec.cli.files import map_file
    from pykexec.cli.loading import identify_kernel
    from pykexec.render.image import image_text, image_value

    file = map_file(kernel, "kernel")
    found = identify_kernel(kernel, file.data)
    if as_json:
        click.echo(json.dumps(image_value(found), indent=2))
    else:
        click.echo(image_text(found), nl=False)


@cli.group()
def machine() -> None:
    """Record a machine, so that loads can be planned for it elsewhere."""


@machine.command()
@click.argument("target", type=click.Path(path_type=Path))
def record(target: Path) -> None:
    """Write what a plan needs of this machine to TARGET, a new directory or a .tar file."""
    from pykexec.machine.record import record as write_record

    write_record(Path("/"), target)


def main() -> int:
    """Run ``pykexec``; returns the exit code."""
    try:
        cli.main(prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return 1
    except PykexecError as error:
        click.echo(f"{PROGRAM}: {error.message}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
