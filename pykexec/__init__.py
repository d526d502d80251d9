"""pykexec: boot a new Linux kernel from the running one, and see beforehand how.

What the programs do:

* ``load_kernel`` and ``load_crash_kernel`` load, ``unload`` unloads; ``load_way_back`` loads the
  return to a kernel that waits.
* ``plan_kernel`` says what a load would do, here or on a recorded machine.
* ``status`` says what is loaded, ``crash_status`` whether the crash kernel is still the right one.
* ``fadump_status`` says the same of firmware-assisted dumps; ``fadump_register``,
  ``fadump_unregister``, ``fadump_append``, ``fadump_release`` and ``fadump_event`` act.
* ``live_update.Session`` hands memory over to the next kernel, and takes it back there.
* ``to_json`` and ``json_value`` give what the programs print with ``--json``.

Each gives a value, prints nothing, and raises the errors of ``pykexec.errors``, which are all
a ``PykexecError``. What they are made of, one step at a time: ``read_machine``, ``plan`` or
``plan_file_load`` of a ``LoadRequest``, ``verify``, and ``load``.

The API is loaded when it is used, so that ``import pykexec`` costs nothing.
docs/library.md has whole programs.
"""

from __future__ import annotations

# Not from typing, whose import takes longer than all else before a program's first line.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pykexec import errors as errors
    from pykexec import live_update as live_update
    from pykexec.calls.syscalls import load as load
    from pykexec.crash.fadump.state import FadumpState as FadumpState
    from pykexec.errors import PykexecError as PykexecError
    from pykexec.loading.fadump import fadump_append as fadump_append
    from pykexec.loading.fadump import fadump_event as fadump_event
    from pykexec.loading.fadump import fadump_register as fadump_register
    from pykexec.loading.fadump import fadump_release as fadump_release
    from pykexec.loading.fadump import fadump_status as fadump_status
    from pykexec.loading.fadump import fadump_unregister as fadump_unregister
    from pykexec.loading.json_forms import json_value as json_value
    from pykexec.loading.json_forms import to_json as to_json
    from pykexec.loading.kernels import load_crash_kernel as load_crash_kernel
    from pykexec.loading.kernels import load_kernel as load_kernel
    from pykexec.loading.kernels import plan_kernel as plan_kernel
    from pykexec.loading.live import unload as unload
    from pykexec.loading.results import CrashStatus as CrashStatus
    from pykexec.loading.results import ImageStatus as ImageStatus
    from pykexec.loading.results import Loaded as Loaded
    from pykexec.loading.results import Planned as Planned
    from pykexec.loading.results import Status as Status
    from pykexec.loading.results import Unloaded as Unloaded
    from pykexec.loading.status import crash_status as crash_status
    from pykexec.loading.status import status as status
    from pykexec.loading.way_back import load_way_back as load_way_back
    from pykexec.machine import read_machine as read_machine
    from pykexec.planning.invariants import verify as verify
    from pykexec.planning.planner import plan as plan
    from pykexec.planning.planner import plan_file_load as plan_file_load
    from pykexec.planning.plans import FileLoadPlan as FileLoadPlan
    from pykexec.planning.plans import LoadRequest as LoadRequest
    from pykexec.planning.plans import SegmentPlan as SegmentPlan
    from pykexec.values.calls import Call as Call
    from pykexec.values.calls import Target as Target
    from pykexec.values.facts import MachineFacts as MachineFacts

__version__ = "0.1.0"

_LAZY = {
    "Call": "values.calls",
    "CrashStatus": "loading.results",
    "FadumpState": "crash.fadump.state",
    "FileLoadPlan": "planning.plans",
    "ImageStatus": "loading.results",
    "LoadRequest": "planning.plans",
    "Loaded": "loading.results",
    "MachineFacts": "values.facts",
    "Planned": "loading.results",
    "PykexecError": "errors",
    "SegmentPlan": "planning.plans",
    "Status": "loading.results",
    "Target": "values.calls",
    "Unloaded": "loading.results",
    "crash_status": "loading.status",
    "errors": "",
    "fadump_append": "loading.fadump",
    "fadump_event": "loading.fadump",
    "fadump_register": "loading.fadump",
    "fadump_release": "loading.fadump",
    "fadump_status": "loading.fadump",
    "fadump_unregister": "loading.fadump",
    "json_value": "loading.json_forms",
    "live_update": "",
    "load": "calls.syscalls",
    "load_crash_kernel": "loading.kernels",
    "load_kernel": "loading.kernels",
    "load_way_back": "loading.way_back",
    "plan": "planning.planner",
    "plan_file_load": "planning.planner",
    "plan_kernel": "loading.kernels",
    "read_machine": "machine",
    "status": "loading.status",
    "to_json": "loading.json_forms",
    "unload": "loading.live",
    "verify": "planning.invariants",
}
"""Where each name of the API is; the modules ``errors`` and ``live_update`` are ones."""

__all__ = [
    "Call",
    "CrashStatus",
    "FadumpState",
    "FileLoadPlan",
    "ImageStatus",
    "LoadRequest",
    "Loaded",
    "MachineFacts",
    "Planned",
    "PykexecError",
    "SegmentPlan",
    "Status",
    "Target",
    "Unloaded",
    "__version__",
    "crash_status",
    "errors",
    "fadump_append",
    "fadump_event",
    "fadump_register",
    "fadump_release",
    "fadump_status",
    "fadump_unregister",
    "json_value",
    "live_update",
    "load",
    "load_crash_kernel",
    "load_kernel",
    "load_way_back",
    "plan",
    "plan_file_load",
    "plan_kernel",
    "read_machine",
    "status",
    "to_json",
    "unload",
    "verify",
]

if not TYPE_CHECKING:  # a checker is to complain of names that are not there

    def __getattr__(name):
        if name not in _LAZY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        if not _LAZY[name]:
            return import_module(f"{__name__}.{name}")
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return __all__
