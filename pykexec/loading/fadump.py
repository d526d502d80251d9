"""Firmware-assisted dump on this machine: what it says, and the writes that change it.

Each write is read back, since firmware may refuse one without an errno.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from pykexec.crash.fadump.rejections import AGAIN, APPEND, REGISTERED, RELEASE, rejection
from pykexec.crash.fadump.state import why_not_enabled
from pykexec.loading import run_files
from pykexec.machine import fadump as machine_fadump
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import DeniedError, FadumpError, KernelRejectedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.crash.fadump.capture_words import Addition
    from pykexec.crash.fadump.events import Decision
    from pykexec.crash.fadump.state import FadumpState
    from pykexec.loading.options import StrPath

_FILES = {
    REGISTERED: machine_fadump.REGISTERED,
    APPEND: (machine_fadump.APPEND,),
    RELEASE: machine_fadump.RELEASE,
}
_LOG = "see the kernel log: dmesg | grep -i fadump"
EVENT = "fadump.event"
"""The youngest event that waits for a burst to end, below /run/pykexec."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A registration that was made."""

    state: FadumpState
    was_registered: bool
    in_two_steps: bool
    """By 0, then 1, as Linux before 6.1 wants it: a crash in between would have left no dump."""


@dataclass(frozen=True, slots=True)
class Appended:
    """Words for the capture kernel that were taken."""

    state: FadumpState
    addition: Addition


@dataclass(frozen=True, slots=True)
class EventAnswer:
    """What came of an event."""

    decision: Decision
    registered: Registered | None
    superseded: bool = False
    """A later event of the same burst has taken it over."""


