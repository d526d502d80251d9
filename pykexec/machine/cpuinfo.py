"""Reads /proc/cpuinfo, as kernels for Arm's processors of either width write it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

_LINES_MAX = 8192
"""More than any machine has processors."""


def cpuinfo_values(files: MachineFiles, name: bytes) -> list[str]:
    """Return what it says under ``name``, of each processor."""
    lines = files.lines("proc/cpuinfo", lambda line: line.startswith(name), _LINES_MAX)
    return [line.partition(":")[2].strip() for line in lines]


def cpu_parts(files: MachineFiles) -> frozenset[str]:
    """Return the numbers of the processors' kinds, as ``0xc0f``; none if not all are of one maker,
    Arm itself."""
    makers = cpuinfo_values(files, b"CPU implementer")
    return frozenset(cpuinfo_values(files, b"CPU part")) if set(makers) == {"0x41"} else frozenset()
