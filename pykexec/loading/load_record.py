"""The record that a normal load leaves.

The kernel tells that an image is loaded, not which. The record is of the last load by
pykexec in this boot; one that another program has made since then goes unnoticed, so it is
quoted as a record.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from pykexec.loading import run_files
from pykexec.machine.left_records import NORMAL
from pykexec.values.calls import Call
from pykexec.values.data_classes import asdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.loading.options import LoadOptions
    from pykexec.loading.results import LoadRecord, Record
    from pykexec.planning.plans import Plan

SCHEMA = "pykexec.load/1"
RECORD = NORMAL.record
"""Beside that of crash loads."""
RETURNS = '"preserve_context": true'
"""What the launcher looks for in it."""
HANDS_NOTHING_OVER = f'"call": "{Call.KEXEC_LOAD.value}"'
"""The same, where there is a live update orchestrator."""


def recorder(options: LoadOptions) -> Callable[[Plan], LoadRecord]:
    """Return what makes the record of a normal load of its plan."""

    def make(made: Plan) -> LoadRecord:
        initrd = None if options.initrd is None else os.path.abspath(options.initrd)
        kernel = os.path.abspath(options.kernel)
        return record_of(made, kernel, initrd, preserve_context=options.preserve_context)

    return make


def record_of(
    made: Plan,
    kernel: str,
    initrd: str | None,
    *,
    preserve_context: bool,
    returns_to: int | None = None,
) -> LoadRecord:
    """Return the record of a load of ``made`` that is carried out now."""
    from pykexec.loading.results import LoadRecord, call_of
    from pykexec.machine.left_records import read_boot_id

    return LoadRecord(
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        boot_id=read_boot_id(run_files.this_machine()),
        preserve_context=preserve_context,
        returns_to=returns_to,
        kernel=kernel,
        initrd=initrd,
        cmdline=made.cmdline.decode("utf-8", "surrogateescape"),
        call=call_of(made).value,
    )


def build(record: Record) -> bytes:
    """Encode a record of either kind as JSON.

    :func:`parse_load_record` reads one of a normal load back, and
    :func:`pykexec.crash.status.parse_record` one of a crash load.
    """
    from pykexec.loading.results import LoadRecord

    if not isinstance(record, LoadRecord):
        from pykexec.crash.status import build_record

        return build_record(record)
    from pykexec.crash.json_records import build_object

    return build_object(SCHEMA, asdict(record))


def parse_load_record(data: bytes, where: str) -> LoadRecord:
    """Decode a record; raises :class:`MachineError` naming ``where`` and what is wrong."""
    from pykexec.crash.json_records import parse_object
    from pykexec.loading.results import LoadRecord

    value = parse_object(data, SCHEMA, where)
    return LoadRecord(
        **{name: value.text(name) for name in ("time", "boot_id", "kernel", "cmdline")},
        initrd=value.text("initrd") if value.is_given("initrd") else None,
        preserve_context=value.flag("preserve_context", False),
        returns_to=value.natural("returns_to") if value.is_given("returns_to") else None,
        call=value.text("call") if value.is_given("call") else None,
    )
