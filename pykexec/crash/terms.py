"""What takes memory of a capture kernel, as a value. Pure."""

from __future__ import annotations

from enum import Flag, auto

from pykexec.values.data_classes import dataclass


class Counts(Flag):
    """In which sums a term counts."""

    SEGMENT = auto()
    """Loaded beforehand, in one region."""
    EARLY = auto()
    """Taken when the kernel mounts its root file system, whose limit goes by the rest."""
    UNPACKING = auto()
    """There while the initramfs is unpacked."""
    DUMPING = auto()
    """There while the dump is taken."""
    RUNNING = UNPACKING | DUMPING


@dataclass(frozen=True, slots=True)
class Term:
    """Memory that something takes."""

    name: str
    size: int
    source: str
    measured: bool
    """From the files or the machine; else by a rule of thumb."""
    counts: Counts
