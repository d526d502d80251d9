"""From what the user typed to a request: options, the files that they name, the call to make.

Nothing is planned here, and of the machine only its facts are looked at.
"""

from __future__ import annotations

import os

from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import (
    CommandLineError,
    ImageError,
    MissingLibraryError,
    NoCrashRegionError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from pykexec.calls.call_choice import Choice
    from pykexec.formats import Identified, KernelImage
    from pykexec.loading.files import MappedFile
    from pykexec.loading.options import LoadOptions
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.buffers import Buffer
    from pykexec.values.consoles import Console
    from pykexec.values.facts import MachineFacts

RNG_SEED_SIZE = 32
"""Bytes, as the kernel's own loader hands over (arch/x86/kernel/kexec-bzimage64.c)."""
KASLR_SEED_SIZE = 8
"""Bytes: /chosen/kaslr-seed is two cells."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A load before its plan: the files, the request, and the call that was chosen."""

    kernel: MappedFile
    initrd: MappedFile | None
    request: LoadRequest
    choice: Choice
    image: KernelImage
    """What is to be started, out of its wrappings."""


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

    ``facts`` are those of the machine at ``root``. Of an architecture that there are no plans for
    nothing is opened.
    """
    from pykexec.calls.call_choice import choose
    from pykexec.loading.consoles import console_of
    from pykexec.loading.files import map_file, split_configuration
    from pykexec.loading.image_types import check_type
    from pykexec.loading.no_effect import without_foreign, without_needless
    from pykexec.planning.planner import require_plans
    from pykexec.planning.unwrapping import unwrap
    from pykexec.values.calls import CallWish

    require_plans(facts.arch)
    options, warnings = without_foreign(options, facts.arch)
    path, configuration = split_configuration(options.kernel)
    kernel = map_file(path, "kernel")
    initrd = map_file(options.initrd, "initrd") if options.initrd is not None else None
    console, silent = console_of(facts.arch, root, options)
    data = _join(initrd, options.more_initrds)
    line = build_cmdline(facts, options)
    request = _build_request(facts, options, kernel.data, data, console, line)
    if options.crash and facts.kernel.crash_size == 0:
        from pykexec.crash.reservation import fault

        why = fault(facts)
        raise NoCrashRegionError(
            f"no memory is reserved for a crash kernel: {why.text}", hint=why.advice
        )
    found = identify_kernel(path, request.kernel, facts.arch, request.image_format, configuration)
    check_type(options.image_type, found, facts.arch)
    request, needless = without_needless(unwrap(request, found), found.image)
    choice = choose(CallWish(options.call), request, found.image, facts)
    choice = replace(
        choice, warnings=(*warnings, *needless, *silent, *line.warnings, *choice.warnings)
    )
    notes = (choice.note, *choice.warnings, *request.notes)
    return Prepared(kernel, initrd, replace(request, notes=notes), choice, found.image)


def identify_kernel(
    path: str,
    data: Buffer,
    arch: str | None = None,
    wanted: str | None = None,
    configuration: str | None = None,
) -> Identified:
    """Find the kernel in the file that the user named ``path``; a refusal names the file.

    The other arguments are those of :func:`pykexec.formats.identify`.
    """
    from pykexec.formats import identify

    try:
        return identify(data, arch, wanted, configuration)
    except (ImageError, MissingLibraryError) as error:
        error.message = f"kernel {path!r}: {error.message}"
        raise


@dataclass(frozen=True, slots=True)
class BuiltCommandLine:
    """The new kernel's command line as asked for, and what to say of it."""

    cmdline: bytes
    notes: tuple[str, ...] = ()
    """How it was made."""
    warnings: tuple[str, ...] = ()
    """What is left out that the user may miss."""


def build_cmdline(facts: MachineFacts, options: LoadOptions) -> BuiltCommandLine:
    """Make the new kernel's command line."""
    from pykexec.values.command_line import reuse

    cmdline = os.fsencode(options.append or "")
    if facts.ipl_parameters.startswith(b"="):
        return _replaced(facts.ipl_parameters[1:], cmdline, options)
    if not options.reuse_cmdline:
        return _with_old_root(facts, cmdline, options.old_root)
    needed = frozenset({"swiotlb"} if facts.encrypted_guest else ())
    running = _without_own(facts.cmdline, facts.ipl_parameters)
    reused = reuse(running, cmdline, for_crash=options.crash, needed=needed)
    parts = {
        "reused of the running command line": reused.kept,
        "not reused of it": reused.dropped,
        "added to it": reused.added,
    }
    notes = tuple(f"{what}: {_listed(words) or 'nothing'}" for what, words in parts.items())
    if running != facts.cmdline:
        own = _listed((facts.ipl_parameters,))
        notes += (f"the next kernel appends its IPL parameters by itself, as this one: {own}",)
    too_large = _listed(reused.too_large)
    warning = f"--reuse-cmdline: left out, since a crash kernel has no memory for it: {too_large}"
    return BuiltCommandLine(reused.cmdline, notes, (warning,) if too_large else ())


def _without_own(running: bytes, parameters: bytes) -> bytes:
    """Leave out what the next kernel appends by itself: it would have it once more."""
    if parameters and running.rstrip() == parameters:
        return b""
    end = b" " + parameters
    line = running.rstrip()
    return line.removesuffix(end) if parameters and line.endswith(end) else running


def _replaced(parameters: bytes, cmdline: bytes, options: LoadOptions) -> BuiltCommandLine:
    """Return the line that a kernel will have whatever it is told.

    Its IPL parameters begin with ``=``: Linux arch/s390/boot/ipl_parm.c, "append_ipl_block_parm".
    Raises :class:`CommandLineError` where another one is asked for.
    """
    own = _listed((parameters,))
    if not cmdline:
        note = f"the next kernel has its IPL parameters for a command line, as this one: {own}"
        return BuiltCommandLine(parameters if options.reuse_cmdline else b"", (note,))
    raise CommandLineError(
        "the next kernel would have none of this command line: the IPL parameters of this machine "
        f"begin with '=' and replace every one, by: {own}",
        hint="IPL with parameters that do not begin with '=', or load without --append",
    )


def _with_old_root(facts: MachineFacts, cmdline: bytes, option: str) -> BuiltCommandLine:
    """Add the running kernel's root= to a line without one, unless ``option`` was given.

    What goes on is the last one, which is the one that counts.
    """
    from pykexec.values.command_line import kernel_words, key_of

    if not option or any(key_of(word) == "root" for word in kernel_words(cmdline)):
        return BuiltCommandLine(cmdline)
    old = [word for word in kernel_words(facts.cmdline) if key_of(word) == "root"]
    if not old:
        return BuiltCommandLine(cmdline)
    note = f"{_listed((old[-1],))} of the running command line is added ({option} keeps it out)"
    return BuiltCommandLine(b" ".join(filter(None, (cmdline, old[-1]))), (note,))


def _listed(words: tuple[bytes, ...]) -> str:
    return b" ".join(words).decode("utf-8", "replace")


def _join(initrd: MappedFile | None, more: tuple[str, ...]) -> Buffer | None:
    """Return the initrd's bytes, and behind them those of more files."""
    if initrd is None or not more:
        return None if initrd is None else initrd.data
    from pykexec.formats.uki import join_initrds
    from pykexec.loading.files import map_file

    return join_initrds([initrd.data, *(map_file(path, "initrd").data for path in more)])


def _build_request(
    facts: MachineFacts,
    options: LoadOptions,
    kernel: Buffer,
    initrd: Buffer | None,
    console: Console | None,
    line: BuiltCommandLine,
) -> LoadRequest:
    from pykexec.loading.files import map_file, open_module, open_module_file
    from pykexec.loading.image_types import format_of
    from pykexec.planning.plans import ElfArgs, LoadRequest, PurgatoryOptions
    from pykexec.values.calls import Target

    dtb = map_file(options.dtb, "device tree") if options.dtb is not None else None
    return LoadRequest(
        kernel=kernel,
        initrd=initrd,
        cmdline=line.cmdline,
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
        preserve_context=options.preserve_context,
        no_cma=options.no_cma,
        lose_preserved=options.lose_preserved,
        force_dtb=options.force_dtb,
        core_bits=options.core_bits,
        backup=options.backup,
        ima=options.ima,
        entry=options.entry,
        kernel_name=os.fsencode(
            options.kernel if options.kernel_name is None else options.kernel_name
        ),
        modules=(
            *(
                open_module_file(m.path, m.cmdline, is_unpacked=m.is_unpacked)
                for m in options.entry_modules
            ),
            *(open_module(text) for text in options.modules),
        ),
        image_format=format_of(options.image_type, facts.arch),
        entry_bits=16 if options.real_mode else 32 if options.entry_32bit else None,
        elf_args=ElfArgs(options.elf_args) if options.elf_args is not None else None,
        reuse_initrd=options.reuse_initrd,
        notes=options.notes + line.notes,
    )
