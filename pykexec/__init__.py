"""pykexec: boot a new Linux kernel from the running one, and see beforehand how.

The public API is loaded lazily, so that ``import pykexec`` costs nothing and each
front door pays only for what it uses.
"""

from __future__ import annotations

# Not from typing, whose import takes longer than all else before a program's first line.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pykexec.facts import MachineFacts as MachineFacts
    from pykexec.invariants import verify as verify
    from pykexec.machine import read_machine as read_machine
    from pykexec.planner import plan as plan
    from pykexec.planner import plan_file_load as plan_file_load
    from pykexec.plans import FileLoadPlan as FileLoadPlan
    from pykexec.plans import LoadRequest as LoadRequest
    from pykexec.plans import SegmentPlan as SegmentPlan
    from pykexec.syscalls import load as load

__version__ = "0.1.0"

_LAZY = {
    "MachineFacts": "pykexec.facts",
    "read_machine": "pykexec.machine",
    "LoadRequest": "pykexec.plans",
    "SegmentPlan": "pykexec.plans",
    "FileLoadPlan": "pykexec.plans",
    "plan": "pykexec.planner",
    "plan_file_load": "pykexec.planner",
    "load": "pykexec.syscalls",
    "verify": "pykexec.invariants",
}
__all__ = [
    "FileLoadPlan",
    "LoadRequest",
    "MachineFacts",
    "SegmentPlan",
    "__version__",
    "load",
    "plan",
    "plan_file_load",
    "read_machine",
    "verify",
]


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(module), name)