def write_attribute(path: str, data: bytes) -> None:
    """Write a sysfs attribute by one write(2); raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def fadump_status(machine: StrPath = "/") -> FadumpState:
    """Say what this machine, or a recorded one, has of firmware-assisted dump.

    Raises :class:`~pykexec.errors.MachineError` for what is no machine directory.
    """
    from pykexec.loading.status import files_of
    from pykexec.machine.description import read_description

    files = files_of(os.fspath(machine))
    read_description(files)
    return machine_fadump.read_fadump(files)


def fadump_register() -> Registered:
    """Register with firmware, anew where it is registered already, and read back.

    Raises :class:`~pykexec.errors.FadumpError` where it is not enabled, a dump is active, or the
    kernel says afterwards that nothing is registered;
    :class:`~pykexec.errors.KernelRejectedError` with the reason of an errno.
    """
    with _locked():
        return _register()


def _register() -> Registered:
    before = _here()
    _refuse_active(before)
    if not before.enabled:
        reason = why_not_enabled(before)
        raise FadumpError(f"fadump is not enabled: {reason.text}", hint=reason.advice)
    in_two_steps = False
    try:
        _write(REGISTERED, b"1", before)
    except KernelRejectedError as error:
        if error.errno not in AGAIN:
            raise
        # Also where the kernel has not said before that it is registered: firmware may know.
        in_two_steps = True
        _write(REGISTERED, b"0", before)
        _write(REGISTERED, b"1", before)
    after = _here()
    if not after.registered:
        raise FadumpError(
            "1 was written to registered and taken, and it does not read 1 afterwards", hint=_LOG
        )
    return Registered(after, bool(before.registered), in_two_steps)


def fadump_unregister() -> FadumpState:
    """Unregister, and read back; that nothing is registered is no error. Raises as above."""
    with _locked():
        before = _here()
        _refuse_active(before)
        if not before.enabled or not before.registered:
            return before
        _write(REGISTERED, b"0", before)
        after = _here()
    if after.registered:
        raise FadumpError(
            "0 was written to registered and taken, and it still reads 1: firmware has refused",
            hint=_LOG,
        )
    return after


def fadump_append(words: str) -> Appended:
    """Give the capture kernel ``words`` behind its command line, instead of any before.

    Raises :class:`~pykexec.errors.CommandLineError` where they do not fit.
    """
    from pykexec.crash.fadump.capture_words import addition_of, why_no_addition

    with _locked():
        before = _here()
        addition = addition_of(words, before.cmdline.rstrip(b"\n"))
        reason = why_no_addition(before)
        if reason is not None:
            raise FadumpError(f"words cannot be appended: {reason.text}", hint=reason.advice)
        _write(APPEND, addition.value, before)
        after = _here()
    found = (after.bootargs_append or "").encode("utf-8", "surrogateescape")
    if found != addition.value.decode("utf-8", "replace").encode():
        raise FadumpError(
            f"the words were written and taken, and the kernel shows others: {found!r}", hint=_LOG
        )
    return Appended(after, addition)


def fadump_release(*, force: bool = False) -> FadumpState:
    """Release the memory of an active dump; /proc/vmcore is gone then.

    Without ``force`` only where a saver that pykexec has set up tells of a whole dump since this
    boot, and where RTAS does not lie in what would be released. Raises
    :class:`~pykexec.errors.FadumpError` else, and where no dump is active.
    """
    with _locked():
        before = _here()
        if not before.dump_active:
            stale = "; it was released already, or the kernel has refused it"
            raise FadumpError(
                "no dump is active" + (stale if before.dump_is_stale else ""),
                hint=_LOG if before.dump_is_stale else None,
            )
        if not force and not saved_in_this_boot():
            raise FadumpError(
                "the dump in /proc/vmcore has not been saved, by all that is known here: releasing "
                "its memory destroys it",
                hint="save it (makedumpfile, or cp --sparse=always /proc/vmcore FILE), then give "
                "--force",
            )
        if not force and before.rtas_released is not None:
            raise FadumpError(
                f"RTAS lies at {before.rtas_released}, in what would be released: the kernel goes "
                "on calling it, and whoever gets that memory overwrites it",
                hint="reboot instead; with a crashkernel= of 768M or more RTAS lies in the boot "
                "memory, which stays",
            )
        _write(RELEASE, b"1", before)
        after = _here()
    if after.vmcore:
        raise FadumpError(
            "1 was written to release_mem and taken, and /proc/vmcore is still there", hint=_LOG
        )
    return replace(after, rtas_released=before.rtas_released)


def saved_in_this_boot() -> bool:
    """Tell whether the saver has left a whole dump since the running kernel was booted."""
    from pykexec.crash.captured import STATUS, State
    from pykexec.machine.left_dumps import read_dumps

    dumps = read_dumps(run_files.ROOT)
    if dumps is None or dumps.last is None or dumps.last.captured.state is not State.COMPLETE:
        return False
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    try:
        return os.stat(f"{dumps.last.path}/{STATUS}").st_mtime >= booted
    except OSError:
        return False


def fadump_event(
    subsystem: str = "memory", action: str = "online", *, settle: float = 2.0
) -> EventAnswer:
    """Answer an event of udev's: register again where the kernel needs it, once for a burst.

    Waits until no event has come for ``settle`` seconds; the last one registers. Raises as
    :func:`fadump_register`.
    """
    from pykexec.crash.fadump.events import decide

    decision = decide(_here(), subsystem, action)
    if not decision.register:
        return EventAnswer(decision, None)
    if settle > 0 and _is_superseded(settle):
        return EventAnswer(decision, None, superseded=True)
    with _locked():
        # While this one waited it may have been unregistered.
        decision = decide(_here(), subsystem, action)
        return EventAnswer(decision, _register() if decision.register else None)


def _is_superseded(settle: float) -> bool:
    """Leave a mark and wait; tell whether a later event has put its own in its place."""
    own = f"{os.getpid()} {time.monotonic_ns()}\n".encode()
    try:
        directory = run_files.open_directory()
        try:
            run_files.write(directory, EVENT, own)
        finally:
            os.close(directory)
        time.sleep(settle)
        place = os.path.join(run_files.ROOT, run_files.DIRECTORY, EVENT)
        with open(place, "rb") as file:
            return file.read() != own
    except OSError:
        # Whoever cannot tell registers: twice is no harm, never is.
        return False


def _here() -> FadumpState:
    return machine_fadump.read_fadump(run_files.this_machine())


def _refuse_active(state: FadumpState) -> None:
    if state.dump_active:
        raise FadumpError(
            "a dump is active: until its memory is released nothing can be registered or "
            "unregistered",
            hint="save it, then 'pykexec fadump release'",
        )


def _write(name: str, data: bytes, state: FadumpState) -> None:
    """Write one of the files, by its old name where the kernel has no other."""
    places = [os.path.join(run_files.ROOT, place) for place in _FILES[name]]
    place = next((item for item in places if os.path.exists(item)), places[0])
    try:
        write_attribute(place, data)
    except OSError as error:
        raise _refusal(name, place, data, error, state) from error


def _refusal(
    name: str, place: str, data: bytes, error: OSError, state: FadumpState
) -> DeniedError | FadumpError | KernelRejectedError:
    number = error.errno or errno.EIO
    if number == errno.EACCES:
        return DeniedError(f"cannot write {place}: {error.strerror}", hint="run it as root")
    if number == errno.ENOENT:
        return FadumpError(f"there is no {place}", hint=_LOG)
    reason = rejection(name, number, state)
    what = data.decode("utf-8", "replace") if len(data) == 1 else "the words"
    return KernelRejectedError(
        f"the kernel refuses {what} in {name} "
        f"({errno.errorcode.get(number, number)}): {reason.text}",
        call="write",
        errno=number,
        hint=reason.advice or None,
    )


def _silent(_: str) -> None:
    """Nobody is told that another one is waited for."""


@contextmanager
def _locked() -> Iterator[None]:
    """Hold the lock of all that changes what a crash leads to.

    Without /run there is none, nor for others than root: what these want the kernel refuses.
    """
    with ExitStack() as stack:
        try:
            directory = run_files.open_directory()
            stack.callback(os.close, directory)
            stack.enter_context(run_files.locked(directory, _silent))
        except OSError:
            stack.close()
        yield
