"""The calls of the live update orchestrator: ioctls of /dev/liveupdate and of its sessions.

Linux include/uapi/linux/liveupdate.h. A session is a named set of files that go over into the
next kernel; it is a descriptor, and lives as long as that. What a session that was created here has
preserved is given up when it is closed, so that somebody has to hold it until the jump. One that
came from the kernel before is finished when it is closed: files that nobody retrieved are gone.

Each call raises :class:`KernelRejectedError` with its likely cause.
"""

from __future__ import annotations

import errno
import fcntl
import os
from struct import Struct

from pykexec.values.errors import KernelRejectedError, OptionError

DEVICE = "/dev/liveupdate"
"""There only where liveupdate= and kho= are on. One process at a time may have it open."""
NAME_MAX = 63
"""Bytes of a session's name: LIVEUPDATE_SESSION_NAME_LENGTH with its end."""
TOKEN_MAX = (1 << 64) - 1

_TYPE = 0xBA
"""LIVEUPDATE_IOCTL_TYPE. The numbers are made by _IO(), of no direction, which is 0 where there are
kernels that hand memory over: Linux include/uapi/asm-generic/ioctl.h."""
_NAMED = Struct("=Ii64s")
"""struct liveupdate_ioctl_create_session and _retrieve_session: size, fd, name."""
_FILE = Struct("=IiQ")
"""struct liveupdate_session_preserve_fd and _retrieve_fd: size, fd, token."""
_FINISH = Struct("=II")
_GET_NAME = Struct("=II64s")
_NUMBERS = {
    "CREATE_SESSION": 0x00,
    "RETRIEVE_SESSION": 0x01,
    "PRESERVE_FD": 0x40,
    "RETRIEVE_FD": 0x41,
    "FINISH": 0x42,
    "GET_NAME": 0x43,
}
_CAUSES = {
    ("open", errno.ENOENT): (
        "the kernel has no live update orchestrator, or it is off",
        "it needs CONFIG_LIVEUPDATE, and kho=on liveupdate=on on its command line",
    ),
    ("open", errno.EBUSY): ("another process has it open", "only one may at a time"),
    ("open", errno.EIO): (
        "what the kernel before handed over cannot be read",
        "see the kernel log (dmesg); a reboot through firmware clears it",
    ),
    ("CREATE_SESSION", errno.EEXIST): ("there is a session of that name", "choose another name"),
    ("RETRIEVE_SESSION", errno.ENOENT): (
        "the kernel before handed no session of that name over, or it was finished",
        "names are those that the sessions were created by",
    ),
    ("RETRIEVE_SESSION", errno.EINVAL): (
        "somebody has retrieved it before",
        "/proc/PID/fd names who holds it: anon_inode:[luo_session] NAME",
    ),
    ("PRESERVE_FD", errno.ENOENT): (
        "the kernel preserves no files of this kind",
        "memfds are preserved, but not those of huge pages",
    ),
    ("PRESERVE_FD", errno.EBUSY): ("the file is preserved already", "one time is enough"),
    ("PRESERVE_FD", errno.EEXIST): ("the session has a file by this token", "take another token"),
    ("PRESERVE_FD", errno.EINVAL): (
        "the session came from the kernel before",
        "create another one for the next kernel",
    ),
    ("PRESERVE_FD", errno.EOPNOTSUPP): ("it has seals that the kernel cannot hand over", None),
    ("RETRIEVE_FD", errno.ENOENT): ("the session has no file by this token", None),
    ("RETRIEVE_FD", errno.EINVAL): (
        "the session was created in this kernel",
        "files are retrieved in the next one",
    ),
    ("FINISH", errno.EINVAL): (
        "the session was created in this kernel",
        "closing it gives its files up",
    ),
    ("FINISH", errno.EBUSY): ("a file of it is not restored yet", "try again"),
}
"""Linux kernel/liveupdate/luo_core.c, luo_session.c, luo_file.c, mm/memfd_luo.c; cause and hint."""


def open_device(path: str = DEVICE) -> int:
    """Return a descriptor of the orchestrator's device. Sessions outlive it."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise _rejected("open", error, path) from error


def create_session(device: int, name: str) -> int:
    """Return a descriptor of a new, empty session; raises :class:`OptionError` for a bad name."""
    return _named(device, "CREATE_SESSION", name)


def retrieve_session(device: int, name: str) -> int:
    """Return a descriptor of a session that the kernel before handed over."""
    return _named(device, "RETRIEVE_SESSION", name)


def preserve(session: int, file: int, token: int) -> None:
    """Have an open memfd go over, to be asked for by ``token``.

    From then on it keeps its size; what is in it may change up to the jump.
    """
    _call(session, "PRESERVE_FD", _FILE.pack(_FILE.size, file, token))


def retrieve(session: int, token: int) -> int:
    """Return a descriptor of the file that was preserved by ``token``."""
    answer = _call(session, "RETRIEVE_FD", _FILE.pack(_FILE.size, -1, token))
    descriptor: int = _FILE.unpack(answer)[1]
    return descriptor


def finish(session: int) -> None:
    """End a session that was retrieved: the kernel forgets it, what was retrieved stays."""
    _call(session, "FINISH", _FINISH.pack(_FINISH.size, 0))


def session_name(session: int) -> str:
    """Return the whole name of a session."""
    answer = _call(session, "GET_NAME", _GET_NAME.pack(_GET_NAME.size, 0, b""))
    name: bytes = _GET_NAME.unpack(answer)[2]
    return name.rstrip(b"\0").decode("utf-8", "surrogateescape")


def _named(device: int, call: str, name: str) -> int:
    encoded = name.encode("utf-8", "surrogateescape")
    if not 0 < len(encoded) <= NAME_MAX or b"\0" in encoded:
        raise OptionError(
            f"{name!r} cannot be the name of a session",
            hint=f"1 to {NAME_MAX} bytes, none of them zero",
        )
    answer = _call(device, call, _NAMED.pack(_NAMED.size, -1, encoded))
    descriptor: int = _NAMED.unpack(answer)[1]
    return descriptor


def _call(descriptor: int, call: str, argument: bytes) -> bytes:
    """Do the ioctl; return what the kernel has made of ``argument``."""
    try:
        return fcntl.ioctl(descriptor, _TYPE << 8 | _NUMBERS[call], argument)
    except OSError as error:
        raise _rejected(call, error) from error


def _rejected(call: str, error: OSError, path: str = DEVICE) -> KernelRejectedError:
    number = error.errno or 0
    what = f"opening {path}" if call == "open" else f"LIVEUPDATE_{call}"
    unknown = ("not a reason that this call is documented to have", "see the kernel log (dmesg)")
    if number == errno.EPERM or (number == errno.EACCES and call == "open"):
        unknown = ("it takes the administrator", "run it as root")
    reason, hint = _CAUSES.get((call, number), unknown)
    name = errno.errorcode.get(number, str(number))
    message = f"{what} failed: {os.strerror(number)} ({name}): {reason}"
    return KernelRejectedError(message, call=what, errno=number, hint=hint)
