"""The way from what the user typed to a verified plan, shared by both front doors."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pykexec.errors import DeniedError, PykexecError, VerifyError
from pykexec.units import ADDRESS_MAX, parse_address

if TYPE_CHECKING:
    from pathlib import Path

    from pykexec.facts import KernelState, MachineFacts
    from pykexec.plans import LoadRequest, SegmentPlan

RNG_SEED_SIZE = 32
"""Bytes, as the kernel's own loader hands over (arch/x86/kernel/kexec-bzimage64.c)."""

_SERIAL_PORTS = {"ttyS0": 0x3F8, "ttyS1": 0x2F8}
_SERIAL_CLOCK = 115200
_SLOWEST_BAUD = 9600


@dataclass(slots=True)
class LoadOptions:
    """What both front doors let the user choose about a load."""

    kernel: str
    initrd: str | None = None
    append: str | None = None
    reuse_cmdline: bool = False
    mem_min: int = 0
    mem_max: int = ADDRESS_MAX
    no_checks: bool = False
    console_serial: bool = False
    console_vga: bool = False
    serial_base: int = 0x3F8
    serial_baud: int = 0
    crash: bool = False
    pass_memmap_cmdline: bool = False
    hotplug: bool = False


def parse_mem_min(text: str) -> int:
    """Return the address that ``--mem-min`` names."""
    return parse_address(text, "--mem-min")


def parse_mem_max(text: str) -> int:
    """Return the address that ``--mem-max`` names, inclusive."""
    return parse_address(text, "--mem-max")


def parse_serial(text: str) -> int:
    """Return the I/O port for ``ttyS0``, ``ttyS1`` or ``0x…`` below 0x10000."""
    try:
        port = _SERIAL_PORTS.get(text) or int(text, 16 if text.lower().startswith("0x") else 10)
    except ValueError:
        port = -1
    if not 0 < port < 1 << 16:
        raise PykexecError(
            f"--serial: {text!r} is no serial port", hint="give ttyS0, ttyS1 or an I/O port 0x…"
        )
    return port


def parse_baud(text: str) -> int:
    """Return the speed of a serial port: a divisor of 115200 from 9600 on."""
    baud = int(text) if text.isdecimal() else 0
    if not _SLOWEST_BAUD <= baud <= _SERIAL_CLOCK or _SERIAL_CLOCK % baud:
        raise PykexecError(
            f"--serial-baud: {text!r} is no speed that the port can have",
            hint="give 9600, 19200, 38400, 57600 or 115200",
        )
    return baud


def fresh_seed() -> bytes | None:
    """Return new entropy for the next kernel; None while the kernel has none to give."""
    try:
        return os.getrandom(RNG_SEED_SIZE, os.GRND_NONBLOCK)
    except (BlockingIOError, OSError):
        return None


def build_request(facts: MachineFacts, options: LoadOptions) -> LoadRequest:
    """Open and decode what the user named."""
    from pykexec.cli.files import map_file
    from pykexec.command_line import reuse
    from pykexec.plans import LoadRequest, PurgatoryOptions, Target

    kernel = map_file(options.kernel, "kernel")
    initrd = map_file(options.initrd, "initrd") if options.initrd is not None else None
    cmdline = os.fsencode(options.append or "")
    notes: tuple[str, ...] = ()
    if options.reuse_cmdline:
        reused = reuse(facts.cmdline, cmdline, for_crash=options.crash)
        cmdline = reused.cmdline
        if reused.dropped:
            words = b" ".join(reused.dropped).decode("utf-8", "replace")
            notes = (f"not reused of the running command line: {words}",)
    return LoadRequest(
        kernel=kernel,
        initrd=initrd,
        cmdline=cmdline,
        mem_min=options.mem_min,
        mem_max=options.mem_max,
        purgatory=PurgatoryOptions(
            skip_checks=options.no_checks,
            console_serial=options.console_serial,
            console_vga=options.console_vga,
            serial_base=options.serial_base,
            serial_baud=options.serial_baud,
        ),
        target=Target.CRASH if options.crash else Target.NORMAL,
        rng_seed=fresh_seed(),
        pass_memmap_cmdline=options.pass_memmap_cmdline,
        hotplug=options.hotplug,
        notes=notes,
    )


def make_plan(facts: MachineFacts, options: LoadOptions) -> SegmentPlan:
    """Plan a load on ``facts`` and verify it there; raises what either raises."""
    from pykexec.planner import plan

    made = plan(facts, build_request(facts, options))
    check_plan(made, facts)
    return made


def check_plan(plan: SegmentPlan, facts: MachineFacts) -> None:
    """Refuse a plan that does not hold on ``facts``, with :class:`VerifyError`."""
    from pykexec.invariants import verify

    violations = verify(plan, facts)
    if violations:
        raise VerifyError(violations, hint="nothing was loaded; see the layout with --dry-run")


def plan_live(options: LoadOptions) -> tuple[SegmentPlan, KernelState]:
    """Plan a load on this machine, ready for :func:`pykexec.syscalls.load`."""
    from pykexec.machine import read_machine
    from pykexec.planner import plan

    require_boot_capability(read_state(), "loading a kernel")
    facts = read_machine(crash=options.crash)
    made = plan(facts, build_request(facts, options))
    # The digest takes a while and memory can be unplugged: judge by the map as it is now.
    facts = read_machine(crash=options.crash)
    check_plan(made, facts)
    return made, facts.kernel


def read_state(root: Path | str = "/") -> KernelState:
    """Read the running kernel's kexec state."""
    from pykexec.machine.kernel_state import read_kernel_state

    return read_kernel_state(root)


def require_boot_capability(state: KernelState, what: str) -> None:
    """Refuse early, before the machine is asked, when CAP_SYS_BOOT is missing."""
    from pykexec.rejections import CAP_SYS_BOOT

    capabilities = state.effective_capabilities
    if capabilities is not None and not capabilities >> CAP_SYS_BOOT & 1:
        raise DeniedError(
            f"{what} needs CAP_SYS_BOOT; this process (uid {os.geteuid()}) has "
            f"CapEff {capabilities:#x}",
            hint="run it as root, outside a container that drops the capability",
        )
