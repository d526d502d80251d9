"""The checks, each from what was read to what it means. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import ARCHITECTURES, known_names, why_not_loaded
from pykexec.calls.rejections import shut_gates, xen_gate
from pykexec.crash.fadump.state import (
    DIRECTORY,
    Wish,
    how_it_stands,
    left_of_a_dump,
    loss_by_a_jump,
    why_no_crash_kernel,
    why_no_load,
    wish_of,
)
from pykexec.crash.reservation import fault, shortfall
from pykexec.doctor import Asked, Finding, Level, inputs
from pykexec.values.calls import Call, Target
from pykexec.values.command_line import key_of, split_words, switched
from pykexec.values.memory import crash_regions
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.crash.estimate import Estimate
    from pykexec.crash.fadump.state import FadumpState
    from pykexec.doctor import Surroundings
    from pykexec.values.facts import MachineFacts
    from pykexec.values.kernel_state import KernelState

GATES = ("capability", "kexec_load_disabled", "load_limit", "lockdown", "loadpin")
"""The names of :func:`pykexec.calls.rejections.shut_gates`."""
_IMA_POLICY = "/sys/kernel/security/ima/policy"
_IMA_SIGNED_POLICY = "secure_boot"
"""Of ``ima_policy=``: appraises kernels (Linux admin-guide/kernel-parameters.txt)."""


def check_gates(state: KernelState, asked: Asked) -> Iterator[Finding]:
    """Find what refuses the load by the call that it would be made with.

    Without a kernel, what leaves one of the two calls open does not block.
    """
    call = asked.call or Call.KEXEC_FILE_LOAD
    shut = {gate.name: gate for gate in shut_gates(state, asked.target, call)}
    for name in GATES:
        gate = shut.get(name)
        if gate is None:
            yield Finding(name, Level.FINE, "open")
            continue
        # A signed kernel may pass these, and only the running kernel knows its keys.
        may_pass = name in ("lockdown", "loadpin") and call is Call.KEXEC_FILE_LOAD
        level = Level.RISK if may_pass and asked.signed is not False else Level.BLOCKS
        text = gate.reason
        if name == "lockdown" and may_pass and asked.signed is not False:
            text = (
                f"the kernel is locked down ([{state.lockdown}]): kexec_load is refused, and "
                "kexec_file_load takes only a kernel signed with a key that this one trusts"
            )
        yield Finding(name, level, text, gate.source, gate.hint)


def check_kernel(state: KernelState, around: Surroundings, asked: Asked) -> Iterator[Finding]:
    """Find out whether the running kernel has the calls at all."""
    if not around.shows_kernel:
        text = "nothing of /sys/kernel is recorded: whether the running kernel has kexec is unknown"
        yield Finding("kexec", Level.NOTE, text)
        return
    if state.loaded is None and state.crash_loaded is None:
        yield Finding(
            "kexec",
            Level.BLOCKS,
            "the running kernel shows no kexec: it is built without it, or /sys is not mounted",
            "/sys/kernel/kexec/loaded",
            "boot a kernel with CONFIG_KEXEC=y or CONFIG_KEXEC_FILE=y",
        )
        return
    loaded = "a kernel is loaded, and the next orderly reboot may jump into it"
    yield Finding(
        "loaded",
        Level.NOTE if state.loaded else Level.FINE,
        loaded if state.loaded else "nothing is loaded for a jump",
        "/sys/kernel/kexec/loaded",
        "'pykexec unload' undoes it" if state.loaded else "",
    )
    yield inputs.check_calls(around, asked)


def check_architecture(arch: str) -> Iterator[Finding]:
    """Find out whether anything can be loaded on machines of this kind."""
    why = why_not_loaded(arch)
    if why is not None:
        yield Finding("architecture", Level.BLOCKS, why, advice=known_names())


def check_signatures(state: KernelState, around: Surroundings, asked: Asked) -> Iterator[Finding]:
    """Find what wants a signature: secure boot, a secure IPL, the configuration."""
    if state.secure_boot:
        yield Finding(
            "secure_boot",
            Level.NOTE,
            "secure boot is on: the kernel to load should be one that firmware would start too",
            "/sys/firmware/efi/efivars/SecureBoot-*",
        )
    else:
        words = {None: "unknown, or there is no EFI", False: "off"}
        yield Finding("secure_boot", Level.FINE, f"secure boot: {words[state.secure_boot]}")
    if state.secure_ipl and asked.call is not Call.KEXEC_LOAD:
        # Linux arch/s390/kernel/machine_kexec_file.c, "s390_verify_sig".
        yield Finding(
            "secure_ipl",
            Level.BLOCKS if asked.signed is False else Level.RISK,
            "after a secure IPL kexec_file_load takes no unsigned kernel"
            + (", and this one has no signature" if asked.signed is False else ""),
            "/sys/firmware/ipl/secure",
            "sign the kernel with a key of the running kernel's keyrings",
        )
    elif state.secure_ipl:
        # Linux security/integrity/ima/ima_main.c, "ima_load_data".
        yield Finding(
            "secure_ipl",
            Level.RISK,
            "after a secure IPL a kernel with IMA refuses kexec_load",
            "/sys/firmware/ipl/secure",
            "load a signed kernel by kexec_file_load (--call file)",
        )
    forced = around.config is not None and around.config.has("CONFIG_KEXEC_SIG_FORCE")
    if forced and asked.call is not Call.KEXEC_LOAD:
        yield Finding(
            "signature",
            Level.BLOCKS if asked.signed is False else Level.RISK,
            "kexec_file_load takes no unsigned kernel (CONFIG_KEXEC_SIG_FORCE)"
            + (", and this one has no signature" if asked.signed is False else ""),
            around.config_source,
            "sign the kernel with a key of the running kernel's keyrings",
        )
    elif asked.signed is not None:
        text = "the kernel file is signed" if asked.signed else "the kernel file has no signature"
        yield Finding("signature", Level.FINE, text)


def check_ima(facts: MachineFacts, around: Surroundings, asked: Asked) -> Finding:
    """Find out whether IMA appraises kernels.

    Linux Documentation/ABI/testing/ima_policy: ``appraise func=KEXEC_KERNEL_CHECK``. With such a
    rule kexec_load is refused, since IMA sees no file (security/integrity/ima/ima_main.c,
    "ima_load_data").
    """
    rules = [rule for rule in around.ima_rules or () if rule.startswith("appraise")]
    rules = [rule for rule in rules if "KEXEC_KERNEL_CHECK" in rule]
    values = {key_of(w): w.partition(b"=")[2].decode("utf-8", "replace") for w in _words(facts)}
    policies = values.get("ima_policy", "").split("|")
    if not rules and _IMA_SIGNED_POLICY not in policies:
        unknown = around.ima_rules is None
        text = "IMA's policy cannot be read" if unknown else "IMA appraises no kernels"
        return Finding("ima_appraisal", Level.FINE, text, "" if unknown else _IMA_POLICY)
    if values.get("ima_appraise") in ("off", "log", "fix"):
        text = f"IMA's appraisal enforces nothing (ima_appraise={values['ima_appraise']})"
        return Finding("ima_appraisal", Level.NOTE, text, "/proc/cmdline")
    blocks = asked.call is Call.KEXEC_LOAD
    return Finding(
        "ima_appraisal",
        Level.BLOCKS if blocks else Level.RISK,
        "IMA appraises kernels: "
        + ("kexec_load is refused" if blocks else "one without a good signature is refused"),
        _IMA_POLICY if rules else "/proc/cmdline",
        "load by kexec_file_load (--call file) a kernel with a signature that IMA's keyring knows",
    )


def _words(facts: MachineFacts) -> tuple[bytes, ...]:
    return split_words(facts.cmdline)


def check_processors(facts: MachineFacts, asked: Asked) -> Finding:
    """Find processors that cannot be stopped, without which no kernel but a crash one is loaded.

    Linux arch/arm64/kernel/smp.c, "cpus_are_stuck_in_kernel": the spin tables of old firmware
    have no way back (Documentation/devicetree/bindings/arm/cpus.yaml, "enable-method").
    """
    methods = _enable_methods(facts)
    if "spin-table" not in methods or (facts.cpus or 2) < 2:
        return Finding("processors", Level.FINE, "no processor that cannot be stopped is known")
    blocks = asked.target is Target.NORMAL
    return Finding(
        "processors",
        Level.BLOCKS if blocks else Level.NOTE,
        "processors are parked by spin tables and cannot be given back: "
        + ("the load fails as busy (EBUSY)" if blocks else "only a crash kernel can be loaded"),
        facts.device_tree_source or "/sys/firmware/fdt",
        "use firmware with PSCI, such as TF-A or UEFI; or boot this kernel with nr_cpus=1",
    )


def _enable_methods(facts: MachineFacts) -> set[str]:
    from pykexec.formats.device_tree import parse_device_tree
    from pykexec.values.errors import ImageError

    if facts.device_tree is None:
        return set()
    try:
        cpus = parse_device_tree(facts.device_tree).root.child("cpus")
    except ImageError:
        return set()
    nodes = (cpus, *cpus.children) if cpus is not None else ()
    values = (node.get("enable-method") or b"" for node in nodes)
    return {name for value in values for name in value.decode("utf-8", "replace").split("\0")}


def check_crash_memory(facts: MachineFacts, asked: Asked) -> Finding:
    """Find out whether memory is reserved for a crash kernel."""
    regions = crash_regions(facts.iomem)
    if regions and facts.kernel.crash_size != 0:
        return _reserved(facts, format_size(sum(region.size for region in regions)))
    found = fault(facts)
    none_at_all = (
        "so none can be loaded" if asked.target is Target.CRASH else "and a panic leaves no core"
    )
    return Finding(
        "crashkernel",
        Level.BLOCKS if asked.target is Target.CRASH else Level.NOTE,
        f"no memory is reserved for a crash kernel, {none_at_all}: {found.text}",
        "/proc/iomem",
        found.advice,
    )


def check_fadump(state: FadumpState, asked: Asked) -> Iterator[Finding]:
    """Find out what firmware's own dumps mean for the load; of machines without them nothing."""
    if state.platform is None and not state.kernel:
        return
    stands = how_it_stands(state)
    crash = asked.target is Target.CRASH
    blocked = why_no_crash_kernel(state) if crash else why_no_load(state)
    source = DIRECTORY if state.kernel else "/proc/device-tree"
    if blocked is not None:
        yield Finding("fadump", Level.BLOCKS, blocked.text, source, blocked.advice)
        return
    if state.rtas_is_lent:
        yield Finding("fadump_rtas", Level.RISK, stands.text, source, stands.advice)
    notes = () if crash else (left_of_a_dump(state), loss_by_a_jump(state))
    for text in filter(None, notes):
        yield Finding("fadump", Level.NOTE, text, source)
    if any(notes):
        return
    wanted = wish_of(state.cmdline) not in (None, Wish.OFF)
    level = Level.RISK if wanted else Level.FINE
    yield Finding("fadump", level, stands.text, source, stands.advice if wanted else "")


