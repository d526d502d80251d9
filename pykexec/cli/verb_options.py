"""What the verbs of ``pykexec`` have in common: options, and a load with its words."""

from __future__ import annotations

import errno
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from pykexec.cli.kexec_options import OPTIONS
from pykexec.cli.option_values import (
    parse_backup,
    parse_baud,
    parse_ima,
    parse_mem_max,
    parse_mem_min,
)
from pykexec.cli.terminal import say, say_line, tell
from pykexec.loading.options import LoadOptions
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import OutputError
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pykexec.cli.getopt_long import Option
    from pykexec.loading.results import Loaded
    from pykexec.planning.plans import Plan

PROGRAM = "pykexec"

_SENTENCE = 200
"""Characters: more than the first sentence of any help."""


class VerbGroup(click.Group):
    """A group that lists its verbs with all of their first sentence, on however narrow a screen."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs: click would cut the sentences, and wraps whatever is not cut."""
        verbs = [(name, self.commands[name]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, verb.get_short_help_str(limit=_SENTENCE)) for name, verb in verbs]
            )


@dataclass(slots=True)
class Asked:
    """What is known of a call of ``pykexec`` when it comes to telling of a refusal."""

    as_json: bool = False
    """The answer is to be JSON; a refusal is an answer."""


def _note_json(context: click.Context, _: click.Parameter, given: bool) -> bool:
    asked = context.find_object(Asked)
    if asked is not None:
        asked.as_json = given
    return given


# Eager: what is wrong with another option's argument is to be told as JSON, too.
json_option = click.option(
    "--json", "as_json", is_flag=True, is_eager=True, callback=_note_json, help="Print JSON."
)
machine_option = click.option(
    "--machine",
    type=click.Path(path_type=Path),
    default=Path("/"),
    metavar="DIR|TAR",
    help="Take the facts from a recorded machine.",
)


Convert: TypeAlias = "Callable[[str], int | bool | None]"

# The options of a load are those of ``kexec``: name there, field of LoadOptions, conversion.
_LOAD_OPTIONS: tuple[tuple[str, str, Convert | None], ...] = (
    ("initrd", "initrd", None),
    ("append", "append", None),
    ("reuse-cmdline", "reuse_cmdline", None),
    ("mem-min", "mem_min", parse_mem_min),
    ("mem-max", "mem_max", parse_mem_max),
    ("no-checks", "no_checks", None),
    ("console-serial", "console_serial", None),
    ("console-vga", "console_vga", None),
    ("serial", "serial", None),
    ("serial-baud", "serial_baud", parse_baud),
    ("no-cma", "no_cma", None),
    ("force-dtb", "force_dtb", None),
    ("dtb", "dtb", None),
    ("ima", "ima", parse_ima),
    ("noefi", "no_efi", None),
    ("entry-32bit", "entry_32bit", None),
    ("real-mode", "real_mode", None),
    ("type", "image_type", None),
    ("module", "modules", None),
    ("args-linux", "elf_args", None),
    ("args-elf", "elf_args", None),
    ("args-none", "elf_args", None),
)
_CRASH_OPTIONS: tuple[tuple[str, str, Convert | None], ...] = (
    ("pass-memmap-cmdline", "pass_memmap_cmdline", None),
    ("hotplug", "hotplug", None),
    ("backup", "backup", parse_backup),
)
_CALLS = {
    "auto": "the better of the two (default)",
    "file": "kexec_file_load",
    "segments": "kexec_load",
}


