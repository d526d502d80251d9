"""What the processors of an arm64 machine are said to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.machine.cpuinfo import cpu_parts, cpuinfo_values

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

_PARTS = {
    "0xd03": "in-order",  # Cortex-A53
    "0xd04": "in-order",  # Cortex-A35
    "0xd05": "in-order",  # Cortex-A55
    "0xd07": "out-of-order",  # Cortex-A57
    "0xd08": "out-of-order",  # Cortex-A72
}
"""Arm's own: Linux arch/arm64/include/asm/cputype.h."""


def read_hashing(files: MachineFiles) -> str:
    """Return how fast the purgatory hashes here: a name in the architecture's ``check_speeds``.

    Of several kinds of processors that of the slowest: on which one it will run nobody knows. Of a
    processor without SHA-256 instructions that is not listed here: nothing.
    """
    features = cpuinfo_values(files, b"Features")
    if features and all("sha2" in item.split() for item in features):
        return "instructions"
    parts = cpu_parts(files)
    if not parts or not _PARTS.keys() >= parts:
        return ""
    kinds = {_PARTS[part] for part in parts}
    return "in-order" if "in-order" in kinds else "out-of-order"
