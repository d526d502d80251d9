"""The way from what the user typed to a verified plan, shared by both front doors."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pykexec.errors import (
    DeniedError,
    ImageError,
    KernelRejectedError,
    MachineError,
    MissingLibraryError,
    NoCrashRegionError,
    PykexecError,
    UsageError,
    VerifyError,
)
from pykexec.units import ADDRESS_MAX, parse_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pykexec.call_choice import CallWish, Choice
    from pykexec.cli.files import MappedFile
    from pykexec.facts import KernelState, MachineFacts
    from pykexec.formats import Identified
    from pykexec.plans import Buffer, LoadRequest, Module, Plan, SegmentPlan, Target
    from pykexec.purgatory import Console

RNG_SEED_SIZE = 32
"""Bytes, as the kernel's own loader hands over (arch/x86/kernel/kexec-bzimage64.c)."""
KASLR_SEED_SIZE = 8
"""Bytes: /chosen/kaslr-seed is two cells."""


@dataclass(slots=True)
class LoadOptions:
    """What both front doors let the user choose about a load."""

    kernel: str
    call: str = "auto"
    """A value of :class:`pykexec.call_choice.CallWish`."""
    crash: bool = False
    initrd: str | None = None
    append: str | None = None
    reuse_cmdline: bool = False
    mem_min: int = 0
    mem_max: int = ADDRESS_MAX
    no_checks: bool = False
    console_serial: bool = False
    console_vga: bool = False
    serial: str | None = None
    serial_baud: int = 0
    dtb: str | None = None
    pass_memmap_cmdline: bool = False
    no_efi: bool = False
    hotplug: bool = False
    no_cma: bool = False
    force_dtb: bool = False
    core_bits: int | None = None
    backup: bool | None = None
    """None: where the running kernel needs it."""
    ima: bool | None = None
    """None: unless the new kernel cannot take IMA's list."""
    image_type: str | None = None
    """A name of :data:`pykexec.cli.image_types.TYPES`; None takes any."""
    entry: int | None = None
    """Physical address."""
    entry_32bit: bool = False
    real_mode: bool = False
    modules: tuple[str, ...] = ()
    """Files for a multiboot kernel, each with the words of its command line behind it."""
    elf_args: str | None = None
    """A value of :class:`pykexec.plans.ElfArgs`; None: by what the ELF file is."""
    reuse_initrd: bool = False
    boot_entry: str | None = None
    """The boot entry that :mod:`pykexec.cli.entries` took kernel, initrds and words from."""
    boot_root: str = "/"
    """Where it was looked for."""
    more_initrds: tuple[str, ...] = ()
    """Behind ``initrd``, in one piece with it."""
    notes: tuple[str, ...] = ()
    """What to say of all that."""
    seed: str | None = None
    """Plans only: what the seeds for the next kernel are made of, instead of fresh entropy."""
    foreign: tuple[str, ...] = ()
    """Options of other architectures that were given."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A load before its plan: the files, the request, and the call that was chosen."""

    kernel: MappedFile
    initrd: MappedFile | None
    request: LoadRequest
    choice: Choice


def parse_mem_min(text: str) -> int:
    """Return the address that ``--mem-min`` names."""
    return parse_address(text, "--mem-min")


def parse_mem_max(text: str) -> int:
    """Return the address that ``--mem-max`` names, inclusive."""
    return parse_address(text, "--mem-max")


def parse_entry(text: str) -> int:
    """Return the address that ``--entry`` names."""
    return parse_address(text, "--entry")


def parse_backup(text: str) -> bool | None:
    """Return what ``--backup`` says of low memory: copy it, do not, None: where needed."""
    return _when(text, "--backup")


def parse_ima(text: str) -> bool | None:
    """Return what ``--ima`` says of IMA's list: hand it on, do not, None: where it is taken."""
    return _when(text, "--ima")


def _when(text: str, option: str) -> bool | None:
    choices = {"auto": None, "always": True, "never": False}
    if text not in choices:
        raise UsageError(
            f"{option}: {text!r} is not known", hint=f"give one of {', '.join(choices)}"
        )
    return choices[text]


def fresh_seed(size: int) -> bytes | None:
    """Return new entropy for the next kernel; None while the kernel has none to give."""
    try:
        return os.getrandom(size, os.GRND_NONBLOCK)
    except (BlockingIOError, OSError):
        return None