def _reserved(facts: MachineFacts, size: str) -> Finding:
    """Compare what is reserved with what the command line asks for."""
    short = shortfall(facts)
    if short is None:
        return Finding("crashkernel", Level.FINE, f"{size} are reserved", "/proc/iomem")
    return Finding(
        "crashkernel",
        Level.NOTE,
        f"{format_size(short.found)} are reserved where {short.word} asks for "
        f"{format_size(short.wanted)}: it was made smaller since the boot",
        "/proc/iomem",
        "a number written to /sys/kernel/kexec_crash_size does that; a reboot reserves all again",
    )


XEN_SOURCE = "/sys/hypervisor/properties/features"


def check_xen(state: KernelState) -> Finding:
    """Find out whether Xen is below."""
    if not state.xen:
        return Finding("xen", Level.FINE, "not on Xen")
    if state.xen_host:
        gate = xen_gate(state)
        if gate is not None:
            return Finding("xen", Level.BLOCKS, gate.reason, gate.source, gate.hint)
        return Finding(
            "xen",
            Level.NOTE,
            "this is a Xen host (dom0): kernels are loaded into the hypervisor, and a jump ends it "
            "with all its guests",
            XEN_SOURCE,
            "shut the guests down first; the image needs memory that the hypervisor has left free",
        )
    return Finding(
        "xen",
        Level.RISK,
        "this is a Xen guest: a load of the kernel alone may find no memory, or be refused",
        "/sys/hypervisor/type",
        "load by kexec_load (--call segments)",
    )


