"""Which of the two system calls loads, and why. Pure.

kexec_file_load(2) lets the running kernel read the files, check a signature and choose the
addresses; kexec_load(2) takes segments that are laid out here. The first is preferred, as
it also works where the kernel is locked down; what rules it out is decided here from the
request, the image and the state of the machine, and not by trial.
"""

from __future__ import annotations

import errno

from pykexec.architectures import architecture_of, family_of
from pykexec.values.calls import Call, CallWish, Target
from pykexec.values.command_line import switched
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import (
    CommandLineError,
    FileCallUnusableError,
    HandoverLostError,
    ImageError,
    OptionError,
)
from pykexec.values.units import ADDRESS_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.facts import MachineFacts
    from pykexec.values.kernel_state import KernelState

FALLBACK_ERRNOS = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOEXEC, errno.ENOTSUP})
"""Refusals by kexec_file_load that say "not this way" and not "no": kexec_load may be tried."""

_METADATA = "kexec-metadata"
"""What the kernel always registers, and nobody misses: include/linux/kho/abi."""
_HANDOVER = "kexec handover is on, and kexec_load loses what is preserved for the next kernel"


@dataclass(frozen=True, slots=True)
class Choice:
    """The call to make first, and what the user should know about it."""

    call: Call
    reason: str
    fallback: bool = False
    """kexec_load may follow when kexec_file_load answers one of FALLBACK_ERRNOS."""
    warnings: tuple[str, ...] = ()
    """Options that will have no effect, and why that does no harm."""

    @property
    def note(self) -> str:
        """The reason as a plan's note."""
        return f"{self.call}: {self.reason}"


def choose(wish: CallWish, request: LoadRequest, image: KernelImage, facts: MachineFacts) -> Choice:
    """Choose the call for ``request`` on the machine ``facts``.

    Raises :class:`OptionError` when the only call that is left cannot honour an option,
    :class:`FileCallUnusableError` when 32-bit programs have none of that name, and
    :class:`ImageError` or :class:`CommandLineError` when it does not take the kernel or the
    command line.
    """
    if facts.kernel.xen_host:
        return _choose_on_xen(wish, request)
    if wish is CallWish.SEGMENTS:
        lost = (_HANDOVER,) if _hands_over(request, facts) else ()
        if lost and not request.lose_preserved:
            raise _would_lose(facts)
        return Choice(Call.KEXEC_LOAD, "it was asked for", warnings=lost)
    forced = _why_file_call_only(wish, facts.kernel)
    if forced is None and _hands_over(request, facts) and not request.lose_preserved:
        forced = _HANDOVER
    options = dict(_options_of_kexec_load(request, facts))
    if forced is None:
        chosen = _choose_freely(options, request, image, facts)
        loses = chosen.call is Call.KEXEC_LOAD and _hands_over(request, facts)
        return replace(chosen, warnings=(_HANDOVER,)) if loses else chosen
    if _lacks_file_call(facts):
        raise FileCallUnusableError(
            f"kexec_file_load cannot be used, and {forced}: {_for_64_bits(facts)}",
            call=Call.KEXEC_FILE_LOAD,
            errno=errno.ENOSYS,
            hint="use kexec_load (-c) where it is permitted, or a 64-bit program on a 64-bit "
            "kernel",
        )
    refused = [name for name, harmless in options.items() if harmless is None]
    if refused:
        raise OptionError(
            f"{', '.join(refused)} cannot be honoured by kexec_file_load, and {forced}",
            hint="leave the option out, or use kexec_load (-c) where it is permitted",
        )
    _require_acceptable(request, image, facts)
    return Choice(
        Call.KEXEC_FILE_LOAD,
        forced,
        warnings=(
            *(
                f"{name} has no effect with kexec_file_load: {harmless}"
                for name, harmless in options.items()
            ),
            *_file_warnings(request, image, facts),
        ),
    )


def _choose_on_xen(wish: CallWish, request: LoadRequest) -> Choice:
    """On a Xen host segments go to the hypervisor; dom0's own kernel is not asked."""
    if request.preserve_context:
        raise OptionError(
            "--load-preserve-context: this is a Xen host, and its hypervisor cannot be returned to",
            hint="boot this kernel without Xen to do that",
        )
    if request.hotplug:
        raise OptionError(
            "--hotplug: this is a Xen host, whose hypervisor does not update a core header",
            hint="leave out --hotplug and reload the crash kernel when memory or CPUs change",
        )
    ignored = "kexec_file_load has no effect on a Xen host: the hypervisor takes segments alone"
    return Choice(
        Call.KEXEC_LOAD,
        "this is a Xen host: the hypervisor takes the segments, at machine addresses",
        warnings=(ignored,) if wish is CallWish.FILE else (),
    )


