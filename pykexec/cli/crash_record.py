"""The record that a crash load leaves, for ``pykexec crash status``: written, removed, compared."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from pykexec.errors import PykexecError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.cli.files import MappedFile
    from pykexec.cli.load_request import LoadOptions, Prepared
    from pykexec.crash.status import CrashState, FileDigest, FileNow, Judgement
    from pykexec.facts import MachineFacts
    from pykexec.plans import Plan

ROOT = "/"
"""The machine that records are left on; tests have another one."""


def digest(path: str, file: MappedFile) -> FileDigest:
    """Hash a file where it is mapped, some 1.5 ms for each MB; ``path`` is made absolute."""
    from hashlib import sha256

    from pykexec.crash.status import FileDigest

    return FileDigest(os.path.abspath(path), len(file.data), sha256(file.data).hexdigest())


def keep(
    options: LoadOptions,
    prepared: Prepared,
    facts: MachineFacts,
    made: Plan,
    warn: Callable[[str], None],
) -> None:
    """Write down what has just been loaded as the crash kernel.

    The image is loaded by now: what goes wrong is only told ``warn``, and no record of an
    earlier load is left behind.
    """
    from pykexec.crash.status import CrashLoadRecord, build_record
    from pykexec.machine.crash_state import RECORD, read_boot_id, read_present_cpus
    from pykexec.machine.files import MachineFiles
    from pykexec.memory import crash_memory
    from pykexec.plans import Call, FileLoadPlan

    files = MachineFiles(ROOT)
    by_file = isinstance(made, FileLoadPlan)
    initrd = None
    if options.initrd is not None and prepared.initrd is not None:
        initrd = digest(options.initrd, prepared.initrd)
    record = CrashLoadRecord(
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        boot_id=read_boot_id(files),
        kernel_release=facts.kernel.release,
        call=(Call.KEXEC_FILE_LOAD if by_file else Call.KEXEC_LOAD).value,
        kernel=digest(options.kernel, prepared.kernel),
        initrd=initrd,
        cmdline=prepared.request.cmdline.decode("utf-8", "surrogateescape"),
        memory=crash_memory(facts.iomem),
        cpus=read_present_cpus(files),
    )
    place = files.path(RECORD)
    try:
        write_atomically(place, build_record(record))
    except OSError as error:
        forget(warn)
        warn(
            f"the crash kernel is loaded, but {place}, from which 'pykexec crash status' tells "
            f"what it is, cannot be written: {error.strerror}"
        )


def forget(warn: Callable[[str], None]) -> None:
    """Remove the record, since what it is about is no longer loaded."""
    from pykexec.machine.crash_state import RECORD

    remove(RECORD, warn)


def remove(record: str, warn: Callable[[str], None]) -> None:
    """Remove a record, by its place below the root, if it is there."""
    place = os.path.join(ROOT, record)
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(place)
    except OSError as error:
        warn(f"{place} is out of date and cannot be removed: {error.strerror}")


def write_atomically(place: str, data: bytes) -> None:
    """Write a file that is there whole or not at all, and readable by all; raises OSError."""
    directory, name = os.path.split(place)
    os.makedirs(directory, exist_ok=True)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
        os.replace(temporary, place)
    except BaseException:
        os.unlink(temporary)
        raise


def judge_image(state: CrashState, root: str) -> Judgement:
    """Judge the crash image of the machine at ``root``, reading the files that went into it."""
    from pykexec.crash.status import judge
    from pykexec.machine.crash_state import RECORD

    return judge(state, os.path.join(root, RECORD), lambda then: _look_at(then, root))


def _look_at(then: FileDigest, root: str) -> FileNow:
    """Read a recorded file below ``root``; on the machine itself it may not be missing."""
    from pykexec.cli.files import map_file
    from pykexec.crash.status import FileNow

    path = os.path.join(root, then.path.lstrip("/"))
    try:
        return FileNow(digest(path, map_file(path, "file")))
    except PykexecError as error:
        missing = isinstance(error.__cause__, FileNotFoundError | NotADirectoryError)
        if missing and os.path.realpath(root) != "/":
            return FileNow(None, "not part of the recorded machine")
        return FileNow(None, error.message, gone=missing)
