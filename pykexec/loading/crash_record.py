"""The record that a crash load leaves, for ``pykexec crash status``: made, and compared."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from pykexec.loading import run_files
from pykexec.values.errors import PykexecError
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.crash.status import CrashLoadRecord, CrashState, FileDigest, FileNow, Judgement
    from pykexec.loading.files import MappedFile
    from pykexec.loading.load_request import Prepared
    from pykexec.loading.options import LoadOptions
    from pykexec.planning.plans import Plan
    from pykexec.values.facts import MachineFacts


_COMPARED_MAX = 1 << 30
"""Bytes of a file beside a recorded machine, which may have holes of any size."""


PACKED = "PYKEXEC_PACKED"
"""Variable with the path of what :func:`packed_digests` reads."""
_SHA256_DIGITS = 64


def digest(path: str, file: MappedFile) -> FileDigest:
    """Hash a file where it is mapped, some 1.5 ms for each MB; ``path`` is made absolute."""
    from hashlib import sha256

    from pykexec.crash.status import FileDigest

    return FileDigest(os.path.abspath(path), len(file.data), sha256(file.data).hexdigest())


def packed_digests() -> dict[str, FileDigest]:
    """Return what is known of the files of an early load, by ``kernel`` and ``initrd``.

    An image with a crash kernel in it has a line for each: role, size in bytes, SHA-256, and the
    path that the file was packed from, which is the one that it has when the root is there.
    contrib/initramfs/pack writes them. Nothing is known where no such file is named, or it has
    something else in it.
    """
    from pykexec.crash.status import FileDigest

    found = {}
    try:
        with open(os.environ[PACKED], "rb") as file:
            lines = file.read().decode("utf-8", "surrogateescape").splitlines()
        for line in lines:
            role, size, sha256, path = line.split(" ", 3)
            if len(sha256) != _SHA256_DIGITS or not path.startswith("/"):
                return {}
            found[role] = FileDigest(path, int(size), sha256)
    except (KeyError, OSError, ValueError):
        return {}
    return found


def recorder(
    options: LoadOptions, prepared: Prepared, facts: MachineFacts
) -> Callable[[Plan], CrashLoadRecord]:
    """Return what makes the record of a crash load of its plan.

    The files are hashed here, so that no time goes by between the load and its record.
    """
    from pykexec.crash.status import CrashLoadRecord
    from pykexec.machine.crash_state import read_present_cpus
    from pykexec.machine.left_records import read_boot_id
    from pykexec.planning.plans import FileLoadPlan
    from pykexec.values.calls import Call
    from pykexec.values.memory import crash_memory

    files, packed = run_files.this_machine(), packed_digests()

    def of(role: str, path: str, file: MappedFile) -> FileDigest:
        known = packed.get(role)
        return known if known and known.size == len(file.data) else digest(path, file)

    kernel, initrd = of("kernel", options.kernel, prepared.kernel), None
    if options.initrd is not None and prepared.initrd is not None:
        initrd = of("initrd", options.initrd, prepared.initrd)

    def make(made: Plan) -> CrashLoadRecord:
        by_file = isinstance(made, FileLoadPlan)
        return CrashLoadRecord(
            time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            boot_id=read_boot_id(files),
            kernel_release=facts.kernel.release,
            call=(Call.KEXEC_FILE_LOAD if by_file else Call.KEXEC_LOAD).value,
            kernel=kernel,
            initrd=initrd,
            cmdline=prepared.request.cmdline.decode("utf-8", "surrogateescape"),
            memory=crash_memory(facts.iomem),
            cpus=read_present_cpus(files),
        )

    return make


def judge_image(state: CrashState, root: str) -> Judgement:
    """Judge the crash image of the machine at ``root``, reading the files that went into it."""
    from pykexec.crash.status import judge
    from pykexec.machine.crash_state import RECORD

    return judge(state, os.path.join(root, RECORD), lambda then: _look_at(then, root))


def _look_at(then: FileDigest, root: str) -> FileNow:
    """Read a recorded file below ``root``; on the machine itself it may not be missing."""
    from pykexec.crash.status import FileNow
    from pykexec.loading.files import map_file

    recorded = os.path.realpath(root) != "/"
    try:
        file = map_file(then.path, "file", root=root if recorded else None)
        if recorded and len(file.data) > _COMPARED_MAX:
            return FileNow(None, f"{counted(len(file.data), 'byte')}, too much to compare")
        return FileNow(digest(then.path, file))
    except PykexecError as error:
        missing = isinstance(error.__cause__, FileNotFoundError | NotADirectoryError)
        if missing and recorded:
            return FileNow(None, "not part of the recorded machine")
        return FileNow(None, error.message, gone=missing)
