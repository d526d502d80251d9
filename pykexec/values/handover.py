"""What a machine says of kexec handover and the live update orchestrator, as a value. Pure.

Linux Documentation/admin-guide/mm/kho.rst, Documentation/core-api/liveupdate.rst.
"""

from __future__ import annotations

from pykexec.values.data_classes import dataclass
from pykexec.values.ranges import Range


@dataclass(frozen=True, slots=True)
class Switch:
    """Whether something is on, and how that is known."""

    on: bool | None
    """None: it cannot be told."""
    why: str
    """In words, with the file that says so."""


@dataclass(frozen=True, slots=True)
class Handover:
    """Memory that goes over into the next kernel: what is on, and what is registered."""

    handover: Switch
    orchestrator: Switch
    scratch: tuple[Range, ...] | None = None
    """The only memory that kexec_file_load(2) places in, physical; None: debugfs does not say."""
    registered: tuple[str, ...] | None = None
    """What hands memory over, by name, in order; None: debugfs does not say."""
    layouts: tuple[str, ...] = ()
    """Names of the layouts that the next kernel has to know, such as ``kho-v4``."""
    update: int | None = None
    """Which one in a row of live updates the next jump will be, from 1 on."""
    predecessor: str | None = None
    """Release of the kernel that has handed over to this one; None where none has."""
    jumps: int | None = None
    """Of that kind since the last start by firmware."""


def holds(size: int, scratch: tuple[Range, ...]) -> bool:
    """Tell whether one of the areas has room for ``size`` bytes.

    Linux kernel/liveupdate/kexec_handover.c, "kho_walk_scratch": each segment is looked for in one
    area after the other.
    """
    return any(area.size >= size for area in scratch)
