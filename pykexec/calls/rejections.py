"""Why the kernel said no: an errno, the gates as they stand, the likely cause. Pure."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from pykexec.calls.call_choice import FALLBACK_ERRNOS
from pykexec.planning.plans import SegmentPlan
from pykexec.values.calls import Call, KexecFlags, Target
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import FileCallUnusableError, KernelRejectedError
from pykexec.values.facts import CAP_SYS_BOOT
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from pykexec.planning.plans import Plan
    from pykexec.values.kernel_state import KernelState

_UNDER_LOCKDOWN = {
    Call.KEXEC_LOAD: (
        "kexec_load is not allowed",
        "only kexec_file_load with a signed kernel is",
    ),
    Call.KEXEC_FILE_LOAD: (
        "it found no signature that it trusts on this kernel file",
        "sign the kernel with a key of the running kernel's keyrings (secure boot's db, MOK)",
    ),
}
"""What lockdown refuses of each call, and what it allows instead."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Something that refuses a load, and is shut."""

    name: str
    reason: str
    hint: str
    source: str
    """The file that it was read from."""


_BY_XEN = "this is a Xen host (dom0), where the hypervisor loads and starts kernels"


def xen_gate(state: KernelState) -> Gate | None:
    """Return why nothing is loaded, unloaded or jumped into on a Xen host; None: it is."""
    if not state.xen_host or state.xen_problem is None:
        return None
    problem = state.xen_problem
    source = "/dev/xen/privcmd"
    return Gate("xen_host", f"{_BY_XEN}, and {problem.reason}", problem.hint, source)


def explain(
    call: str,
    error: int,
    state: KernelState,
    plan: Plan | None = None,
    *,
    target: Target = Target.NORMAL,
) -> KernelRejectedError:
    """Turn errno ``error`` of ``call`` into a refusal that names its likely cause.

    ``plan`` is what was to be loaded; without one, ``target`` says which image was meant.
    """
    from pykexec.calls import file_rejections

    name = errno.errorcode.get(error, str(error))
    target = plan.target if plan is not None else target
    kind = KernelRejectedError
    if error == errno.EPERM:
        reason, hint = _eperm(call, state, target)
    elif call == Call.KEXEC_FILE_LOAD:
        reason, hint = file_rejections.cause(error, state, target)
        if error in FALLBACK_ERRNOS:
            kind = FileCallUnusableError
    else:
        layout = plan if isinstance(plan, SegmentPlan) else None
        causes = _CAUSES if call in set(Call) else _JUMP_CAUSES
        reason, hint = causes.get(error, _unknown)(call, state, layout)
    message = f"{call} failed: {os.strerror(error)} ({name}): {reason}"
    return kind(message, call=call, errno=error, hint=hint)


def shut_gates(
    state: KernelState, target: Target = Target.NORMAL, call: str = Call.KEXEC_LOAD
) -> list[Gate]:
    """Return each gate that refuses a load by ``call``."""
    if state.xen_host:
        # Linux is not asked, so that nothing of Linux's forbids it.
        xen_host = xen_gate(state)
        return [] if xen_host is None else [xen_host]
    gates = (_capability(state), _disabled(state), _limit(state, target))
    # A jump is not gated by lockdown, only loads are.
    loads = (_lockdown(state, call), _loadpin(state)) if call in set(Call) else (_loadpin(state),)
    return [gate for gate in (*gates, *loads) if gate is not None]


def _capability(state: KernelState) -> Gate | None:
    capabilities = state.effective_capabilities
    if capabilities is None or capabilities >> CAP_SYS_BOOT & 1:
        return None
    return Gate(
        "capability",
        "this process lacks CAP_SYS_BOOT (CapEff in /proc/self/status)",
        "run it as root, outside a container that drops the capability",
        "/proc/self/status",
    )


def _disabled(state: KernelState) -> Gate | None:
    if not state.kexec_load_disabled:
        return None
    return Gate(
        "kexec_load_disabled",
        "kernel.kexec_load_disabled is 1",
        "it stays so until the next boot; look for it in sysctl.d and on /proc/cmdline",
        "/proc/sys/kernel/kexec_load_disabled",
    )


def _limit(state: KernelState, target: Target) -> Gate | None:
    name = "panic" if target is Target.CRASH else "reboot"
    left = state.load_limit_panic if target is Target.CRASH else state.load_limit_reboot
    if left != 0:
        return None
    return Gate(
        "load_limit",
        f"kernel.kexec_load_limit_{name} is 0: no load is left",
        "the limit can only be raised by a reboot",
        f"/proc/sys/kernel/kexec_load_limit_{name}",
    )


