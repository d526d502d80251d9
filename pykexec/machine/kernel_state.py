"""The running kernel's view of kexec, and the gates in front of it.

Read for ``status`` and to explain a refusal, also without privileges: what cannot be read
is not known, and nothing here raises for it.
"""

from __future__ import annotations

import os

from pykexec.machine.files import MachineFiles, parse_decimal
from pykexec.machine.roots import machine_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pykexec.machine.description import Description
    from pykexec.values.kernel_state import KernelState

# New name first: Linux Documentation/ABI/testing/sysfs-kernel-kexec-kdump; the old names
# stay as links until they go (Documentation/ABI/obsolete/sysfs-kernel-kexec-kdump).
LOADED = ("sys/kernel/kexec/loaded", "sys/kernel/kexec_loaded")
CRASH_LOADED = ("sys/kernel/kexec/crash_loaded", "sys/kernel/kexec_crash_loaded")
CRASH_SIZE = ("sys/kernel/kexec/crash_size", "sys/kernel/kexec_crash_size")
CRASH_ELFCOREHDR_SIZE = (
    "sys/kernel/kexec/crash_elfcorehdr_size",
    "sys/kernel/crash_elfcorehdr_size",
)
LOAD_DISABLED = "proc/sys/kernel/kexec_load_disabled"
LOAD_LIMIT_REBOOT = "proc/sys/kernel/kexec_load_limit_reboot"
LOAD_LIMIT_PANIC = "proc/sys/kernel/kexec_load_limit_panic"
LOCKDOWN = "sys/kernel/security/lockdown"
LOADPIN = "proc/sys/kernel/loadpin/enforce"
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
SECURE_IPL = "sys/firmware/ipl/secure"
XEN_FEATURES = "sys/hypervisor/properties/features"
XEN_GUEST_TYPE = "sys/hypervisor/guest_type"
XEN_CAPABILITIES = "proc/xen/capabilities"
PROCESS_STATUS = "proc/self/status"
MEMINFO = "proc/meminfo"
SHOWS_HANDOVER = ("sys/kernel/debug/kho", "sys/devices/virtual/misc/liveupdate")
"""One is there only where it is on: Linux kernel/liveupdate/kexec_handover.c, "kho_init", and
luo_core.c, "liveupdate_ioctl_init". The second is that of /dev/liveupdate. What is in them, and
what is known without them, says :mod:`pykexec.machine.handover`."""

_EFIVARFS_ATTRIBUTES_SIZE = 4
_XENFEAT_DOM0 = 11


def read_loaded(root: os.PathLike[str] | str = "/") -> bool | None:
    """Tell whether a normal image is loaded, None when the kernel does not say.

    Reads what tells of Xen and that one file, and nothing else.
    """
    files = MachineFiles(root)
    if is_xen_host(files):
        return _loaded_in_xen(files)[0]
    return read_flag(files, LOADED)


def read_crash_loaded(root: os.PathLike[str] | str = "/") -> bool | None:
    """Tell whether a crash image is loaded, None when the kernel does not say."""
    files = MachineFiles(root)
    if is_xen_host(files):
        return _loaded_in_xen(files)[1]
    return read_flag(files, CRASH_LOADED)


def _loaded_in_xen(files: MachineFiles) -> tuple[bool | None, bool | None]:
    """Tell of a normal and of a crash image: dom0's own kernel knows of neither."""
    from pykexec.machine.hypervisor import ask
    from pykexec.values.xen import XenFacts

    answer = ask(files)
    return (answer.loaded, answer.crash_loaded) if isinstance(answer, XenFacts) else (None, None)


def read_kernel_state(root: os.PathLike[str] | str = "/") -> KernelState:
    """Read the kernel's state alone, without the rest of the machine.

    Raises :class:`~pykexec.errors.MachineError` only for a directory that is no machine
    directory.
    """
    files = machine_files(root)
    if files.is_live:
        return kernel_state(files, os.uname().release)
    from pykexec.machine.description import read_description

    description: Description = read_description(files)
    return kernel_state(files, description.kernel_release)


