"""The calls that load, unload and start kernels on a Xen host: its hypervisor's, and not Linux's.

xen/include/public/kexec.h. Each raises :class:`KernelRejectedError` with its likely cause.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager

from pykexec.architectures import architecture_of
from pykexec.calls import hypercalls
from pykexec.calls.xen_structures import (
    LOAD,
    KexecCommand,
    KexecType,
    exec_argument,
    pack_segments,
    type_argument,
    xen_segments,
)
from pykexec.values.calls import Target
from pykexec.values.errors import KernelRejectedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.planning.plans import SegmentPlan

_TYPES = {
    Target.NORMAL: KexecType.KEXEC_TYPE_DEFAULT,
    Target.CRASH: KexecType.KEXEC_TYPE_CRASH,
}
_NO_MEMORY = {
    Target.NORMAL: (
        "the hypervisor has too little free memory to keep the image in until the jump",
        "leave it more than kernel and initrd are large: dom0_mem= on Xen's command line, or "
        "'xl mem-set Domain-0'; 'xl info' shows free_memory",
    ),
    Target.CRASH: (
        "the crash area has no room for page tables beside the segments",
        "boot Xen with a larger crashkernel=",
    ),
}
_CAUSES = {
    errno.EADDRNOTAVAIL: (
        "a segment lies outside of the memory that crashkernel= on Xen's command line reserves",
        "plan again: it may have changed since this plan was made",
    ),
    errno.EFAULT: ("the hypervisor could not read what was handed to it", "try again"),
    errno.EBUSY: ("a jump is under way", "see xl dmesg"),
    errno.EPERM: (
        "this is not the domain that may load kernels, or the running kernel is locked down",
        "run it as root in dom0; /sys/kernel/security/lockdown shows lockdown",
    ),
    errno.EACCES: ("only root may make hypercalls", "run it as root, in dom0 itself"),
    errno.ENOENT: ("no kernel is loaded", "load one first: kexec -l KERNEL"),
    errno.EINVAL: (
        "the hypervisor does not take an argument",
        "the log of the hypervisor may say more: xl dmesg",
    ),
}
"""xen/common/kexec.c, kimage.c; of the whole, cause and hint."""
_UNSUPPORTED = (
    "this Xen has no kexec interface: it is built without (CONFIG_KEXEC), or older than 4.4",
    "boot this kernel without Xen to use kexec",
)


def load(plan: SegmentPlan) -> None:
    """Carry out a plan by segments, whose addresses are machine addresses.

    The image that was loaded before stays when the hypervisor refuses this one. Raises
    :class:`PykexecError` for more segments than it takes. The plan is not verified here.
    """
    segments = xen_segments(plan)
    with _asked(KexecCommand.KEXEC_CMD_kexec_load, plan.target) as xen:
        addresses = [0 if item.data is None else xen.place(item.data)[0] for item in segments]
        array, _ = xen.place(pack_segments(segments, addresses))
        machine = architecture_of(plan.arch).elf_machine
        argument = LOAD.pack(_TYPES[plan.target], machine, len(segments), array, plan.entry)
        xen.kexec(KexecCommand.KEXEC_CMD_kexec_load, argument)


def unload(target: Target) -> None:
    """Unload the image of ``target``; nothing loaded is no error."""
    with _asked(KexecCommand.KEXEC_CMD_kexec_unload, target) as xen:
        # Without an image it is an error of some versions, and swaps the slots of others.
        if xen.is_loaded(_TYPES[target]):
            xen.kexec(KexecCommand.KEXEC_CMD_kexec_unload, type_argument(_TYPES[target]))


def execute() -> None:
    """Jump into the loaded kernel: the hypervisor and all domains end. Does not return."""
    with _asked(KexecCommand.KEXEC_CMD_kexec, Target.NORMAL) as xen:
        xen.kexec(KexecCommand.KEXEC_CMD_kexec, exec_argument(KexecType.KEXEC_TYPE_DEFAULT))


@contextmanager
def _asked(command: KexecCommand, target: Target) -> Iterator[hypercalls.Hypervisor]:
    try:
        with hypercalls.open_hypervisor() as xen:
            yield xen
    except OSError as error:
        raise rejection(command, target, error) from error


def rejection(command: KexecCommand, target: Target, error: OSError) -> KernelRejectedError:
    """Say why ``command`` failed, from the errno that the hypervisor or a device gave."""
    number = error.errno or 0
    what = command.name if error.filename is None else f"opening {error.filename}"
    if number == errno.ENOMEM:
        reason, hint = _NO_MEMORY[target]
    elif error.filename is not None and number == errno.ENOENT:
        reason = "the kernel has no such device"
        hint = "load the module xen-privcmd; /dev/xen/hypercall takes Linux 4.18"
    elif number in (errno.ENOSYS, errno.EOPNOTSUPP):
        reason, hint = _UNSUPPORTED
    else:
        unknown = ("not a reason that Xen documents", "see xl dmesg")
        reason, hint = _CAUSES.get(number, unknown)
    name = errno.errorcode.get(number, str(number))
    message = f"{what} failed: {os.strerror(number)} ({name}): {reason}"
    return KernelRejectedError(message, call=what, errno=number, hint=hint)
