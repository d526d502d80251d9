"""What each program and verb of pykexec takes, as values: for completions and the manual's test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import click

from pykexec.architectures import ARCHITECTURES
from pykexec.cli import kexec_options, main, verb_options, vmcore_dmesg
from pykexec.cli.getopt_long import Option as Row

_FILES = frozenset(("FILE", "DIR", "TAR", "INITRD"))
"""Names of arguments that are in the file system."""

CHOICES = {
    "WHEN": ("auto", "always", "never"),
    "FORMAT": ("text", "json"),
    "TYPE": tuple(
        sorted({name for item in ARCHITECTURES.values() for name in item.options.image_types})
    ),
    "PORT": ("ttyS0", "ttyS1"),
    "RATE": ("9600", "19200", "38400", "57600", "115200"),
}
"""What the argument of such a name may be, where it is one of a few words."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option, with all its names."""

    names: tuple[str, ...]
    """With their dashes."""
    help: str
    metavar: str = ""
    """Name of the argument, "" for none."""
    optional: bool = False
    """The argument may be missing."""
    choices: tuple[str, ...] = ()
    """What the argument may be; empty: anything."""

    @property
    def is_file(self) -> bool:
        """The argument is the path of something."""
        return not _FILES.isdisjoint(self.metavar.split("|"))


@dataclass(frozen=True, slots=True)
class Door:
    """A program, or a verb of one."""

    words: tuple[str, ...]
    """The program's name, and those of group and verb."""
    help: str
    options: tuple[Option, ...]
    operand: str = ""
    """Name of the operand, "" for none."""
    verbs: tuple[str, ...] = ()
    """What may follow, if it is a group."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all options."""
        return tuple(name for option in self.options for name in option.names)


def doors() -> tuple[Door, ...]:
    """Return every program with every verb."""
    kexec = Door(
        ("kexec",), "Boot a kernel from the running one.", _rows(kexec_options.OPTIONS), "KERNEL"
    )
    dmesg = Door(
        (vmcore_dmesg.PROGRAM,), "Print a crashed log.", _rows(vmcore_dmesg.OPTIONS), "FILE"
    )
    return (kexec, dmesg, *_commands((verb_options.PROGRAM,), main.cli))


def _rows(table: tuple[Row, ...]) -> tuple[Option, ...]:
    """Return the options of a table that are for users: those that have a help."""
    return tuple(
        Option(
            (*((f"-{row.short}",) if row.short else ()), *(f"--{name}" for name in row.long)),
            row.help,
            row.metavar,
            row.optional,
            CHOICES.get(row.metavar, ()),
        )
        for row in table
        if row.help
    )


def _commands(
    words: tuple[str, ...], command: click.Command, parent: click.Context | None = None
) -> Iterator[Door]:
    context = click.Context(command, parent=parent, info_name=words[-1], **command.context_settings)
    verbs = command.commands if isinstance(command, click.Group) else {}
    operands = [item for item in command.params if isinstance(item, click.Argument)]
    yield Door(
        words,
        command.get_short_help_str(limit=200),
        tuple(
            _click_option(item)
            for item in command.get_params(context)
            if isinstance(item, click.Option)
        ),
        (operands[0].metavar or operands[0].name or "").upper() if operands else "",
        tuple(verbs),
    )
    for name, verb in verbs.items():
        yield from _commands((*words, name), verb, context)


def _click_option(item: click.Option) -> Option:
    names = tuple(sorted(item.opts, key=lambda name: name.startswith("--")))
    if item.is_flag:
        return Option(names, item.help or "")
    choices = tuple(item.type.choices) if isinstance(item.type, click.Choice) else ()
    metavar = item.metavar or ("|".join(choices) if choices else item.type.name.upper())
    return Option(names, item.help or "", metavar, False, choices or CHOICES.get(metavar, ()))
