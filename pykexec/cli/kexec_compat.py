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
    from pykexec.plans import Plan

PROGRAM = "kexec"
_NOTHING_TO_LOAD_FOR = ("append", "initrd", "reuse-cmdline")
_ACTIONS = ("load", "load-panic", "exec", "force", "unload")
_CALLS = {"kexec-file-syscall": "file", "kexec-syscall": "segments", "kexec-syscall-auto": "auto"}
"""The last one given counts."""


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
    call: str = "auto"
    debug: bool = False
    dry_run: str | None = None
    operands: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    foreign: list[str] = field(default_factory=list)

    def take(self, name: str, value: str | None) -> None:
        """Apply an option with its argument, or an operand, whose name is empty."""
        if not name:
            self.operands.append(value or "")
        elif name in _ACTIONS:
            self.act(name)
        elif name in _CALLS:
            self.call = _CALLS[name]
        elif name == "dry-run":
            self.dry_run = value or "text"
        elif name == "no-sync":
            self.never_sync = True
        elif name == "no-ifdown":
            self.never_ifdown = True
        elif name in ("status", "debug"):
            setattr(self, name, True)
        elif value is None:
            self.flags.add(name)
        else:
            self.values[name] = value

    def act(self, name: str) -> None:
        """Apply an action option."""
        self.load = name in ("load", "load-panic", "force")
        self.exec = self.ifdown = name in ("exec", "force")
        self.shutdown = False
        if name != "load":
            self.sync = self.exec
        self.unload = self.unload or name == "unload"
        self.crash = self.crash or name == "load-panic"
        self.load_given = self.load_given or name == "load"


class _PrintedAndDone(Exception):
    """An option that prints and ends the program was met."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _print_and_end(name: str) -> None:
    if name == "version":
        from pykexec import __version__

        print(f"kexec (pykexec) {__version__}")
    elif name == "print-ckr-size":
        from pykexec.cli.loading import read_state

        print(read_state().crash_size or 0)
    else:
        from pykexec.cli.kexec_options import usage

        print(usage(), end="")
    raise _PrintedAndDone(EXIT_USAGE if name == "?" else EXIT_OK)


def parse(arguments: Sequence[str]) -> Settings:
    """Read the command line; raises :class:`UsageError`."""
    from pykexec.cli.foreign import FOREIGN, IGNORED_ON
    from pykexec.cli.getopt_long import scan
    from pykexec.cli.kexec_options import OPTIONS, UNSUPPORTED

    settings = Settings()
    foreign = FOREIGN if os.uname().machine in IGNORED_ON else ()
    strange = {option.name for option in foreign}
    for name, value in scan(arguments, (*OPTIONS, *foreign)):
        if name in strange:
            settings.foreign.append(f"--{name}")
            continue
        if name in ("help", "?", "version", "print-ckr-size"):
            _print_and_end(name)
        if name in UNSUPPORTED:
            raise UsageError(f"--{name}: {UNSUPPORTED[name]}")
        settings.take(name, value)
    if settings.unload and settings.crash and not settings.operands:
        settings.load = False  # -u -p: unload the crash kernel, as -p -u
    if settings.dry_run not in (None, "text", "json"):
        raise UsageError(f"--dry-run: {settings.dry_run!r} is no format", hint="give text or json")
    return settings


def _load_options(settings: Settings) -> LoadOptions:
    from pykexec.cli.consoles import parse_baud
    from pykexec.cli.loading import (
        LoadOptions,
        parse_backup,
        parse_entry,
        parse_ima,
        parse_mem_max,
        parse_mem_min,
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
        call=settings.call,
        crash=settings.crash,
        pass_memmap_cmdline="pass-memmap-cmdline" in settings.flags,
        no_efi="noefi" in settings.flags,
        hotplug="hotplug" in settings.flags,
        no_cma="no-cma" in settings.flags,
        force_dtb="force-dtb" in settings.flags,
        dtb=settings.values.get("dtb"),
        serial=settings.values.get("serial"),
        image_type=settings.values.get("type"),
        reuse_initrd="reuseinitrd" in settings.flags,
        foreign=tuple(settings.foreign),
    )
    if "entry" in settings.values:
        options.entry = parse_entry(settings.values["entry"])
    if "backup" in settings.values:
        options.backup = parse_backup(settings.values["backup"])
    if "ima" in settings.values:
        options.ima = parse_ima(settings.values["ima"])
    if "mem-min" in settings.values:
        options.mem_min = parse_mem_min(settings.values["mem-min"])
    if "mem-max" in settings.values:
        options.mem_max = parse_mem_max(settings.values["mem-max"])
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
    from pykexec.cli.loading import plan_prepared, prepare_plan
    from pykexec.cli.terminal import showable, style_of

    facts, prepared = prepare_plan("/", _load_options(settings))
    plan = plan_prepared(facts, prepared)
    if settings.dry_run == "json":
        from pykexec.render.json import plan_json

        text = plan_json(plan, facts) + "\n"
    else:
        from pykexec.render.text import plan_text

        text = plan_text(plan, facts, style_of(sys.stdout))
    print(showable(text, sys.stdout), end="")
    return EXIT_OK


def _warn(text: str) -> None:
    print(f"{PROGRAM}: {text}", file=sys.stderr)


def _load(settings: Settings) -> None:
    from pykexec.cli.loading import load_live

    def show(plan: Plan) -> None:
        if settings.debug:
            from pykexec.render.text import call_text, plan_text

            print(plan_text(plan) + call_text(plan), end="", file=sys.stderr)

    load_live(_load_options(settings), debug=settings.debug, warn=_warn, show=show)


def _unload(settings: Settings) -> None:
    from pykexec.call_choice import CallWish
    from pykexec.cli.loading import unload_live
    from pykexec.plans import Target

    target = Target.CRASH if settings.crash else Target.NORMAL
    unload_live(target, CallWish(settings.call), _warn)


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
    if settings.unload:
        _unload(settings)
    if settings.load:
        _load(settings)
        if settings.load_given and settings.sync and not settings.never_sync:
            os.sync()
    if settings.shutdown:
        from pykexec.cli.jump import run_shutdown

        run_shutdown()
    if settings.exec:
        from pykexec.cli.jump import jump
        from pykexec.cli.loading import read_state

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
