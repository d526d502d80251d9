"""Why kexec_file_load(2) said no: each errno with its likely cause. Pure.

Linux kernel/kexec_file.c for the call, fs/kernel_read_file.c for the reading of the files,
crypto/asymmetric_keys/verify_pefile.c and pkcs7_*.c for the signature.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from pykexec.values.calls import Target
from pykexec.values.units import format_size

if TYPE_CHECKING:
    from pykexec.values.kernel_state import KernelState

_LOG = "see the kernel log (dmesg)"

_SIGNATURE = {
    errno.EKEYREJECTED: "the signature check is enforced, and the kernel file does not pass it",
    errno.ENOKEY: "the kernel file is signed with a key that is in none of the running "
    "kernel's keyrings",
    errno.ENODATA: "the kernel found no signature in the kernel file",
    errno.EBADMSG: "the kernel file's signature is damaged, or none that the kernel can read",
    errno.ELIBBAD: "the kernel file's PE headers, which the signature check reads, are malformed",
    errno.EMSGSIZE: "the kernel file's signature is larger than the kernel reads",
    errno.ENOPKG: "the signature uses an algorithm that the running kernel is built without",
    errno.EKEYEXPIRED: "the key that the kernel file is signed with has expired",
    errno.EKEYREVOKED: "the key that the kernel file is signed with has been revoked",
}
"""What the signature check answers."""

_OTHERS = {
    errno.ENOSYS: (
        "syscall kexec_file_load not available: the running kernel is built without it",
        "it needs CONFIG_KEXEC_FILE=y",
    ),
    errno.ENOEXEC: (
        "the kernel file is in none of the formats that the running kernel takes",
        f"kexec_load (-c) takes more; {_LOG}",
    ),
    errno.EINVAL: (
        "the running kernel does not know one of the flags, or rejects the command line or the "
        "segments that it made",
        f"{_LOG}; kexec_load (-c) may work",
    ),
    errno.ENOTSUP: (
        "the running kernel does not do this for such a kernel file",
        f"kexec_load (-c) may work; {_LOG}",
    ),
    errno.EACCES: (
        "IMA appraisal or another security policy refuses a file",
        f"it may want a security.ima attribute on the kernel file; {_LOG}",
    ),
    errno.EFBIG: (
        "the kernel file or the initrd is larger than the kernel reads (4 GiB)",
        "give smaller files",
    ),
    errno.EBUSY: (
        "another load is in progress, or a CPU cannot be stopped",
        "try again; if dmesg says that CPUs are stuck in the kernel, this machine cannot kexec",
    ),
    errno.ETXTBSY: (
        "the kernel file or the initrd is open for writing",
        "wait until whatever writes it is done, and try again",
    ),
    errno.EIO: ("a file could not be read whole", "it may have changed meanwhile; try again"),
}


def cause(error: int, state: KernelState, target: Target) -> tuple[str, str]:
    """Return (likely cause, what to do) for errno ``error``; EPERM is not asked for here."""
    if error in _SIGNATURE:
        return _SIGNATURE[error], _signature_hint(state)
    if error == errno.EADDRNOTAVAIL:
        return _no_address(state, target)
    if error == errno.ENOMEM:
        free = state.memory_available
        found = f", {format_size(free)} are available" if free is not None else ""
        return (
            f"the kernel keeps its copy of kernel and initrd in memory until the jump{found}",
            "free memory, or give a smaller initrd; swap does not help",
        )
    return _OTHERS.get(error, ("not a reason that this call is documented to have", _LOG))


def _signature_hint(state: KernelState) -> str:
    if state.lockdown not in (None, "none"):
        return (
            f"the kernel is locked down ([{state.lockdown}]): sign the kernel with a key of its "
            "keyrings"
        )
    if state.secure_ipl:
        return "the IPL was secure: sign the kernel with a key of the running kernel's keyrings"
    if state.secure_boot:
        return "secure boot is on: sign the kernel with a key of secure boot's db or a MOK"
    return "sign the kernel; or use kexec_load (-c), which checks no signature"


def _no_address(state: KernelState, target: Target) -> tuple[str, str]:
    if target is Target.CRASH:
        size = state.crash_size
        found = f" of {format_size(size)}" if size is not None else ""
        reason = f"kernel and initrd do not fit into the crash kernel region{found}"
        hint = "reserve more by crashkernel=, or give a smaller initrd"
    elif state.handover:
        reason = (
            "kernel and initrd do not fit into the scratch areas, which kexec handover leaves "
            "to them (/sys/kernel/debug/kho/out/scratch_len)"
        )
        hint = "give a smaller initrd, or boot with larger areas (kho_scratch=)"
    else:
        reason = "the running kernel found no free memory for one of its segments"
        hint = "kexec_load (-c) chooses addresses by itself, where it is permitted"
    if state.xen:
        reason += "; under Xen it may not know of any"
    return reason, f"{hint}; {_LOG}"