def check_handover(facts: MachineFacts, around: Surroundings, asked: Asked) -> Iterator[Finding]:
    """Find what the next kernel gets from this one beside its own files."""
    seen = facts.kernel.handed_over
    told = None if seen is None else seen.handover.on
    if told or (told is None and (around.kho or switched(facts.cmdline, "kho"))):
        blocks = asked.call is Call.KEXEC_LOAD
        text = "kexec handover is on: only kexec_file_load preserves what was registered with it"
        if seen is not None and seen.registered:
            text += f" ({', '.join(seen.registered)})"
        yield Finding(
            "kho",
            Level.RISK if blocks else Level.NOTE,
            text,
            "/sys/kernel/debug/kho" if around.kho else "/proc/cmdline",
            "load with --call file" if blocks else "",
        )
    elif seen is not None and told is None:
        text = f"whether kexec handover is on cannot be told: {seen.handover.why}"
        yield Finding("kho", Level.NOTE, text, "/proc/cmdline")
    else:
        yield Finding("kho", Level.FINE, "no kexec handover")
    if asked.target is Target.NORMAL:
        yield from _framebuffer(facts)
        yield _mounts(around)


def check_layouts(unknown: str) -> Finding:
    """Find that the next kernel takes nothing over."""
    advice = "give a kernel with the same layouts, or finish what is preserved first"
    return Finding("layouts", Level.RISK, unknown, "/sys/kernel/debug/kho", advice)


