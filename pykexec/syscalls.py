"""The only caller of the kernel: kexec_load(2), kexec_file_load(2), reboot(2).

The calls go through libc's ``syscall``, which has no wrappers for the first two. Buffers
are passed where they lie; the kernel copies them out of the mapped files itself. A refusal
becomes a :class:`KernelRejectedError` with its likely causes, see :mod:`pykexec.rejections`.
"""

from __future__ import annotations

import errno
from enum import IntFlag
from typing import TYPE_CHECKING, Any

from pykexec._kexec_abi import ffi
from pykexec.errors import UsageError
from pykexec.facts import KernelState
from pykexec.plans import KEXEC_ARCH_X86_64, KexecFlags, SegmentPlan, Target
from pykexec.rejections import explain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykexec.plans import Segment

LINUX_REBOOT_MAGIC1 = 0xFEE1DEAD
LINUX_REBOOT_MAGIC2 = 672274793
LINUX_REBOOT_CMD_KEXEC = 0x45584543
"""Linux include/uapi/linux/reboot.h."""


class KexecFileFlags(IntFlag):
    """Flags of kexec_file_load(2): Linux include/uapi/linux/kexec.h."""

    KEXEC_FILE_UNLOAD = 0x01
    KEXEC_FILE_ON_CRASH = 0x02
    KEXEC_FILE_NO_INITRAMFS = 0x04
    KEXEC_FILE_DEBUG = 0x08
    KEXEC_FILE_NO_CMA = 0x10
    KEXEC_FILE_FORCE_DTB = 0x20


# (kexec_load, kexec_file_load, reboot): Linux arch/x86/entry/syscalls/syscall_64.tbl.
_NUMBERS = {"x86_64": (246, 320, 169)}
_KEXEC_ARCH = {"x86_64": KEXEC_ARCH_X86_64}

UNKNOWN_STATE = KernelState()
"""For callers that have not read it."""

_libc: Any = ffi.dlopen(None)


def _numbers() -> tuple[int, int, int]:
    from os import uname

    machine = uname().machine
    if machine not in _NUMBERS:
        raise UsageError(f"no system call numbers for {machine}", hint="this version knows x86_64")
    return _NUMBERS[machine]


def _syscall(number: int, *arguments: object) -> int:
    """Call ``syscall(number, …)``; returns 0 or the errno."""
    words = [ffi.cast("long", item) if isinstance(item, int) else item for item in arguments]
    if int(_libc.syscall(number, *words)) == -1:
        return int(ffi.errno)
    return 0


def kexec_load(entry: int, segments: Iterable[Segment], flags: int) -> int:
    """Call kexec_load(2); returns 0 or the errno. ``entry`` is a physical address."""
    items = list(segments)
    array = ffi.new("struct kexec_segment[]", len(items))
    alive = []  # from_buffer keeps its buffer, the array does not keep from_buffer's result
    for slot, segment in zip(array, items, strict=True):
        if len(segment.data):
            buffer = ffi.from_buffer(segment.data)
            alive.append(buffer)
            slot.buf = buffer
        slot.bufsz = len(segment.data)
        slot.mem = segment.dest.start
        slot.memsz = segment.dest.size
    return _syscall(_numbers()[0], entry, len(items), array, flags)


def kexec_file_load(kernel_fd: int, initrd_fd: int, cmdline: bytes | None, flags: int) -> int:
    """Call kexec_file_load(2); returns 0 or the errno.

    ``cmdline`` comes without its NUL, which is added and counted; None passes no string.
    ``initrd_fd`` -1 goes with ``KEXEC_FILE_NO_INITRAMFS``.
    """
    if cmdline is None:
        return _syscall(_numbers()[1], kernel_fd, initrd_fd, 0, ffi.NULL, flags)
    text = ffi.new("char[]", cmdline)
    return _syscall(_numbers()[1], kernel_fd, initrd_fd, len(cmdline) + 1, text, flags)


def load(plan: SegmentPlan, state: KernelState = UNKNOWN_STATE, *, debug: bool = False) -> None:
    """Carry out a plan. On a refusal whatever was loaded before stays loaded.

    ``state`` lets a refusal name the gate that is shut. ``debug`` asks the kernel to log what
    it does, where it can. Raises :class:`KernelRejectedError`. The plan is not verified here:
    the caller has done so.
    """
    flags = plan.flags
    error = 0
    if debug:
        error = kexec_load(plan.entry, plan.segments, flags | KexecFlags.KEXEC_DEBUG)
    if not debug or error == errno.EINVAL:  # kernels that do not know the debug flag reject it
        error = kexec_load(plan.entry, plan.segments, flags)
    if error:
        raise explain("kexec_load", error, state, plan)


def unload(target: Target, state: KernelState = UNKNOWN_STATE) -> None:
    """Unload the image of ``target``; nothing loaded is no error. Raises KernelRejectedError."""
    from os import uname

    _numbers()
    flags = _KEXEC_ARCH[uname().machine]
    if target is Target.CRASH:
        flags |= KexecFlags.KEXEC_ON_CRASH
    error = kexec_load(0, (), flags)
    if error:
        raise explain("kexec_load", error, state)


def reboot_kexec(state: KernelState = UNKNOWN_STATE) -> None:
    """Jump into the loaded kernel. Returns only by :class:`KernelRejectedError`."""
    error = _syscall(
        _numbers()[2], LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, ffi.NULL
    )
    raise explain("reboot", error, state)
