"""``kexec``: the drop-in for kexec(8), one flat command."""

from __future__ import annotations

if __name__ == "__main__":  # python -m: through the front door, which imports this once more
    from pykexec.cli import front_door

    front_door.kexec()

import os
import sys

from pykexec.cli.terminal import say, say_line, style_of, tell
from pykexec.values.data_classes import dataclass, field, replace
from pykexec.values.errors import (
    EXIT_OK,
    EXIT_USAGE,
    NoKernelError,
    OptionError,
    PykexecError,
    UsageError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from pykexec.loading.options import CallName, LoadOptions
    from pykexec.planning.plans import Plan

PROGRAM = "kexec"
_ACTIONS = (
    *("load", "load-panic", "load-preserve-context", "load-jump-back-helper"),
    *("exec", "force", "unload"),
)
_CALLS: dict[str, CallName] = {
    "kexec-file-syscall": "file",
    "kexec-syscall": "segments",
    "kexec-syscall-auto": "auto",
}
"""The last one given counts."""
_CORE_BITS = {"elf32-core-headers": 32, "elf64-core-headers": 64}
"""The last one given counts."""
_ELF_ARGS = {"args-linux": "linux", "args-elf": "elf", "args-none": "none"}
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
    preserve_context: bool = False
    way_back: bool = False
    call: CallName = "auto"
    core_bits: int | None = None
    debug: bool = False
    dry_run: str | None = None
    operands: list[str] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    numbers: dict[str, Any] = field(default_factory=dict)
    """Values that have been converted."""
    modules: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    old_root: str = ""
    """The option that keeps the running kernel's root= out of a line without one; empty: the
    option was given, or nothing is added here."""
    boot_entry: str | None = None
    """What ``--entry`` names where there is no kernel that an address could be in."""
    useless: str = ""
    """An option that kexec(8) does not take without a kernel to load."""

    def take(self, name: str, value: str | None) -> None:
        """Apply an option with its argument, or an operand, whose name is empty."""
        if not name:
            self.operands.append(value or "")
        elif name in _ACTIONS:
            self.act(name)
        elif name in _CALLS:
            self.call = _CALLS[name]
        elif name == "module":
            self.modules.append(value or "")
        elif name in _CORE_BITS:
            self.core_bits = _CORE_BITS[name]
        elif name in _ELF_ARGS:
            self.values["elf-args"] = _ELF_ARGS[name]
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
        self.shutdown = False
        if name == "unload":
            self.unload = True
            self.load = self.sync = False
            return
        self.load = name in ("load", "load-panic", "load-preserve-context", "force")
        self.exec = self.ifdown = name in ("exec", "force")
        if name in ("load-panic", "exec", "force"):
            self.sync = self.exec
        self.crash = self.crash or name == "load-panic"
        self.preserve_context = self.preserve_context or name == "load-preserve-context"
        self.way_back = name == "load-jump-back-helper"
        self.load_given = self.load_given or name == "load"


class _PrintedAndDone(Exception):
    """An option that prints and ends the program was met."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _print_and_end(name: str) -> None:
    if name == "version":
        from pykexec import __version__

        say_line(f"kexec (pykexec) {__version__}")
    elif name == "print-ckr-size":
        from pykexec.loading.running_kernel import read_state

        say(str(read_state().crash_size or 0))
    else:
        from pykexec.cli.kexec_options import usage

        say(usage(), end="")
    raise _PrintedAndDone(EXIT_USAGE if name == "?" else EXIT_OK)


def parse(arguments: Sequence[str]) -> Settings:
    """Read the command line; raises :class:`UsageError`."""
    from pykexec.architectures import architecture_of, name_of
    from pykexec.cli.foreign import foreign_options
    from pykexec.cli.getopt_long import scan
    from pykexec.cli.kexec_options import OPTIONS, UNSUPPORTED

    settings = Settings()
    arch = name_of(os.uname().machine)
    differing = architecture_of(arch).options
    strange = foreign_options(arch)
    names = {option.name for option in strange}
    settings.old_root = differing.no_old_root
    for name, value in scan(arguments, (*OPTIONS, *strange)):
        if name in ("help", "?", "version", "print-ckr-size"):
            _print_and_end(name)
        if name in UNSUPPORTED:
            raise OptionError(f"--{name}: {UNSUPPORTED[name]}")
        if name in differing.need_kernel:
            settings.useless = settings.useless or name
        if name and name == settings.old_root:
            settings.old_root = ""
        elif name not in names:
            settings.take(name, value)
        elif name not in differing.silent:
            settings.foreign.append(f"--{name}")
    if settings.unload and settings.crash and not settings.operands:
        settings.load = False  # -u -p: unload the crash kernel, as -p -u
    if settings.useless and (settings.status or not settings.load):
        raise UsageError(f"--{settings.useless} is of no use without a kernel to load")
    _take_boot_entry(settings)
    if settings.values:
        settings.numbers = _convert(settings.values)
    if settings.dry_run not in (None, "text", "json"):
        raise UsageError(f"--dry-run: {settings.dry_run!r} is no format", hint="give text or json")
    return settings


def _take_boot_entry(settings: Settings) -> None:
    """Take ``--entry`` without a kernel for a boot entry, unless it is an address.

    With a kernel, and where none is to be loaded, it means what it means to kexec(8).
    """
    from pykexec.cli.option_values import parse_entry

    name = settings.values.get("entry")
    if name is None or settings.operands or not settings.load or settings.status:
        return
    try:
        parse_entry(name)
    except UsageError:
        settings.boot_entry = settings.values.pop("entry")


def _convert(values: dict[str, str]) -> dict[str, Any]:
    """Convert what is not text; raises :class:`UsageError`, whatever the action is."""
    from pykexec.cli import option_values

    conversions = {
        "mem-min": option_values.parse_mem_min,
        "mem-max": option_values.parse_mem_max,
        "entry": option_values.parse_entry,
        "serial-baud": option_values.parse_baud,
        "backup": option_values.parse_backup,
        "ima": option_values.parse_ima,
    }
    return {name: conversions[name](text) for name, text in values.items() if name in conversions}


def _load_options(settings: Settings) -> LoadOptions:
    from pykexec.loading.options import LoadOptions

    if not settings.operands and settings.boot_entry is None:
        raise NoKernelError(
            "No kernel specified",
            hint="name the kernel file to load, or a boot entry with --entry",
        )
    given = {
        "no_checks": "no-checks",
        "reuse_cmdline": "reuse-cmdline",
        "console_serial": "console-serial",
        "console_vga": "console-vga",
        "pass_memmap_cmdline": "pass-memmap-cmdline",
        "no_efi": "noefi",
        "hotplug": "hotplug",
        "no_cma": "no-cma",
        "lose_preserved": "lose-preserved",
        "force_dtb": "force-dtb",
        "reuse_initrd": "reuseinitrd",
        "entry_32bit": "entry-32bit",
        "real_mode": "real-mode",
    }
    rest: dict[str, Any] = {field: name in settings.flags for field, name in given.items()}
    rest |= {name.replace("-", "_"): value for name, value in settings.numbers.items()}
    options = LoadOptions(
        kernel="" if settings.boot_entry is not None else settings.operands[0],
        boot_entry=settings.boot_entry,
        call=settings.call,
        crash=settings.crash,
        preserve_context=settings.preserve_context,
        core_bits=settings.core_bits,
        initrd=settings.values.get("initrd"),
        append=settings.values.get("append"),
        dtb=settings.values.get("dtb"),
        serial=settings.values.get("serial"),
        image_type=settings.values.get("type"),
        elf_args=settings.values.get("elf-args"),
        modules=tuple(settings.modules),
        foreign=tuple(settings.foreign),
        old_root=f"--{settings.old_root}" if settings.old_root else "",
        **rest,
    )
    if options.boot_entry is None:
        return options
    from pykexec.loading.chosen_entry import take_entry

    return take_entry(options, "/", _warn)


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
    from pykexec.cli.refused_plan import tell_unplaceable
    from pykexec.loading.planning import plan_of, read_basis

    options = _load_options(settings)
    basis = read_basis("/", options)
    try:
        plan = plan_of(basis)
    except PykexecError as error:
        tell_unplaceable(basis, error, as_json=settings.dry_run == "json")
        raise
    if settings.dry_run == "json":
        from pykexec.render.json import plan_json

        text = plan_json(plan, basis.facts) + "\n"
    else:
        from pykexec.loading.examination import examine_plan
        from pykexec.render.doctor import verdict_text
        from pykexec.render.text import plan_text

        text = plan_text(plan, basis.facts, style_of(sys.stdout)) + "\n"
        text += verdict_text(examine_plan("/", options, basis, plan), plan.target)
    say(text, end="")
    return EXIT_OK


def _warn(text: str) -> None:
    tell(PROGRAM, text)


def _load(settings: Settings) -> None:
    from pykexec.loading.live import load_live

    load_live(
        _load_options(settings), debug=settings.debug, on_warning=_warn, on_plan=_shown(settings)
    )


def _shown(settings: Settings) -> Callable[[Plan], None]:
    """Return what shows a plan on stderr for ``-d``, and else nothing."""

    def show(plan: Plan) -> None:
        if settings.debug:
            from pykexec.render.debug import ranges_text
            from pykexec.render.text import call_text, plan_text

            text = plan_text(plan) + ranges_text(plan) + call_text(plan)
            say(text, end="", err=True)

    return show


def _load_way_back(settings: Settings) -> None:
    from pykexec.loading.way_back import load_way_back

    load_way_back(
        settings.numbers.get("entry"),
        debug=settings.debug,
        on_warning=_warn,
        on_plan=_shown(settings),
    )


def _unload(settings: Settings) -> None:
    from pykexec.loading.live import unload

    unload("crash" if settings.crash else "normal", call=settings.call, on_warning=_warn)


def run(settings: Settings) -> int:
    """Do what the options say, in the order of kexec(8): unload, load, shutdown, exec."""
    if settings.status:
        return _status(settings)
    if settings.dry_run is not None:
        return _dry_run(settings)
    if settings.unload:
        _unload(settings)
    if settings.load:
        _load(settings)
    if settings.way_back:
        _load_way_back(settings)
    if settings.shutdown or settings.exec:
        _leave(settings)
    elif settings.sync and not settings.never_sync:
        os.sync()
    return EXIT_OK


def _leave(settings: Settings) -> None:
    """Shut down, or jump; returns where the other kernel has returned to this one."""
    from pykexec.cli.jump import jump, require_loaded, run_shutdown
    from pykexec.loading.running_kernel import read_state

    state = read_state()
    if settings.load and not settings.crash and state.loaded is None:
        state = replace(state, loaded=True)  # the kernel has just taken it
    if settings.shutdown:
        require_loaded(state)
        run_shutdown()
    else:
        jump(
            state,
            sync=settings.sync and not settings.never_sync,
            ifdown=settings.ifdown and not settings.never_ifdown,
            program=PROGRAM,
            lose_preserved="lose-preserved" in settings.flags,
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the words say; returns the exit code."""
    settings = None
    try:
        settings = parse(sys.argv[1:] if arguments is None else arguments)
        return run(settings)
    except _PrintedAndDone as done:
        return done.code
    except PykexecError as error:
        from pykexec.cli.front_door import report

        as_json = settings is not None and settings.dry_run == "json"
        return report(PROGRAM, error, as_json=as_json)