def kernel_state(files: MachineFiles, release: str) -> KernelState:
    """Read the kernel's state; ``release`` is what ``uname -r`` says."""
    from pykexec.values.kernel_state import KernelState  # not for who asks for one file only

    memory = _read_meminfo(files)
    state = KernelState(
        release=release,
        loaded=read_flag(files, LOADED),
        crash_loaded=read_flag(files, CRASH_LOADED),
        crash_size=_number(files, CRASH_SIZE),
        crash_elfcorehdr_size=_number(files, CRASH_ELFCOREHDR_SIZE),
        kexec_load_disabled=read_flag(files, (LOAD_DISABLED,)),
        load_limit_reboot=_number(files, (LOAD_LIMIT_REBOOT,)),
        load_limit_panic=_number(files, (LOAD_LIMIT_PANIC,)),
        lockdown=_read_lockdown(files),
        secure_boot=_read_secure_boot(files),
        secure_ipl=read_flag(files, (SECURE_IPL,)),
        effective_capabilities=_read_capabilities(files),
        xen=files.peek("sys/hypervisor/type") == "xen" or files.has_directory("proc/xen"),
        xen_host=is_xen_host(files),
        loadpin_enforced=read_flag(files, (LOADPIN,)),
        handover=any(map(files.has_directory, SHOWS_HANDOVER)),
        memory_total=memory.get("MemTotal"),
        memory_available=memory.get("MemAvailable"),
        memory_cma=memory.get("CmaTotal"),
    )
    return _in_xen(files, state) if state.xen_host else state


def _in_xen(files: MachineFiles, state: KernelState) -> KernelState:
    """Put the hypervisor's answers in the place of what dom0's kernel says of itself."""
    from pykexec.machine.hypervisor import ask
    from pykexec.values.data_classes import replace
    from pykexec.values.xen import XenFacts

    # What limits loads into Linux is no matter of the hypervisor's.
    state = replace(
        state,
        loaded=None,
        crash_loaded=None,
        crash_size=None,
        crash_elfcorehdr_size=None,
        kexec_load_disabled=None,
        load_limit_reboot=None,
        load_limit_panic=None,
    )
    answer = ask(files)
    if not isinstance(answer, XenFacts):
        return replace(state, xen_problem=answer)
    return replace(
        state,
        loaded=answer.loaded,
        crash_loaded=answer.crash_loaded,
        crash_size=answer.crash_area.size if answer.crash_area else 0,
    )


def is_xen_host(files: MachineFiles) -> bool:
    """Tell whether this is dom0: Linux Documentation/ABI/stable/sysfs-hypervisor-xen, "features".

    The bit's number is in include/xen/interface/features.h. Without sysfs, xenfs says it.
    """
    features = files.peek(XEN_FEATURES)
    if features is None:
        return "control_d" in (files.peek(XEN_CAPABILITIES) or "").split()
    try:
        return bool(int(features, 16) >> _XENFEAT_DOM0 & 1)
    except ValueError:
        return False


def _number(files: MachineFiles, names: tuple[str, ...]) -> int | None:
    """Return the decimal number, maybe negative, in the first file that has one."""
    for name in names:
        number = parse_decimal(files.peek(name) or "")
        if number is not None:
            return number
    return None


def read_flag(files: MachineFiles, names: tuple[str, ...]) -> bool | None:
    """Tell whether the first file that has a number has another one than 0; None without any."""
    number = _number(files, names)
    return None if number is None else number != 0


def _read_lockdown(files: MachineFiles) -> str | None:
    """Return the word in brackets of ``none [integrity] confidentiality``."""
    for word in (files.peek(LOCKDOWN) or "").split():
        if word[0] == "[" and word[-1] == "]":
            return word[1:-1]
    return None


def _read_secure_boot(files: MachineFiles) -> bool | None:
    """Read the variable (UEFI 2.10, section 3.3): four bytes of attributes, one of value."""
    try:
        data = files.load(SECURE_BOOT)
    except OSError:
        return None
    if len(data) != _EFIVARFS_ATTRIBUTES_SIZE + 1:
        return None
    return data[-1] == 1


def _read_capabilities(files: MachineFiles) -> int | None:
    lines = files.lines(PROCESS_STATUS, lambda line: line.startswith(b"CapEff:"), 1)
    try:
        return int(lines[0].split()[1], 16)
    except (IndexError, ValueError):
        return None


def _read_meminfo(files: MachineFiles) -> dict[str, int]:
    """Return MemTotal, MemAvailable and CmaTotal in bytes; the file counts in KiB."""
    wanted = (b"MemTotal:", b"MemAvailable:", b"CmaTotal:")
    found = {}
    for line in files.lines(MEMINFO, lambda line: line.startswith(wanted), len(wanted)):
        name, _, value = line.partition(":")
        number = parse_decimal(value.removesuffix("kB").strip())
        if number is not None:
            found[name] = number << 10
    return found