def switches(
    table: Sequence[Option], *names: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add switches with the names and the help that another front door's table gives them."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (item for item in reversed(table) if item.name in names):
            flags = (f"-{option.short}", f"--{option.long[0]}")
            command = click.option(*flags, option.name, is_flag=True, help=option.help)(command)
        return command

    return add


def load_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a load, and hand them over as one LoadOptions."""

    @functools.wraps(command)
    def wrapper(**values: Any) -> Any:
        given = {name: values.pop(name) for name in LoadOptions.__slots__ if name in values}
        chosen = {name: value for name, value in given.items() if value is not None}
        options = LoadOptions(chosen.pop("kernel", ""), **chosen)
        if options.boot_entry is not None:
            from pykexec.loading.chosen_entry import take_entry

            options = take_entry(options, values.get("machine", "/"), warn)
        elif not options.kernel:
            raise click.UsageError("Missing argument 'KERNEL'.")
        return command(options=options, **values)

    decorated = _kexec_options(wrapper, _LOAD_OPTIONS)
    decorated = click.option(
        "--call",
        type=click.Choice(list(_CALLS)),
        help="The system call: " + ", ".join(f"{name}: {call}" for name, call in _CALLS.items()),
    )(decorated)
    return click.argument("kernel", required=False)(decorated)


lose_option = click.option(
    "--lose-preserved",
    is_flag=True,
    help="By kexec_load though kexec handover is on: what is preserved is lost.",
)
# Not of a crash load, which nobody comes back from.
preserve_option = click.option(
    "--preserve-context",
    is_flag=True,
    help="Keep the running kernel to be returned to, see 'way-back'; needs --mem-max.",
)


def entry_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a boot entry instead of a kernel; below ``load_options``."""
    command = click.option(
        "--root",
        "boot_root",
        metavar="DIR",
        help="Look for the boot entry in the system below DIR.",
    )(command)
    return click.option(
        "--entry",
        "boot_entry",
        metavar="NAME",
        help="Take kernel, initrds and command line from this boot entry; default: the boot "
        "loader's. --append adds to its command line.",
    )(command)


def _kexec_options(
    command: Callable[..., Any], table: tuple[tuple[str, str, Convert | None], ...]
) -> Callable[..., Any]:
    for name, field, convert in reversed(table):
        option = next(item for item in OPTIONS if item.name == name)
        names = [f"--{long}" for long in option.long]
        if option.short:
            names.insert(0, f"-{option.short}")
        more: dict[str, Any] = {}
        if field == "elf_args":  # the last one given counts
            more["flag_value"] = name.removeprefix("args-")
        command = click.option(
            *names,
            field,
            help=option.help,
            is_flag=None if option.metavar else True,  # False would make the value optional
            multiple=field == "modules",
            **more,
            metavar=option.metavar or None,
            type=convert,
        )(command)
    return command


def estimate_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a load that say how much memory the new kernel needs."""
    wanted = ("initrd", "append", "reuse-cmdline")
    return _kexec_options(command, tuple(row for row in _LOAD_OPTIONS if row[0] in wanted))


def crash_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that only a crash kernel has a use for."""
    return _kexec_options(command, _CRASH_OPTIONS)


debug_option = click.option(
    "-d", "--debug", is_flag=True, help="Print the plan, and have the kernel log the load."
)


def warn(text: str) -> None:
    """Tell what has no effect, or did not work beside the thing itself."""
    tell(PROGRAM, text)


def load_and_tell(options: LoadOptions, debug: bool) -> Loaded:
    """Load on this machine, showing the plan on stderr for ``debug``."""
    from pykexec.loading.live import load_live

    return load_live(options, debug=debug, on_warning=warn, on_plan=shown(debug))


def shown(debug: bool) -> Callable[[Plan], None]:
    """Return what shows a plan on stderr for ``debug``, and else nothing."""
    from pykexec.render.text import call_text, plan_text

    def show(made: Plan) -> None:
        if debug:
            say(plan_text(made) + call_text(made), end="", err=True)

    return show


def say_after_load(text: str) -> None:
    """Say that it is loaded. Where that cannot be printed, the load has succeeded all the same."""
    try:
        say_line(text)
    except (OSError, OutputError) as error:
        warn(f"the kernel is loaded; {OutputError(error.errno or errno.EIO).message}")


def how(loaded: Loaded) -> str:
    """Say by which call a kernel was loaded."""
    from pykexec.planning.plans import FileLoadPlan

    if isinstance(loaded.plan, FileLoadPlan):
        return f"by {loaded.call}"
    segments = loaded.plan.segments
    size = sum(segment.dest.size for segment in segments)
    return f"by {loaded.call}: {counted(len(segments), 'segment')}, {format_size(size)}"
