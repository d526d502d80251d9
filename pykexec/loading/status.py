"""What is loaded, by the running kernel and by the records that loads have left."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pykexec.loading import run_files
from pykexec.machine.left_records import CRASH, NORMAL
from pykexec.values.calls import Target
from pykexec.values.errors import PykexecError

if TYPE_CHECKING:
    from pykexec.loading.options import StrPath
    from pykexec.loading.results import CrashStatus, ImageStatus, LoadRecord, Record, Status
    from pykexec.machine.files import MachineFiles


def status(machine: StrPath = "/") -> Status:
    """Say what is loaded on this machine, or on a recorded one, and which gates are shut.

    No file that was loaded is looked at: whether a crash kernel is still the right one says
    :func:`crash_status`. Raises :class:`~pykexec.errors.MachineError` for what is no machine
    directory.
    """
    from pykexec.calls.rejections import shut_gates
    from pykexec.loading.results import Status
    from pykexec.loading.running_kernel import read_state

    root = os.fspath(machine)
    state = read_state(root)
    files = files_of(root)
    return Status(
        kernel=state,
        normal=image_status(Target.NORMAL, state.loaded, files),
        crash=image_status(Target.CRASH, state.crash_loaded, files),
        shut_gates=tuple(gate.reason for gate in shut_gates(state)),
    )


def crash_status(machine: StrPath = "/") -> CrashStatus:
    """Judge the loaded crash kernel: whether a load would take the same now; and the last dump.

    Reads and hashes the files that the record of the load names, some 1.5 ms for each MB.
    Raises as :func:`status`.
    """
    from pykexec.loading.crash_record import judge_image
    from pykexec.loading.results import CrashStatus
    from pykexec.machine.crash_state import read_crash_state
    from pykexec.machine.left_dumps import read_dumps

    root = os.fspath(machine)
    state = read_crash_state(root)
    return CrashStatus(state, judge_image(state, root), read_dumps(root))


def files_of(root: str) -> MachineFiles:
    """Return the files of the machine at ``root``, of which / is the one that loads are made on."""
    from pykexec.machine.roots import machine_files

    return run_files.this_machine() if root == "/" else machine_files(root)


def image_status(target: Target, loaded: bool | None, files: MachineFiles) -> ImageStatus:
    """Read what the records say of an image; one that cannot be believed is none."""
    from pykexec.loading.results import ImageStatus
    from pykexec.machine.left_records import read_mark

    names = CRASH if target is Target.CRASH else NORMAL
    try:
        record = _read_record(target, files)
    except PykexecError:
        record = None
    # Behind the record, which a load writes while there is a mark.
    return ImageStatus(loaded, record, read_mark(files, names.mark))


def _read_record(target: Target, files: MachineFiles) -> Record:
    """Return the record of this boot; raises :class:`PykexecError` for none."""
    from pykexec.crash.status import parse_record
    from pykexec.loading.load_record import parse_load_record
    from pykexec.machine.left_records import read_boot_id, read_left

    name = (CRASH if target is Target.CRASH else NORMAL).record
    left = read_left(files, name)
    if left.data is None:
        raise PykexecError(left.problem or "there is no record")
    record: Record
    if target is Target.CRASH:
        record = parse_record(left.data, name)
    else:
        record = parse_load_record(left.data, name)
    if record.boot_id != read_boot_id(files):
        raise PykexecError("the record is of another boot")
    return record


def known_as(image: ImageStatus) -> str | None:
    """Say which kernel the records tell of; None where there is none."""
    from pykexec.crash.status import unfinished_text
    from pykexec.loading.results import kernel_in

    if image.unfinished:
        return f"nobody can tell which: {unfinished_text(image.unfinished)}"
    if image.record is None:
        return None
    return f"{kernel_in(image.record)}, by pykexec's record of {image.record.time}"


def returning_record() -> LoadRecord | None:
    """Return pykexec's record of the normal image if it is one that is come back from."""
    from pykexec.loading.results import LoadRecord

    record = image_status(Target.NORMAL, True, run_files.this_machine()).record
    return record if isinstance(record, LoadRecord) and record.preserve_context else None


def loaded_after_failure(target: Target, had_crash_kernel: bool | None) -> str:
    """Say what is loaded for ``target`` now that a load has failed; "" when nobody can tell.

    ``had_crash_kernel`` is how it was before the load. A normal image stays until the next one
    is complete. A crash image is in the very memory that the next one goes to, and the kernel
    drops it first (Linux kernel/kexec.c, "do_kexec_load").
    """
    from pykexec.machine import kernel_state

    crash = target is Target.CRASH
    kind = "crash kernel" if crash else "kernel"
    now = kernel_state.read_crash_loaded("/") if crash else kernel_state.read_loaded("/")
    if now is None:
        return ""
    if now:
        known = known_as(image_status(target, now, run_files.this_machine()))
        which = "; no record says which one it is" if known is None else f": {known}"
        return f"the {kind} loaded before stays loaded{which}"
    if not (crash and had_crash_kernel):
        return f"no {kind} is loaded"
    return "no crash kernel is loaded any more: the kernel drops the old one before it takes a new"
