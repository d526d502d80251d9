"""The only caller of the kernel: kexec_load(2), kexec_file_load(2), reboot(2), sysrq.

The calls go through libc's ``syscall``, which has no wrappers for the first two. Buffers
are passed where they lie; the kernel copies them out of the mapped files itself. A refusal
becomes a :class:`KernelRejectedError` with its likely causes, see :mod:`pykexec.calls.rejections`.
"""

from __future__ import annotations

import errno
import os

from pykexec.architectures import (
    architecture_of,
    for_program,
    known_names,
    name_of,
    why_not_loaded,
)
from pykexec.calls._kexec_abi import ffi
from pykexec.calls.call_choice import unload_order
from pykexec.values.calls import Call, CallWish, KexecFileFlags, KexecFlags, Target
from pykexec.values.errors import OptionError, PykexecError
from pykexec.values.kernel_state import KernelState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pykexec.architectures.architecture import SystemCalls
    from pykexec.planning.plans import FileLoadPlan, Plan, Segment
    from pykexec.values.buffers import Buffer
    from pykexec.values.errors import KernelRejectedError

LINUX_REBOOT_MAGIC1 = 0xFEE1DEAD
LINUX_REBOOT_MAGIC2 = 672274793
LINUX_REBOOT_CMD_KEXEC = 0x45584543
"""Linux include/uapi/linux/reboot.h."""


_KEXEC_ARCH_DEFAULT = 0
"""Whatever the running kernel is (Linux include/uapi/linux/kexec.h); uname may hide that."""

SYSRQ_TRIGGER = "/proc/sysrq-trigger"
"""Linux Documentation/admin-guide/sysrq.rst: always allowed to the administrator."""

HOTPLUG_FLAGS = KexecFlags.KEXEC_UPDATE_ELFCOREHDR | KexecFlags.KEXEC_CRASH_HOTPLUG_SUPPORT
"""A plan has at most one of them."""

UNKNOWN_STATE = KernelState()
"""For callers that have not read it."""

_libc: Any = ffi.dlopen(None)
_POINTER_SIZE = ffi.sizeof("void *")
"""Bytes: this program may be one of 32 bits on a kernel of 64."""


def _numbers() -> SystemCalls:
    """Return the numbers of the calls for this process, whatever the kernel is."""
    arch = for_program(os.uname().machine, 8 * _POINTER_SIZE)
    if arch.calls is not None and arch.word_bits != 8 * _POINTER_SIZE:
        raise OptionError(
            f"no system call numbers for a program of {8 * _POINTER_SIZE} bits on {arch.name}",
            hint=f"use a Python of {arch.word_bits} bits",
        )
    if arch.calls is None:
        raise OptionError(
            why_not_loaded(arch.name) or f"no system call numbers for {arch.name}",
            hint=known_names(),
        )
    return arch.calls


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
    return _syscall(_numbers().kexec_load, entry, len(items), array, flags)


def kexec_file_load(kernel_fd: int, initrd_fd: int, cmdline: bytes | None, flags: int) -> int:
    """Call kexec_file_load(2); returns 0 or the errno.

    ``cmdline`` comes without its NUL, which is added and counted; None passes no string.
    ``initrd_fd`` -1 goes with ``KEXEC_FILE_NO_INITRAMFS``.
    """
    if cmdline is None:
        return _syscall(_numbers().kexec_file_load, kernel_fd, initrd_fd, 0, ffi.NULL, flags)
    text = ffi.new("char[]", cmdline)
    return _syscall(_numbers().kexec_file_load, kernel_fd, initrd_fd, len(cmdline) + 1, text, flags)


def load(plan: Plan, state: KernelState = UNKNOWN_STATE, *, debug: bool = False) -> int:
    """Carry out a plan. On a refusal a normal image that was loaded before stays loaded.

    A crash image does not: the kernel drops it before it takes another one.

    ``state`` lets a refusal name the gate that is shut. ``debug`` asks the kernel to log what
    it does, where it can. Returns the flags that the kernel took. Raises
    :class:`KernelRejectedError`. The plan is not verified here: the caller has done so.
    """
    from pykexec.planning.plans import FileLoadPlan

    if isinstance(plan, FileLoadPlan):
        return load_files(plan, state, debug=debug)
    for flags in _segment_attempts(plan.flags, debug):
        error = kexec_load(plan.entry, plan.segments, flags)
        if error != errno.EINVAL:
            break
    if error:
        raise _refusal(Call.KEXEC_LOAD, error, state, plan)
    return flags


def _segment_attempts(flags: int, debug: bool) -> list[int]:
    """Return the flags to try, one set after the other while the kernel says EINVAL.

    A kernel need not know the debug flag. Of the two that let it update the core header a
    kernel may know one only: Linux before 6.10 has no KEXEC_CRASH_HOTPLUG_SUPPORT (kernel
    commit 79365026f869, "crash: add a new kexec flag for hotplug support").
    """
    attempts: list[int] = [flags | KexecFlags.KEXEC_DEBUG] if debug else []
    attempts.append(flags)
    if flags & HOTPLUG_FLAGS:
        attempts.append(flags ^ HOTPLUG_FLAGS)
    return attempts