def _lockdown(state: KernelState, call: str) -> Gate | None:
    if state.lockdown in (None, "none"):
        return None
    refused, allowed = _UNDER_LOCKDOWN[Call(call)]
    return Gate(
        "lockdown",
        f"the kernel is locked down ([{state.lockdown}] in /sys/kernel/security/lockdown): "
        + refused,
        f"{allowed}; lockdown comes from lockdown= on the command line or from secure boot",
        "/sys/kernel/security/lockdown",
    )


def _loadpin(state: KernelState) -> Gate | None:
    if not state.loadpin_enforced:
        return None
    return Gate(
        "loadpin",
        "LoadPin is enforced (/proc/sys/kernel/loadpin/enforce)",
        "it refuses kexec_load, and files from other than the pinned file system",
        "/proc/sys/kernel/loadpin/enforce",
    )


def _eperm(call: str, state: KernelState, target: Target) -> tuple[str, str]:
    gates = shut_gates(state, target, call)
    if gates:
        reasons = "; ".join(gate.reason for gate in gates)
        return reasons, "; ".join(gate.hint for gate in gates)
    return (
        "no gate that can be seen from here is shut",
        "an IMA or other security policy can refuse it: see the kernel log (dmesg)",
    )


def _enosys(call: str, state: KernelState, plan: SegmentPlan | None) -> tuple[str, str]:
    return "the running kernel is built without it", "it needs CONFIG_KEXEC=y"


def _ebusy(call: str, state: KernelState, plan: SegmentPlan | None) -> tuple[str, str]:
    return (
        "another load is in progress, or a CPU cannot be stopped",
        "try again; if dmesg says that CPUs are stuck in the kernel, this machine cannot kexec",
    )


def _einval(call: str, state: KernelState, plan: SegmentPlan | None) -> tuple[str, str]:
    if call == "reboot":
        return "no kernel is loaded", "load one first: kexec -l KERNEL"
    if plan is None:
        return "the kernel rejects the arguments", "see the kernel log (dmesg)"
    size = sum(segment.dest.size for segment in plan.segments)
    if plan.flags & KexecFlags.KEXEC_PRESERVE_CONTEXT:
        return (
            "the running kernel cannot be returned to: it is built without CONFIG_KEXEC_JUMP, as "
            "those of most distributions are",
            "load without --load-preserve-context",
        )
    return (
        f"the kernel rejects the layout of {counted(len(plan.segments), 'segment')}, "
        f"{format_size(size)}",
        "see the kernel log (dmesg), and the layout with --dry-run; a kernel may also refuse "
        "because its CPUs cannot be stopped",
    )


def _eaddrnotavail(call: str, state: KernelState, plan: SegmentPlan | None) -> tuple[str, str]:
    if plan is not None and plan.target is Target.CRASH:
        return "a segment lies outside the crash kernel region", "see --dry-run and /proc/iomem"
    return (
        "a segment's destination is not memory that the kernel can reach",
        "the memory map may have changed since the plan was made; try again, see --dry-run",
    )


def _enomem(call: str, state: KernelState, plan: SegmentPlan | None) -> tuple[str, str]:
    needed = (
        format_size(sum(segment.dest.size for segment in plan.segments))
        if plan is not None
        else "its segments"
    )
    free = state.memory_available
    found = f", {format_size(free)} are available" if free is not None else ""
    return (
        f"the kernel keeps {needed} in memory until the jump{found}",
        "free memory, or give a smaller initrd; swap does not help",
    )


def _unknown(call: str, state: KernelState, plan: SegmentPlan | None) -> tuple[str, str]:
    return "not a reason that this call is documented to have", "see the kernel log (dmesg)"


def _eacces(call: str, state: KernelState, plan: SegmentPlan | None) -> tuple[str, str]:
    return (
        "a security policy (IMA, SELinux …) refuses a kernel whose file it does not see",
        "kexec_file_load (-s) shows it the file; see the kernel log (dmesg)",
    )


_CAUSES = {
    errno.EACCES: _eacces,
    errno.ENOSYS: _enosys,
    errno.EBUSY: _ebusy,
    errno.EINVAL: _einval,
    errno.EADDRNOTAVAIL: _eaddrnotavail,
    errno.ENOMEM: _enomem,
}
_JUMP_CAUSES = {error: _CAUSES[error] for error in (errno.ENOSYS, errno.EBUSY, errno.EINVAL)}
