"""What the harts of a riscv64 machine are said to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

_LINES_MAX = 8192
"""More than any machine has harts."""
_IN_ORDER = ("sifive,u74", "sifive,bullet0")
"""How their names begin; the second is what trees call the U74 of the HiFive Unmatched."""


def read_hashing(files: MachineFiles) -> str:
    """Return how fast the purgatory hashes here: a name in the architecture's ``check_speeds``.

    Nothing for a machine with a hart that is not listed here.
    """
    lines = files.lines("proc/cpuinfo", lambda line: line.startswith(b"uarch"), _LINES_MAX)
    names = [line.partition(":")[2].strip() for line in lines]
    return "in-order" if names and all(name.startswith(_IN_ORDER) for name in names) else ""
