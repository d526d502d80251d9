"""``kexec``: the drop-in for kexec(8), one flat command."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pykexec.errors import EXIT_OK, EXIT_USAGE, NoKernelError, PykexecError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.cli.loading import LoadOptions

PROGRAM = "kexec"
_NOTHING_TO_LOAD_FOR = ("append", "initrd", "reuse-cmdline")


@dataclass(slots=True)
class Settings:
    """What the options add up to; later ones override earlier ones."""

    load: bool = True
    shutdown: bool = True
    exec: bool = False
    unload: bool = False
    sync: bool = True
    ifdown: bool = False
    never_sync: bool = False
    never_ifdown: bool = False
    status: bool = False
    load_given: bool = False
    crash: bool = False
    debug: bool = False
    dry_run: str | None = None
    operands: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)

    def act(self, name: str) -> None:
        """Apply an action option."""
        self.load = name in ("load", "load-panic", "force")
        self.exec = name in ("exec", "force")
        self.shutdown = False
        if name == "unload":
            self.unload = True
        elif name == "load-panic":
            self.crash = True
            self.sync = False
        else:
            self.sync = True
            self.ifdown = name != "load"
        self.load_given = self.load_given or name == "load"


class _PrintedAndDone(Exception):
    """An option that prints and ends the program was met."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def parse(arguments: Sequence[str]) -> Settings:
    """Read the command line; raises :class:`UsageError`."""
    from pykexec.cli.getopt_long import scan
    from pykexec.cli.kexec_options import OPTIONS, usage

    settings = Settings()
    for name, value in scan(arguments, OPTIONS):
        if not name:
            settings.operands.append(value or "")
        elif name in ("help", "?"):
            print(usage(), end="")
            raise _PrintedAndDone(EXIT_OK if name == "help" else EXIT_USAGE)
        elif name == "version":
            from pykexec import __version__

            print(f"kexec (pykexec) {__version__}")
            raise _PrintedAndDone(EXIT_OK)
        elif name in ("load", "load-panic", "exec", "force", "unload"):
            settings.act(name)
        elif name == "dry-run":
            settings.dry_run = value or "text"
        elif name == "no-sync":
            settings.never_sync = True
        elif name == "no-ifdown":
            settings.never_ifdown = True
        elif name in ("status", "debug"):
            setattr(settings, name, True)
        elif value is None:
            settings.flags.add(name)
        else:
            settings.values[name] = value
    if settings.dry_run not in (None, "text", "json"):
        raise UsageError(f"--dry-run: {settings.dry_run!r} is no format", hint="give text or json")
    return settings


def _load_options(settings: Settings) -> LoadOptions:
    from pykexec.cli.loading import (
        LoadOptions,
        parse_baud,
        parse_mem_max,
        parse_mem_min,
        parse_serial,
    )

    if not settings.operands:
        raise NoKernelError("No kernel specified", hint="name the kernel file to load")
    options = LoadOptions(
        kernel=settings.operands[0],
        initrd=settings.values.get("initrd"),
        append=settings.values.get("append"),
        reuse_cmdline="reuse-cmdline" in settings.flags,
        no_checks="no-checks" in settings.flags,
        console_serial="console-serial" in settings.flags,
        console_vga="console-vga" in settings.flags,
        crash=settings.crash,
        pass_memmap_cmdline="pass-memmap-cmdline" in settings.flags,
        hotplug="hotplug" in settings.flags,
    )
    if "mem-min" in settings.values:
        options.mem_min = parse_mem_min(settings.values["mem-min"])
    if "mem-max" in settings.values:
        options.mem_max = parse_mem_max(settings.values["mem-max"])
    if "serial" in settings.values:
        options.serial_base = parse_serial(settings.values["serial"])
    if "serial-baud" in settings.values:
        options.serial_baud = parse_baud(settings.values["serial-baud"])
    return options


def _status(settings: Settings) -> int:
    """Answer ``-S``: 1 loaded, 0 not, 255 unknown. Without ``-l`` it asks about the crash image."""
    from pykexec.machine.kernel_state import read_crash_loaded, read_loaded

    normal = settings.load_given and not settings.crash
    loaded = read_loaded("/") if normal else read_crash_loaded("/")
    if loaded is None:
        raise PykexecError(
            "cannot tell whether a kernel is loaded: /sys/kernel/kexec* cannot be read",
            hint="the running kernel needs CONFIG_KEXEC, and sysfs mounted on /sys",
        )
    return int(loaded)


def _dry_run(settings: Settings) -> int:
    from pykexec.cli.loading import make_plan
    from pykexec.machine import read_machine

    plan = make_plan(read_machine(crash=settings.crash), _load_options(settings))
    if settings.dry_run == "json":
        from pykexec.render.json import plan_json

        print(plan_json(plan))
    else:
        from pykexec.render.text import plan_text

        print(plan_text(plan), end="")
    return EXIT_OK


def _load(settings: Settings) -> None:
    from pykexec.cli.loading import plan_live
    from pykexec.syscalls import load

    plan, state = plan_live(_load_options(settings))
    if settings.debug:
        from pykexec.render.text import call_text, plan_text

        print(plan_text(plan) + call_text(plan), end="", file=sys.stderr)
    load(plan, state, debug=settings.debug)


def run(settings: Settings) -> int:
    """Do what the options say, in the order of kexec(8): unload, load, shutdown, exec."""
    if settings.status:
        return _status(settings)
    if settings.dry_run is not None:
        return _dry_run(settings)
    if not settings.load:
        stray = [n for n in _NOTHING_TO_LOAD_FOR if n in settings.flags or n in settings.values]
        if stray:
            raise UsageError(f"--{stray[0]} is of no use without a kernel to load")
    from pykexec.cli.loading import read_state

    if settings.unload:
        from pykexec.plans import Target
        from pykexec.syscalls import unload

        unload(Target.CRASH if settings.crash else Target.NORMAL, read_state())
        settings.load = settings.load and not settings.crash  # -u -p unloads, as -p -u does
    if settings.load:
        _load(settings)
        if settings.load_given and settings.sync and not settings.never_sync:
            os.sync()
    if settings.shutdown:
        from pykexec.cli.jump import run_shutdown

        run_shutdown()
    if settings.exec:
        from pykexec.cli.jump import jump

        jump(
            read_state(),
            sync=settings.sync and not settings.never_sync,
            ifdown=settings.ifdown and not settings.never_ifdown,
            program=PROGRAM,
        )
    return EXIT_OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``kexec``; returns the exit code."""
    try:
        return run(parse(sys.argv[1:] if arguments is None else arguments))
    except _PrintedAndDone as done:
        return done.code
    except PykexecError as error:
        print(f"{PROGRAM}: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        if isinstance(error, UsageError):
            from pykexec.cli.kexec_options import usage

            print(usage(), end="")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