def _would_lose(facts: MachineFacts) -> HandoverLostError:
    found = facts.kernel.handed_over
    names = [] if found is None else [name for name in found.registered or () if name != _METADATA]
    registered = f" (registered: {', '.join(names)})" if names else ""
    return HandoverLostError(
        f"kexec_load was asked for, and {_HANDOVER}{registered}",
        hint="load by kexec_file_load (-s, or -a); --lose-preserved has it lost",
    )


def _hands_over(request: LoadRequest, facts: MachineFacts) -> bool:
    """Tell whether a jump may hand memory over: the kernel does so in images of its own loader.

    Linux kernel/liveupdate/kexec_handover.c, "kho_fill_kimage": never for a crash kernel. A kernel
    that waits to be returned to keeps what it has preserved (kernel/kexec_core.c, "kernel_kexec").
    """
    leaves = request.target is not Target.CRASH and not request.preserve_context
    return facts.kernel.handover and leaves


def unload_order(wish: CallWish, state: KernelState) -> tuple[Call, Call]:
    """Return the calls to unload by, the one that is permitted first."""
    if wish is CallWish.FILE or _why_not_kexec_load(state) is not None:
        return Call.KEXEC_FILE_LOAD, Call.KEXEC_LOAD
    return Call.KEXEC_LOAD, Call.KEXEC_FILE_LOAD


def _choose_freely(
    options: dict[str, str | None], request: LoadRequest, image: KernelImage, facts: MachineFacts
) -> Choice:
    if options:
        return Choice(Call.KEXEC_LOAD, f"only this call honours {', '.join(options)}")
    if _lacks_file_call(facts):
        return Choice(Call.KEXEC_LOAD, _for_64_bits(facts))
    from pykexec.planning.rooms import boot_room

    room = boot_room(facts.arch)
    obstacle = room.file_obstacle(image, facts) or room.file_cmdline_obstacle(request, image)
    if obstacle is not None:
        return Choice(Call.KEXEC_LOAD, f"kexec_file_load does not take this: {obstacle}")
    fault = _dump_fault(request, facts)
    if fault is not None:
        return Choice(Call.KEXEC_LOAD, f"kexec_file_load would spoil the dump: {fault}")
    untold = _untold(request, facts)
    if untold is not None:
        return Choice(Call.KEXEC_LOAD, f"kexec_file_load does not tell the next kernel of {untold}")
    if facts.kernel.xen:
        return Choice(
            Call.KEXEC_LOAD, "this is a Xen guest, where kexec_file_load may find no memory"
        )
    return Choice(
        Call.KEXEC_FILE_LOAD,
        "nothing asked for needs kexec_load, which follows if the kernel lacks this call or "
        "does not take the kernel file",
        fallback=True,
    )


def _dump_fault(request: LoadRequest, facts: MachineFacts) -> str | None:
    from pykexec.planning.rooms import boot_room

    return boot_room(facts.arch).file_dump_fault(facts) if request.target is Target.CRASH else None


def _untold(request: LoadRequest, facts: MachineFacts) -> str | None:
    """Return what the next kernel would not know of; a capture kernel need not."""
    from pykexec.planning.rooms import boot_room

    return None if request.target is Target.CRASH else boot_room(facts.arch).file_shortfall(facts)


def _file_warnings(request: LoadRequest, image: KernelImage, facts: MachineFacts) -> Iterator[str]:
    fault = _dump_fault(request, facts)
    if fault is not None:
        yield f"the dump by kexec_file_load will break off: {fault}"
    untold = _untold(request, facts)
    if untold is not None:
        yield f"kexec_file_load does not tell the next kernel of {untold}"
    if _hands_over(request, facts):
        yield from _not_taken_over(request, facts)
        from pykexec.planning.next_layouts import unknown_to_next

        unknown = unknown_to_next(image, facts)
        if unknown is not None:
            yield unknown


def _not_taken_over(request: LoadRequest, facts: MachineFacts) -> Iterator[str]:
    """Say what of the next kernel's command line keeps it from what is preserved.

    It reads that there is something, keeps the memory as it is, and gives it to nobody (Linux
    kernel/liveupdate/kexec_handover.c, "kho_init"; luo_core.c, "luo_early_startup").
    """
    if not switched(request.cmdline, "kho"):
        yield (
            "kho=on is not on the next kernel's command line: unless it is built to do without, "
            "what is preserved stays reserved there, and nobody gets it"
        )
    elif switched(facts.cmdline, "liveupdate") and not switched(request.cmdline, "liveupdate"):
        yield (
            "liveupdate=on is not on the next kernel's command line: nobody gets the sessions that "
            "are preserved there"
        )