def _framebuffer(facts: MachineFacts) -> Iterator[Finding]:
    from pykexec.planning.rooms import boot_room

    room = boot_room(facts.arch) if facts.arch in ARCHITECTURES else None
    kept = None if room is None else room.keeps_firmware_display(facts)
    if kept is None:
        return
    if kept:
        text = "firmware's framebuffer, if there is one, is handed to the next kernel"
        yield Finding("framebuffer", Level.FINE, text, "/proc/fb")
        return
    yield Finding(
        "framebuffer",
        Level.NOTE,
        f"the display is driven by {facts.framebuffer_driver}: expect no picture until the next "
        "kernel has loaded a driver for it",
        "/proc/fb",
        "watch a serial console",
    )


def _mounts(around: Surroundings) -> Finding:
    if not around.mounts:
        return Finding("mounts", Level.FINE, "no file system on a disk is mounted read-write")
    points = ", ".join(mount.point for mount in around.mounts[:4])
    more = f" and {len(around.mounts) - 4} more" if len(around.mounts) > 4 else ""
    return Finding(
        "mounts",
        Level.NOTE,
        f"mounted read-write: {points}{more}; a bare 'kexec -e' unmounts nothing",
        "/proc/mounts",
        "let an orderly reboot jump (systemctl kexec, or kexec KERNEL)",
    )


def check_capture(fault: str) -> Finding:
    """Say whether a capture kernel finds in this kernel's memory what it looks for; "": it does."""
    if not fault:
        return Finding("capture", Level.FINE, "the capture kernel finds what is left for it")
    return Finding(
        "capture",
        Level.RISK,
        f"the capture kernel will not find what is left for it: {fault}",
        "/proc/kcore",
        "a dump may lack VMCOREINFO, and the machine is not started again after it: reboot",
    )


def check_hotplug(updates_cpus: bool | None, updates_memory: bool | None) -> Finding:
    """Find out whether the kernel keeps a crash kernel's core header up to date."""
    if updates_cpus and updates_memory:
        text = "the kernel updates the core header when processors or memory change"
        return Finding("crash_hotplug", Level.FINE, text, "/sys/devices/system/cpu/crash_hotplug")
    return Finding(
        "crash_hotplug",
        Level.NOTE,
        "the kernel does not say that it updates the core header when processors or memory change",
        "/sys/devices/system/cpu/crash_hotplug",
        "reload the crash kernel after each change (contrib/ does)",
    )


def layout(segments: int, size: int) -> Finding:
    """Say that the segments of a plan by kexec_load have found room."""
    text = (
        f"there is room for the {counted(segments, 'segment')} of kexec_load, {format_size(size)}"
    )
    return Finding("layout", Level.FINE, text, "/proc/iomem")


def check_available(state: KernelState, size: int) -> Finding:
    """Find out whether the running kernel has memory for ``size`` bytes until the jump."""
    free = state.memory_available
    if free is None:
        return Finding("memory", Level.NOTE, "how much memory is available, nobody says")
    found = f"{format_size(size)} are kept until the jump, {format_size(free)} are available"
    if size <= free:
        return Finding("memory", Level.FINE, found, "/proc/meminfo")
    return Finding(
        "memory",
        Level.RISK,
        f"{found}: the load may fail, or the kernel kill it",
        "/proc/meminfo",
        "free memory, or give a smaller initrd; swap does not help",
    )


def check_estimate(estimate: Estimate) -> Finding:
    """Find out whether a crash kernel has memory enough, by the rules of the estimate."""
    if estimate.fits:
        return Finding(
            "crash_memory",
            Level.FINE,
            f"{format_size(estimate.reserved)} are reserved, and will do by the estimate",
            "/proc/iomem",
        )
    short = ", ".join(
        f"{check.name} needs {format_size(check.needed)} of {format_size(check.found)}"
        for check in estimate.checks
        if not check.holds
    )
    return Finding(
        "crash_memory",
        Level.BLOCKS,
        f"what is reserved for the crash kernel is too small: {short or 'there is nothing'}",
        "/proc/iomem",
        f"{'; '.join(estimate.hints)}; 'pykexec crash estimate' shows the terms",
    )
