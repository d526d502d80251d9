"""Why a kernel has refused a write to one of the files of fadump. Pure.

arch/powerpc/kernel/fadump.c ("fadump_register_store", "bootargs_append_store",
"release_mem_store") and platforms/pseries/rtas-fadump.c ("rtas_fadump_register").
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from pykexec.crash.fadump.state import Reason, why_not_enabled

if TYPE_CHECKING:
    from pykexec.crash.fadump.state import FadumpState

REGISTERED = "registered"
APPEND = "bootargs_append"
RELEASE = "release_mem"

AGAIN = frozenset({errno.EEXIST, errno.EINVAL})
"""By these a kernel before Linux 6.1 refuses to register what is registered: 0, then 1 does it."""

_LOG = "see the kernel log: dmesg | grep -i fadump"


def rejection(name: str, number: int, state: FadumpState) -> Reason:
    """Return why a write to ``name`` failed with the errno ``number``, and what to do."""
    if number == errno.EPERM:
        return _not_now(name, state)
    known = _KNOWN.get((name, number))
    if known is not None:
        return Reason(*known)
    return Reason("the kernel gives an errno that it is not known to give", _LOG)


def _not_now(name: str, state: FadumpState) -> Reason:
    if name == RELEASE:
        return Reason("no dump is active: it was released already, or there was none", "")
    if state.dump_active:
        return Reason("a dump is active", "save it, then 'pykexec fadump release'")
    if not state.enabled:
        return why_not_enabled(state)
    return Reason("the kernel says that it is not enabled, or that a dump is active", _LOG)


_KNOWN = {
    (REGISTERED, errno.EINVAL): (
        "firmware does not accept the layout of memory (-3): there are holes in the boot memory or "
        "in the reserved area, as unplugged memory leaves them",
        f"plug the memory in again, or reboot; {_LOG}",
    ),
    (REGISTERED, errno.EEXIST): (
        "firmware says that it is registered already (-9), by somebody else",
        "pykexec fadump unregister, and register again",
    ),
    (REGISTERED, errno.EIO): ("firmware reports an error of its hardware, or an unknown one", _LOG),
    (REGISTERED, errno.ENODEV): ("no memory is reserved", _LOG),
    (REGISTERED, errno.ETIMEDOUT): ("firmware was busy for a minute", "try again later"),
    (APPEND, errno.EINVAL): (
        "it is longer than the 2047 bytes of a command line",
        "leave words out",
    ),
    (APPEND, errno.ENOSPC): (
        "it does not fit the 2047 bytes of a command line, behind the running kernel's",
        "leave words out",
    ),
    (RELEASE, errno.EINVAL): ("the kernel takes nothing but 1", ""),
}