def _for_64_bits(facts: MachineFacts) -> str:
    here = architecture_of(facts.arch)
    if all(member.word_bits == 32 for member in family_of(here)):
        return f"{here.family} has no kexec_file_load"
    return f"{here.family} has kexec_file_load for 64-bit programs only"


def _lacks_file_call(facts: MachineFacts) -> bool:
    return architecture_of(facts.arch).word_bits == 32 or facts.caller_bits == 32


def _why_file_call_only(wish: CallWish, state: KernelState) -> str | None:
    if wish is CallWish.FILE:
        return "it was asked for"
    return _why_not_kexec_load(state)


def _why_not_kexec_load(state: KernelState) -> str | None:
    """Return the gate that refuses kexec_load and not kexec_file_load.

    Linux kernel/kexec.c, "kexec_load_check".
    """
    if state.lockdown not in (None, "none"):
        return f"the kernel is locked down ([{state.lockdown}]), which refuses kexec_load"
    if state.loadpin_enforced:
        return "LoadPin is enforced, which refuses kexec_load"
    return None


def _options_of_kexec_load(
    request: LoadRequest, facts: MachineFacts
) -> Iterator[tuple[str, str | None]]:
    """Yield what only kexec_load honours of the options and a UKI, and why to ignore it is no harm.

    None where it would: the load would not be what was asked for.
    """
    from pykexec.values.consoles import FirmwareConsole, MemoryConsole, PcConsole

    console = request.purgatory.console
    pc = console if isinstance(console, PcConsole) else PcConsole()
    quiet = "the kernel's own purgatory prints nothing"
    options = (
        ("--mem-min", request.mem_min > 0, None),
        ("--mem-max", request.mem_max < ADDRESS_MAX, None),
        ("--load-preserve-context", request.preserve_context, None),
        ("--noefi", request.no_efi, None),
        ("--dtb", request.dtb is not None, None),
        ("--entry", request.entry is not None, None),
        ("--entry-32bit", request.entry_bits == 32, None),
        ("--real-mode", request.entry_bits == 16, None),
        ("--module", bool(request.modules), None),
        (f"--args-{request.elf_args}", request.elf_args is not None, None),
        ("--reuseinitrd", request.reuse_initrd, None),
        (
            "--pass-memmap-cmdline",
            request.pass_memmap_cmdline,
            "the kernel tells the next one its memory map by E820",
        ),
        (
            f"{request.brought.container if request.brought else 'the container'}'s device tree",
            _brings_tree(request, facts),
            "that call takes none from a program",
        ),
        (
            "--backup",
            request.backup is not None,
            "the kernel sees to the low memory that it uses by itself",
        ),
        ("--ima", request.ima is not None, "the kernel hands IMA's list on if it is built to"),
        (
            "--no-checks",
            request.purgatory.skip_checks,
            "the kernel's own purgatory always checks the digest",
        ),
        ("--console-serial", pc.console_serial, quiet),
        ("--console-vga", pc.console_vga, quiet),
        ("--serial", isinstance(console, MemoryConsole | FirmwareConsole), quiet),
    )
    return ((name, harmless) for name, given, harmless in options if given)


def _brings_tree(request: LoadRequest, facts: MachineFacts) -> bool:
    """Tell whether the device tree is to come out of a container."""
    if request.brought is None or request.dtb is not None or request.force_dtb:
        return False
    from pykexec.boot.tree.given_tree import tree_brought

    return tree_brought(request.brought, facts.device_tree) is not None


def _require_acceptable(request: LoadRequest, image: KernelImage, facts: MachineFacts) -> None:
    from pykexec.planning.rooms import boot_room

    room = boot_room(facts.arch)
    obstacle = room.file_obstacle(image, facts)
    hint = "kexec_load (-c) may take it, where it is permitted"
    if obstacle is not None:
        raise ImageError(f"kexec_file_load does not take this kernel: {obstacle}", hint=hint)
    obstacle = room.file_cmdline_obstacle(request, image)
    if obstacle is not None:
        raise CommandLineError(
            f"kexec_file_load does not take this command line: {obstacle}", hint=hint
        )
