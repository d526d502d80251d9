"""The JSON forms of what the library gives, each as the programs print it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.loading.results import CrashStatus, Planned, Status, initrd_in, kernel_in
from pykexec.planning.plans import FileLoadPlan, SegmentPlan
from pykexec.values.errors import PykexecError

if TYPE_CHECKING:
    from pykexec.crash.fadump.state import FadumpState
    from pykexec.loading.results import ImageStatus
    from pykexec.planning.plans import Plan


def json_value(
    item: Planned | Plan | Status | CrashStatus | FadumpState | PykexecError,
) -> dict[str, Any]:
    """Return what ``json.dumps`` takes, with a ``schema``; see :mod:`pykexec.schemas`.

    Addresses and flags are hexadecimal strings, sizes are numbers of bytes. Without the facts that
    it was made from, a plan does not say what the next kernel is told otherwise than the running
    one was. Raises TypeError for what has no JSON form.
    """
    if isinstance(item, Status):
        return {
            "schema": "pykexec.status/1",
            "kernel_release": item.kernel.release,
            "loaded": item.kernel.loaded,
            "crash_loaded": item.kernel.crash_loaded,
            "crash_size": item.kernel.crash_size,
            "shut_gates": list(item.shut_gates),
            "normal": _image_value(item.normal),
            "crash": _image_value(item.crash),
        }
    if isinstance(item, PykexecError):
        from pykexec.render.errors import error_value

        return error_value(item, item.hint)
    if isinstance(item, CrashStatus):
        from pykexec.render.crash import status_value

        return status_value(item.state, item.judgement, item.dumps)
    if isinstance(item, Planned | SegmentPlan | FileLoadPlan):
        from pykexec.render.json import plan_value

        if isinstance(item, Planned):
            return plan_value(item.plan, item.facts)
        return plan_value(item)
    from pykexec.crash.fadump.state import FadumpState

    if isinstance(item, FadumpState):
        from pykexec.render.fadump import status_value as fadump_value

        return fadump_value(item)
    raise TypeError(
        f"{type(item).__name__} has no JSON form: plans, Planned, Status, CrashStatus, "
        "FadumpState and errors have one"
    )


def _image_value(image: ImageStatus) -> dict[str, Any]:
    record = image.record
    return {
        "record": None
        if record is None
        else {
            "time": record.time,
            "kernel": kernel_in(record),
            "initrd": initrd_in(record),
            "cmdline": record.cmdline,
        },
        "unfinished": image.unfinished or None,
    }


def to_json(item: Planned | Plan | Status | CrashStatus | FadumpState | PykexecError) -> str:
    """Return :func:`json_value` as the programs print it: indented, ASCII, no line end."""
    from pykexec.render.escape import json_text

    return json_text(json_value(item))
