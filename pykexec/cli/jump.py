"""The way out: write buffers back, take interfaces down, jump.

launcher/ does the same in C, for where there is no Python any more; what both say is written here
and in :mod:`pykexec.calls.rejections`.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from pykexec.cli.terminal import tell
from pykexec.values.errors import NotLoadedError, PykexecError

if TYPE_CHECKING:
    from pykexec.values.kernel_state import KernelState

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
"""Linux include/uapi/linux/sockios.h and if.h."""
_IFREQ = struct.Struct("16sh14x8x")
INTERFACE_STAYS = "cannot take interface {} down: {}"
INTERFACES_UNKNOWN = "cannot list the network interfaces: {}"
_SHUTDOWN_PROGRAMS = ("/sbin/shutdown", "/etc/shutdown", "/bin/shutdown")


def require_loaded(state: KernelState) -> None:
    """Refuse to leave unless a kernel is known to be loaded; nothing has been touched then."""
    if state.loaded is None:
        raise NotLoadedError(
            "cannot tell whether a kernel is loaded: neither /sys/kernel/kexec/loaded nor "
            "/sys/kernel/kexec_loaded can be read",
            hint="the running kernel needs CONFIG_KEXEC, and sysfs mounted on /sys",
        )
    if not state.loaded:
        raise NotLoadedError("no kernel is loaded", hint="load one first: kexec -l KERNEL")


def take_interfaces_down() -> list[str]:
    """Take every network interface down but ``lo``; returns a line for each that failed.

    A card that is still receiving would write into the next kernel's memory.
    """
    import fcntl
    import socket

    failed = []
    try:
        names = [name for _, name in socket.if_nameindex()]
    except OSError as error:
        return [INTERFACES_UNKNOWN.format(error.strerror)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
        for name in names:
            if name == "lo":
                continue
            try:
                request = _IFREQ.pack(os.fsencode(name), 0)
                flags = _IFREQ.unpack(fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
                request = _IFREQ.pack(os.fsencode(name), flags & ~_IFF_UP)
                fcntl.ioctl(control, _SIOCSIFFLAGS, request)
            except OSError as error:
                failed.append(INTERFACE_STAYS.format(name, error.strerror))
    return failed


def jump(
    state: KernelState, *, sync: bool, ifdown: bool, program: str, lose_preserved: bool = False
) -> None:
    """Leave for the loaded kernel; returns where that one has returned to this one.

    The state is checked first and nothing is touched when the jump cannot succeed. A kernel that
    waits puts its devices to sleep itself, so that its network interfaces stay as they are. The way
    back leads back once: the running kernel then has the other one's address, and no page tables
    that reach it; it is loaded anew.
    """
    from pykexec.calls.syscalls import reboot_kexec
    from pykexec.loading.running_kernel import require_boot_capability, require_hypervisor
    from pykexec.loading.status import returning_record

    what = "jumping into a kernel"
    require_hypervisor(state, what)
    require_loaded(state)
    require_boot_capability(state, what)
    if state.handover and not lose_preserved:
        from pykexec.loading.update_status import refuse_losing_jump

        refuse_losing_jump()
    if sync:
        os.sync()
    # A hypervisor that was left is not come back to.
    record = None if state.xen_host else returning_record()
    if ifdown and record is None:
        for line in take_interfaces_down():
            tell(program, line)
    if state.xen_host:
        from pykexec.calls import xen

        xen.execute()
    reboot_kexec(state)
    if record is not None and record.returns_to is not None:
        from pykexec.loading.way_back import load_way_back

        load_way_back(record.returns_to, on_warning=lambda text: tell(program, text))


def run_shutdown() -> None:
    """Become ``shutdown -r now``, which ends in the loaded kernel; never returns normally."""
    for path in _SHUTDOWN_PROGRAMS:
        try:
            os.execv(path, ["shutdown", "-r", "now"])
        except FileNotFoundError:
            continue
        except OSError as error:
            raise PykexecError(f"cannot run {path}: {error.strerror}") from error
    raise PykexecError(
        "the kernel is loaded, but there is no shutdown program to run: looked for "
        + ", ".join(_SHUTDOWN_PROGRAMS),
        hint="shut services down yourself, then run kexec -e",
    )