def _seed(options: LoadOptions, purpose: str, size: int) -> bytes | None:
    """Return a fresh seed, or the one of at most 32 bytes that ``--seed`` gives for ``purpose``."""
    if options.seed is None:
        return fresh_seed(size)
    from hashlib import sha256

    return sha256(f"{purpose} {options.seed}".encode("utf-8", "surrogateescape")).digest()[:size]


def prepare(facts: MachineFacts, options: LoadOptions, root: Path | str = "/") -> Prepared:
    """Open and decode what the user named, and choose the system call.

    ``facts`` are those of the machine at ``root``.
    """
    from pykexec.call_choice import CallWish, choose
    from pykexec.cli.consoles import console_of
    from pykexec.cli.files import map_file
    from pykexec.cli.foreign import without_foreign, without_needless
    from pykexec.cli.image_types import check_type
    from pykexec.unwrapping import unwrap

    options, warnings = without_foreign(options, facts.arch)
    kernel = map_file(options.kernel, "kernel")
    initrd = map_file(options.initrd, "initrd") if options.initrd is not None else None
    console, silent = console_of(facts.arch, root, options)
    data = _join(initrd, options.more_initrds)
    request = _build_request(facts, options, kernel.data, data, console)
    if options.crash and facts.kernel.crash_size == 0:
        raise NoCrashRegionError(
            "no memory is reserved for a crash kernel: /sys/kernel/kexec_crash_size is 0",
            hint="boot with crashkernel=SIZE on the kernel command line",
        )
    found = identify_kernel(options.kernel, request.kernel, facts.arch, request.image_format)
    check_type(options.image_type, found, facts.arch)
    request, needless = without_needless(unwrap(request, found), found.image)
    choice = choose(CallWish(options.call), request, found.image, facts)
    choice = replace(choice, warnings=(*warnings, *needless, *silent, *choice.warnings))
    notes = (choice.note, *choice.warnings, *request.notes)
    return Prepared(kernel, initrd, replace(request, notes=notes), choice)


def identify_kernel(
    path: str, data: Buffer, arch: str | None = None, wanted: str | None = None
) -> Identified:
    """Find the kernel in the file that the user named ``path``; a refusal names the file.

    ``arch`` and ``wanted`` are those of :func:`pykexec.formats.identify`.
    """
    from pykexec.formats import identify

    try:
        return identify(data, arch, wanted)
    except (ImageError, MissingLibraryError) as error:
        error.message = f"kernel {path!r}: {error.message}"
        raise


def build_cmdline(facts: MachineFacts, options: LoadOptions) -> tuple[bytes, tuple[str, ...]]:
    """Return the new kernel's command line as asked for, and notes on how it was made."""
    from pykexec.command_line import reuse

    cmdline = os.fsencode(options.append or "")
    if not options.reuse_cmdline:
        return cmdline, ()
    reused = reuse(facts.cmdline, cmdline, for_crash=options.crash)
    parts = {
        "reused of the running command line": reused.kept,
        "not reused of it": reused.dropped,
        "added to it": reused.added,
    }
    return reused.cmdline, tuple(
        f"{what}: {b' '.join(words).decode('utf-8', 'replace') or 'nothing'}"
        for what, words in parts.items()
    )


def _join(initrd: MappedFile | None, more: tuple[str, ...]) -> Buffer | None:
    """Return the initrd's bytes, and behind them those of more files."""
    from pykexec.cli.files import map_file
    from pykexec.formats.uki import join_initrds

    if initrd is None or not more:
        return None if initrd is None else initrd.data
    return join_initrds([initrd.data, *(map_file(path, "initrd").data for path in more)])


def _build_request(
    facts: MachineFacts,
    options: LoadOptions,
    kernel: Buffer,
    initrd: Buffer | None,
    console: Console | None,
) -> LoadRequest:
    from pykexec.cli.files import map_file
    from pykexec.cli.image_types import format_of
    from pykexec.plans import ElfArgs, LoadRequest, PurgatoryOptions, Target

    cmdline, notes = build_cmdline(facts, options)
    dtb = map_file(options.dtb, "device tree") if options.dtb is not None else None
    return LoadRequest(
        kernel=kernel,
        initrd=initrd,
        cmdline=cmdline,
        target=Target.CRASH if options.crash else Target.NORMAL,
        mem_min=options.mem_min,
        mem_max=options.mem_max,
        purgatory=PurgatoryOptions(skip_checks=options.no_checks, console=console),
        rng_seed=_seed(options, "rng-seed", RNG_SEED_SIZE),
        kaslr_seed=_seed(options, "kaslr-seed", KASLR_SEED_SIZE),
        dtb=dtb.data if dtb is not None else None,
        pass_memmap_cmdline=options.pass_memmap_cmdline,
        no_efi=options.no_efi,
        hotplug=options.hotplug,
        no_cma=options.no_cma,
        force_dtb=options.force_dtb,
        core_bits=options.core_bits,
        backup=options.backup,
        ima=options.ima,
        entry=options.entry,
        kernel_name=os.fsencode(options.kernel),
        modules=tuple(_module(text) for text in options.modules),
        image_format=format_of(options.image_type, facts.arch),
        entry_bits=16 if options.real_mode else 32 if options.entry_32bit else None,
        elf_args=ElfArgs(options.elf_args) if options.elf_args is not None else None,
        reuse_initrd=options.reuse_initrd,
        notes=options.notes + notes,
    )


