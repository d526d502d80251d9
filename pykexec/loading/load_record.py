"""The record that a normal load leaves, and what is loaded after a load that failed.

The kernel tells that an image is loaded, not which. The record is of the last load by
pykexec in this boot; one that another program has made since then goes unnoticed, so it is
quoted as a record.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from pykexec.errors import PykexecError
from pykexec.loading import run_files
from pykexec.machine.left_records import CRASH, NORMAL
from pykexec.plans import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.facts import KernelState
    from pykexec.loading.load_request import LoadOptions
    from pykexec.machine.files import MachineFiles
    from pykexec.plans import Plan

SCHEMA = "pykexec.load/1"
RECORD = NORMAL.record
"""Beside that of crash loads."""


def recorder(options: LoadOptions) -> Callable[[Plan], bytes]:
    """Return what makes the record of a normal load of its plan."""
    from pykexec.crash.json_records import build_object
    from pykexec.machine.left_records import read_boot_id

    def build(made: Plan) -> bytes:
        initrd = None if options.initrd is None else os.path.abspath(options.initrd)
        record = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "boot_id": read_boot_id(run_files.this_machine()),
            "kernel": os.path.abspath(options.kernel),
            "initrd": initrd,
            "cmdline": made.cmdline.decode("utf-8", "surrogateescape"),
        }
        return build_object(SCHEMA, record)

    return build


def loaded_after_failure(target: Target, before: KernelState) -> str:
    """Say what is loaded for ``target`` now that a load has failed; "" when nobody can tell.

    ``before`` is the state before the load. A normal image stays until the next one is
    complete. A crash image is in the very memory that the next one goes to, and the kernel
    drops it first (Linux kernel/kexec.c, "do_kexec_load").
    """
    from pykexec.machine import kernel_state

    crash = target is Target.CRASH
    kind = "crash kernel" if crash else "kernel"
    now = kernel_state.read_crash_loaded("/") if crash else kernel_state.read_loaded("/")
    if now is None:
        return ""
    if now:
        return f"the {kind} loaded before stays loaded{_name(target)}"
    if not (crash and before.crash_loaded):
        return f"no {kind} is loaded"
    return "no crash kernel is loaded any more: the kernel drops the old one before it takes a new"


def recorded(target: Target) -> str | None:
    """Say which kernel this boot's record of ``target`` is about; None without a record."""
    from pykexec.crash.status import unfinished_text
    from pykexec.machine.left_records import read_mark

    files = run_files.this_machine()
    crash = target is Target.CRASH
    try:
        record = _read_crash(files) if crash else _read_normal(files)
    except PykexecError:
        record = None
    # Behind the record, which a load writes while there is a mark.
    unfinished = read_mark(files, CRASH.mark if crash else NORMAL.mark)
    if unfinished:
        return f"nobody can tell which: {unfinished_text(unfinished)}"
    if record is None:
        return None
    return f"{record['kernel']}, by pykexec's record of {record['time']}"


def _name(target: Target) -> str:
    known = recorded(target)
    return "; no record says which one it is" if known is None else f": {known}"


def _read_normal(files: MachineFiles) -> dict[str, Any]:
    """Return the record of this boot; raises :class:`PykexecError` for none."""
    from pykexec.crash.json_records import parse_object

    value = parse_object(_load(files, NORMAL.record), SCHEMA, NORMAL.record)
    names = ("time", "boot_id", "kernel")
    record = {name: value.text(name) for name in names}
    return _of_this_boot(record, files)


def _read_crash(files: MachineFiles) -> dict[str, Any]:
    from pykexec.crash.status import parse_record

    found = parse_record(_load(files, CRASH.record), CRASH.record)
    record = {"time": found.time, "boot_id": found.boot_id, "kernel": found.kernel.path}
    return _of_this_boot(record, files)


def _load(files: MachineFiles, name: str) -> bytes:
    from pykexec.machine.left_records import read_left

    left = read_left(files, name)
    if left.data is None:
        raise PykexecError(left.problem or "there is no record")
    return left.data


def _of_this_boot(record: dict[str, Any], files: MachineFiles) -> dict[str, Any]:
    from pykexec.machine.left_records import read_boot_id

    if record["boot_id"] != read_boot_id(files):
        raise PykexecError("the record is of another boot")
    return record
