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
from pykexec.plans import Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.cli.load_request import LoadOptions
    from pykexec.facts import KernelState
    from pykexec.plans import Plan

SCHEMA = "pykexec.load/1"
RECORD = "run/pykexec/normal.json"
"""Beside that of crash loads, in a file system that a reboot empties."""


def keep(options: LoadOptions, made: Plan, warn: Callable[[str], None]) -> None:
    """Write down what has just been loaded; what goes wrong is only told ``warn``."""
    from pykexec.cli import crash_record
    from pykexec.crash.json_records import build_object
    from pykexec.machine.crash_state import read_boot_id
    from pykexec.machine.files import MachineFiles

    files = MachineFiles(crash_record.ROOT)
    initrd = None if options.initrd is None else os.path.abspath(options.initrd)
    record = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "boot_id": read_boot_id(files),
        "kernel": os.path.abspath(options.kernel),
        "initrd": initrd,
        "cmdline": made.cmdline.decode("utf-8", "surrogateescape"),
    }
    place = files.path(RECORD)
    try:
        crash_record.write_atomically(place, build_object(SCHEMA, record))
    except OSError as error:
        forget(warn)
        warn(f"the kernel is loaded, but {place} cannot be written: {error.strerror}")


def forget(warn: Callable[[str], None]) -> None:
    """Remove the record, since what it is about is no longer loaded."""
    from pykexec.cli import crash_record

    crash_record.remove(RECORD, warn)


def loaded_after_failure(target: Target, before: KernelState, warn: Callable[[str], None]) -> str:
    """Say what is loaded for ``target`` now that a load has failed; "" when nobody can tell.

    ``before`` is the state before the load. A normal image stays until the next one is
    complete. A crash image is in the very memory that the next one goes to, and the kernel
    drops it first (Linux kernel/kexec.c, "do_kexec_load"): its record is removed then.
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
    from pykexec.cli import crash_record

    crash_record.forget(warn)
    return "no crash kernel is loaded any more: the kernel drops the old one before it takes a new"


def recorded(target: Target) -> str | None:
    """Say which kernel this boot's record of ``target`` is about; None without a record."""
    try:
        record = _read_crash() if target is Target.CRASH else _read_normal()
    except (OSError, PykexecError):
        return None
    return f"{record['kernel']}, by pykexec's record of {record['time']}"


def _name(target: Target) -> str:
    known = recorded(target)
    return "; no record says which one it is" if known is None else f": {known}"


def _read_normal() -> dict[str, Any]:
    """Return the record of this boot; raises OSError or :class:`PykexecError` for none."""
    from pykexec.crash.json_records import parse_object

    data, boot_id = _load(RECORD)
    value = parse_object(data, SCHEMA, RECORD)
    names = ("time", "boot_id", "kernel")
    return _of_this_boot({name: value.text(name) for name in names}, boot_id)


def _read_crash() -> dict[str, Any]:
    from pykexec.crash.status import parse_record
    from pykexec.machine.crash_state import RECORD as CRASH_RECORD

    data, boot_id = _load(CRASH_RECORD)
    found = parse_record(data, CRASH_RECORD)
    return _of_this_boot(
        {"time": found.time, "boot_id": found.boot_id, "kernel": found.kernel.path}, boot_id
    )


def _load(record: str) -> tuple[bytes, str]:
    from pykexec.cli import crash_record
    from pykexec.machine.crash_state import read_boot_id
    from pykexec.machine.files import MachineFiles

    files = MachineFiles(crash_record.ROOT)
    return files.load(record), read_boot_id(files)


def _of_this_boot(record: dict[str, Any], boot_id: str) -> dict[str, Any]:
    if record["boot_id"] != boot_id:
        raise PykexecError("the record is of another boot")
    return record