def _module(text: str) -> Module:
    """Open a module; what it is compressed with is taken off, as kexec(8) does."""
    from pykexec.cli.files import map_file
    from pykexec.formats.compression import decompress, probe
    from pykexec.formats.layers import KERNEL_LIMIT
    from pykexec.plans import Module

    path = text.split(maxsplit=1)[0] if text.strip() else text
    data = map_file(path, "module").data
    if probe(data) is not None:
        data = memoryview(decompress(data, KERNEL_LIMIT, f"the module {path!r}"))
    return Module(data, os.fsencode(text))


def make_plan(root: Path | str, options: LoadOptions) -> Plan:
    """Plan a load on the machine at ``root`` by the call that a load there would make first.

    A plan by kexec_load is verified. Raises what any of that raises.
    """
    return plan_prepared(*prepare_plan(root, options))


def prepare_plan(root: Path | str, options: LoadOptions) -> tuple[MachineFacts, Prepared]:
    """Read the machine at ``root`` and open what the user named: all that a plan is made from."""
    from pykexec.machine import read_machine
    from pykexec.plans import Call

    facts = read_machine(root)
    prepared = prepare(facts, options, root)
    if options.crash and prepared.choice.call is Call.KEXEC_LOAD:
        facts = read_machine(root, crash=True)
    return facts, prepared


def plan_prepared(facts: MachineFacts, prepared: Prepared) -> Plan:
    """Make the plan, and verify it if it is one by kexec_load."""
    from pykexec.planner import plan, plan_file_load
    from pykexec.plans import Call

    if prepared.choice.call is Call.KEXEC_FILE_LOAD:
        return plan_file_load(facts, prepared.request)
    made = plan(facts, prepared.request)
    check_plan(made, facts)
    return made


def check_plan(plan: SegmentPlan, facts: MachineFacts) -> None:
    """Refuse a plan that does not hold on ``facts``, with :class:`VerifyError`."""
    from pykexec.invariants import verify

    violations = verify(plan, facts)
    if violations:
        raise VerifyError(violations, hint="nothing was loaded; see the layout with --dry-run")


def load_live(
    options: LoadOptions, *, debug: bool, warn: Callable[[str], None], show: Callable[[Plan], None]
) -> Plan:
    """Load on this machine and return the plan that was carried out.

    ``warn`` is told what has no effect, ``show`` each plan just before it is tried. Raises
    what planning raises, and :class:`KernelRejectedError`.
    """
    from pykexec.plans import Target

    state = read_state()
    try:
        return _load_live(options, state, debug, warn, show)
    except PykexecError as error:
        from pykexec.cli.load_record import loaded_after_failure

        target = Target.CRASH if options.crash else Target.NORMAL
        error.aftermath = loaded_after_failure(target, state, warn)
        raise


def _load_live(
    options: LoadOptions,
    state: KernelState,
    debug: bool,
    warn: Callable[[str], None],
    show: Callable[[Plan], None],
) -> Plan:
    from pykexec.machine import read_machine

    require_boot_capability(state, "loading a kernel")
    facts = read_machine()
    prepared = prepare(facts, options)
    for warning in prepared.choice.warnings:
        warn(warning)
    made = _carry_out(prepared, facts, state, debug, warn, show)
    if options.crash:
        from pykexec.cli import crash_record

        crash_record.keep(options, prepared, facts, made, warn)
    else:
        from pykexec.cli import load_record

        load_record.keep(options, made, warn)
    return made


