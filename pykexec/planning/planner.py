"""From facts and a request to a plan: which format, which protocol. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import ARCHITECTURES, known_names, why_no_plan
from pykexec.values.data_classes import replace
from pykexec.values.errors import CommandLineError, ImageError, OptionError, PykexecError
from pykexec.values.units import counted

if TYPE_CHECKING:
    from pykexec.formats import KernelImage
    from pykexec.planning.plans import FileLoadPlan, LoadRequest, SegmentPlan
    from pykexec.values.calls import KexecFileFlags
    from pykexec.values.facts import MachineFacts


def plan(facts: MachineFacts, request: LoadRequest) -> SegmentPlan:
    """Plan a load of ``request`` on the machine ``facts``, without touching any machine.

    The plan is not verified yet: see :func:`pykexec.planning.invariants.verify`. Raises
    :class:`ImageError`, :class:`CommandLineError`, :class:`NoRoomError`,
    :class:`OptionError` for an architecture that pykexec cannot plan for, or
    :class:`PykexecError` for what the running kernel cannot do.
    """
    from pykexec.planning.check_time import estimated_seconds, long_check
    from pykexec.planning.rooms import boot_room
    from pykexec.purgatory_objects import load
    from pykexec.purgatory_objects.parameters import NO_PURGATORY

    _check_request(facts, request)
    request, image = _unwrapped(facts, request)
    request = replace(request, notes=request.notes + _advice(facts, request))
    purgatory = load(facts.arch) if ARCHITECTURES[facts.arch].purgatories else NO_PURGATORY
    made = boot_room(facts.arch).plan(facts, request, image, purgatory)
    if request.entry is not None:
        note = f"entered at {request.entry:#x}, as asked for, and not through the purgatory"
        return replace(made, entry=request.entry, notes=(*made.notes, note))
    if request.purgatory.skip_checks:
        return made
    made = replace(made, check_seconds=estimated_seconds(made, facts))
    warning = long_check(made)
    return made if warning is None else replace(made, notes=(*made.notes, warning))


def plan_way_back(facts: MachineFacts, request: LoadRequest, address: int) -> SegmentPlan:
    """Plan the return to the kernel that waits at the physical ``address`` for this one to do so.

    ``request`` has no kernel. The plan is not verified yet. Raises :class:`OptionError` where no
    kernel can wait, or none does at that address, and :class:`NoRoomError`.
    """
    from pykexec.planning.rooms import returning_room
    from pykexec.purgatory_objects import load

    _require_returning(facts, "a return to another kernel")
    request = replace(request, preserve_context=True)
    return returning_room(facts.arch).plan_way_back(facts, request, address, load(facts.arch))


def plan_file_load(facts: MachineFacts, request: LoadRequest) -> FileLoadPlan:
    """Plan a load of ``request`` by kexec_file_load(2); the kernel chooses the addresses.

    Whether that call takes this kernel and honours this request is not asked here: see
    :func:`pykexec.calls.call_choice.choose`. Raises :class:`ImageError`, :class:`OptionError` and
    :class:`PykexecError` as :func:`plan` does.
    """
    from pykexec.planning.file_placement import placement_rules
    from pykexec.planning.plans import FileLoadPlan

    _check_request(facts, request)
    request, image = _unwrapped(facts, request)
    request = _for_own_loader(facts, request, image)
    if facts.kernel.handover:
        from pykexec.planning.scratch import refuse_what_does_not_fit

        refuse_what_does_not_fit(request, image, facts)
    return FileLoadPlan(
        arch=facts.arch,
        target=request.target,
        kernel=request.kernel,
        initrd=request.initrd,
        cmdline=request.cmdline,
        flags=_file_flags(request),
        notes=request.notes + _advice(facts, request),
        placement=placement_rules(facts, request, image),
    )


def _for_own_loader(facts: MachineFacts, request: LoadRequest, image: KernelImage) -> LoadRequest:
    """Put an Image into an ELF file for a running kernel that takes nothing else by that call."""
    from pykexec.planning.file_placement import release_version

    architecture = ARCHITECTURES[facts.arch]
    flat = architecture.flat_image
    if flat is None or flat.by_file_since is None:
        return request
    version = release_version(facts.kernel.release)
    if version is None or version >= flat.by_file_since:
        return request
    from pykexec.formats.elf_vmlinux import wrap
    from pykexec.formats.linux_image import LinuxImage

    assert isinstance(image, LinuxImage)  # formats.identify has asked whom the image is for
    elf = wrap(request.kernel, image.image_size, architecture.elf_machine)
    note = (
        f"before Linux {'.'.join(map(str, flat.by_file_since))} the running kernel's own loader "
        "takes ELF files alone: it gets one that is made of the Image"
    )
    return replace(request, kernel=elf, notes=(*request.notes, note))


def _advice(facts: MachineFacts, request: LoadRequest) -> tuple[str, ...]:
    """Say what the user would not expect of this machine, whatever the call."""
    from pykexec.values.calls import Target
    from pykexec.values.command_line import kernel_words

    advice = []
    if request.force_dtb and request.dtb is None and facts.device_tree is None:
        advice.append("--force-dtb: the running kernel has no device tree (/sys/firmware/fdt)")
    told = b"acpi_no_memhotplug" in kernel_words(request.cmdline)
    if request.target is Target.CRASH and facts.memory_devices and not told:
        advice.append(
            "memory can be plugged into this machine: give the crash kernel acpi_no_memhotplug, "
            "or it takes what was plugged in for its own and overwrites what it is to dump"
        )
    return tuple(advice)


def _unwrapped(facts: MachineFacts, request: LoadRequest) -> tuple[LoadRequest, KernelImage]:
    """Peel the kernel's wrappings off; a request without any comes back as it is.

    Only then is the command line known, which a UKI may bring.
    """
    from pykexec.formats import identify
    from pykexec.planning.unwrapping import unwrap

    found = identify(request.kernel, facts.arch, request.image_format, request.configuration)
    request = unwrap(request, found)
    _check_cmdline(request)
    return request, found.image


def _check_cmdline(request: LoadRequest) -> None:
    """Refuse a NUL, whoever brought it: either call takes it, and the new kernel stops there."""
    cmdline = request.cmdline
    if b"\0" not in cmdline:
        return
    at = cmdline.index(0)
    brought = request.brought
    owner = f" of {brought.container}" if brought and cmdline == brought.cmdline else ""
    raise CommandLineError(
        f"the command line{owner} has a NUL byte at position {at}: the kernel would stop "
        f"reading there, and lose the last {len(cmdline) - at - 1} of "
        f"{counted(len(cmdline), 'byte')}",
        hint="give the whole command line with --append, without the NUL",
    )


def require_plans(arch: str) -> None:
    """Raise :class:`OptionError` for an architecture that there are no plans for."""
    why = why_no_plan(arch)
    if why is not None:
        raise OptionError(why, hint=known_names())


def _check_request(facts: MachineFacts, request: LoadRequest) -> None:
    require_plans(facts.arch)
    if request.initrd is not None and not len(request.initrd):
        raise ImageError("the initrd file is empty (0 bytes)", hint="leave out --initrd")
    if request.reuse_initrd and not ARCHITECTURES[facts.arch].has_tree:
        raise OptionError(
            f"--reuseinitrd: {ARCHITECTURES[facts.arch].family} kernels do not tell where the "
            "first boot's initrd is",
            hint="name the initrd with --initrd",
        )
    if request.hotplug:
        _check_hotplug(facts, request)
    if request.preserve_context:
        _check_preserve_context(facts, request)


def _check_preserve_context(facts: MachineFacts, request: LoadRequest) -> None:
    """Refuse what no kernel of the architecture does, and what excludes itself."""
    from pykexec.values.calls import Target

    option = "--load-preserve-context"
    _require_returning(facts, option)
    if request.target is Target.CRASH:
        raise OptionError(f"{option} excludes -p: nobody returns to a kernel that has crashed")
    if request.entry is not None:
        raise OptionError(
            f"{option} excludes --entry: the purgatory tells the next kernel of the way back"
        )


def _require_returning(facts: MachineFacts, what: str) -> None:
    if not ARCHITECTURES[facts.arch].can_be_returned_to:
        raise OptionError(
            f"{what}: no {ARCHITECTURES[facts.arch].family} kernel can be returned to, there is "
            "no CONFIG_KEXEC_JUMP for it"
        )


def _check_hotplug(facts: MachineFacts, request: LoadRequest) -> None:
    """Refuse what the user relies on and the running kernel does with neither call."""
    from pykexec.values.calls import Target

    if request.target is Target.CRASH and not facts.kernel.crash_elfcorehdr_size:
        raise PykexecError(
            "--hotplug: the running kernel does not update a core header: no "
            "crash_elfcorehdr_size in /sys/kernel, which Linux 6.6 and later have with "
            "CONFIG_CRASH_HOTPLUG",
            hint="leave out --hotplug and reload the crash kernel when memory or CPUs change",
        )


def _file_flags(request: LoadRequest) -> KexecFileFlags:
    from pykexec.values.calls import KexecFileFlags, Target

    flags = KexecFileFlags(0)
    if request.target is Target.CRASH:
        flags |= KexecFileFlags.KEXEC_FILE_ON_CRASH
    if request.initrd is None:
        flags |= KexecFileFlags.KEXEC_FILE_NO_INITRAMFS
    if request.no_cma:
        flags |= KexecFileFlags.KEXEC_FILE_NO_CMA
    if request.force_dtb:
        flags |= KexecFileFlags.KEXEC_FILE_FORCE_DTB
    return flags