def load_files(
    plan: FileLoadPlan,
    state: KernelState = UNKNOWN_STATE,
    *,
    kernel_fd: int | None = None,
    initrd_fd: int | None = None,
    debug: bool = False,
) -> int:
    """Carry out a plan by kexec_file_load(2); otherwise as :func:`load`.

    ``kernel_fd`` and ``initrd_fd`` are descriptors of files that hold just what the plan says.
    They matter, because IMA judges a file by its extended attributes. Where there is no such
    file, the contents are passed in a memfd.
    """
    own = []
    try:
        if kernel_fd is None:
            own.append(kernel_fd := _memory_file("kernel", plan.kernel))
        if plan.initrd is None:
            initrd_fd = -1
        elif initrd_fd is None:
            own.append(initrd_fd := _memory_file("initrd", plan.initrd))
        for flags in _file_attempts(plan.flags, debug):
            error = kexec_file_load(kernel_fd, initrd_fd, plan.cmdline, flags)
            if error != errno.EINVAL:
                break
    finally:
        for descriptor in own:
            os.close(descriptor)
    if error:
        raise _refusal(Call.KEXEC_FILE_LOAD, error, state, plan)
    return flags


def _file_attempts(flags: KexecFileFlags, debug: bool) -> list[KexecFileFlags]:
    """Return the flags to try, one set after the other while the kernel says EINVAL.

    A kernel that does not know a flag says so. It need not know these two: one only makes it
    talk, and a kernel older than the other puts nothing into CMA areas.
    """
    wanted = flags | (KexecFileFlags.KEXEC_FILE_DEBUG if debug else 0)
    attempts = [wanted]
    for optional in (KexecFileFlags.KEXEC_FILE_DEBUG, KexecFileFlags.KEXEC_FILE_NO_CMA):
        if optional in wanted:
            wanted &= ~optional
            attempts.append(wanted)
    return attempts


def _memory_file(name: str, data: Buffer) -> int:
    """Return a descriptor of a new file in memory with ``data``."""
    descriptor = os.memfd_create(name)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def unload(
    target: Target, state: KernelState = UNKNOWN_STATE, wish: CallWish = CallWish.AUTO
) -> None:
    """Unload the image of ``target``; nothing loaded is no error. Raises KernelRejectedError.

    Either call unloads what the other has loaded, so a call that does not exist or is not
    permitted is followed by the other one.
    """
    refused = []
    for call in unload_order(wish, state):
        error = _unload_by(call, target)
        if not error:
            return
        refused.append((call, error))
        if error not in (errno.ENOSYS, errno.EPERM, errno.EACCES):
            break
    call, error = next((item for item in refused if item[1] != errno.ENOSYS), refused[0])
    raise _refusal(call, error, state, target=target)


def _unload_by(call: Call, target: Target) -> int:
    """Unload by ``call``; returns 0 or the errno."""
    _numbers()
    crash = target is Target.CRASH
    if call is Call.KEXEC_FILE_LOAD:
        wanted = KexecFileFlags.KEXEC_FILE_UNLOAD
        if crash:
            wanted |= KexecFileFlags.KEXEC_FILE_ON_CRASH
        return kexec_file_load(-1, -1, None, wanted)
    told = architecture_of(name_of(os.uname().machine))
    flags = told.kexec_flag if told.word_bits == 64 else _KEXEC_ARCH_DEFAULT
    return kexec_load(0, (), flags | (KexecFlags.KEXEC_ON_CRASH if crash else 0))


def reboot_kexec(state: KernelState = UNKNOWN_STATE) -> None:
    """Jump into the loaded kernel. Returns where that one has returned to this one.

    Raises :class:`KernelRejectedError`.
    """
    magic = LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2
    error = _syscall(_numbers().reboot, *magic, LINUX_REBOOT_CMD_KEXEC, ffi.NULL)
    if error:
        raise _refusal("reboot", error, state)


def _refusal(
    call: str,
    error: int,
    state: KernelState,
    plan: Plan | None = None,
    *,
    target: Target = Target.NORMAL,
) -> KernelRejectedError:
    # Not at the top: what succeeds has no use for it, and in an initramfs each import counts.
    from pykexec.calls.rejections import explain

    return explain(call, error, state, plan, target=target)


def trigger_panic() -> None:
    """Crash the running kernel at once. Returns only by an exception.

    Raises OSError where there is no such trigger, or it may not be used.
    """
    with open(SYSRQ_TRIGGER, "wb", buffering=0) as trigger:
        trigger.write(b"c")
    raise PykexecError(
        f"the kernel has not crashed: 'c' in {SYSRQ_TRIGGER} had no effect",
        hint="see the kernel log (dmesg)",
    )