def _carry_out(
    prepared: Prepared,
    facts: MachineFacts,
    state: KernelState,
    debug: bool,
    warn: Callable[[str], None],
    show: Callable[[Plan], None],
) -> Plan:
    from pykexec import syscalls
    from pykexec.call_choice import FALLBACK_ERRNOS
    from pykexec.planner import plan_file_load
    from pykexec.plans import Call

    if prepared.choice.call is Call.KEXEC_LOAD:
        return _load_segments(prepared.request, facts, debug, warn, show)
    made = plan_file_load(facts, prepared.request)
    show(made)
    kernel_fd = _descriptor_of(made.kernel, prepared.kernel)
    initrd_fd = _descriptor_of(made.initrd, prepared.initrd)
    try:
        syscalls.load_files(made, state, kernel_fd=kernel_fd, initrd_fd=initrd_fd, debug=debug)
    except KernelRejectedError as first:
        if not prepared.choice.fallback or first.errno not in FALLBACK_ERRNOS:
            raise
        note = f"kexec_load: {first.message}"
        request = replace(prepared.request, notes=(note, *prepared.request.notes[1:]))
        try:
            return _load_segments(request, facts, debug, warn, show)
        except PykexecError as second:
            second.message += f" (tried before: {first.message})"
            raise
    return made


def unload_live(target: Target, wish: CallWish, warn: Callable[[str], None]) -> None:
    """Unload this machine's image of ``target``; raises :class:`KernelRejectedError`."""
    from pykexec import syscalls
    from pykexec.cli import crash_record, load_record
    from pykexec.plans import Target

    state = read_state()
    refuse_xen_host(state, "unloading a kernel")
    syscalls.unload(target, state, wish)
    forget = crash_record.forget if target is Target.CRASH else load_record.forget
    forget(warn)


def _descriptor_of(data: Buffer | None, file: MappedFile | None) -> int | None:
    """Return the file's descriptor if ``data`` is its contents as they are."""
    return file.descriptor if file is not None and data is file.data else None


def _load_segments(
    request: LoadRequest,
    facts: MachineFacts,
    debug: bool,
    warn: Callable[[str], None],
    show: Callable[[Plan], None],
) -> SegmentPlan:
    from pykexec import syscalls
    from pykexec.plans import KexecFlags

    made, state = plan_segments(request, facts)
    show(made)
    taken = syscalls.load(made, state, debug=debug)
    asked_for, given = (KexecFlags(flags & syscalls.HOTPLUG_FLAGS) for flags in (made.flags, taken))
    if given != asked_for:
        warn(f"--hotplug: the kernel refused {asked_for.name} and took {given.name}")
        made = replace(made, flags=made.flags ^ syscalls.HOTPLUG_FLAGS)
    return made


def plan_segments(request: LoadRequest, facts: MachineFacts) -> tuple[SegmentPlan, KernelState]:
    """Plan a load by kexec_load on this machine, ready for :func:`pykexec.syscalls.load`.

    ``facts`` are this machine's; what only a crash load needs is read here.
    """
    from pykexec.machine import read_machine
    from pykexec.planner import plan
    from pykexec.plans import Target

    if facts.arch == "aarch64" and facts.device_tree is None and request.dtb is None:
        raise MachineError(
            "no device tree to hand over: neither /sys/firmware/fdt nor /proc/device-tree is there",
            hint="give one with --dtb",
        )
    crash = request.target is Target.CRASH
    made = plan(read_machine(crash=True) if crash else facts, request)
    # The digest takes a while and memory can be unplugged: judge by the map as it is now.
    facts = read_machine(crash=crash)
    check_plan(made, facts)
    return made, facts.kernel


def read_state(root: Path | str = "/") -> KernelState:
    """Read the running kernel's kexec state."""
    from pykexec.machine.kernel_state import read_kernel_state

    return read_kernel_state(root)


def refuse_xen_host(state: KernelState, what: str) -> None:
    """Refuse on Xen's dom0: Linux would take a kernel, and nothing could start it."""
    from pykexec.rejections import XEN_HOST

    if state.xen_host:
        raise PykexecError(f"{what} is not done here: {XEN_HOST.reason}", hint=XEN_HOST.hint)


def require_boot_capability(state: KernelState, what: str) -> None:
    """Refuse early, before the machine is asked, when CAP_SYS_BOOT is missing."""
    from pykexec.rejections import CAP_SYS_BOOT

    refuse_xen_host(state, what)
    capabilities = state.effective_capabilities
    if capabilities is not None and not capabilities >> CAP_SYS_BOOT & 1:
        raise DeniedError(
            f"{what} needs CAP_SYS_BOOT; this process (uid {os.geteuid()}) has "
            f"CapEff {capabilities:#x}",
            hint="run it as root, outside a container that drops the capability",
        )
