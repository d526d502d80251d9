"""What the processors of a machine of 32-bit ARM are said to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.machine.cpuinfo import cpu_parts

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

_V7_ON = ("0xc", "0xd")
"""How the numbers of Arm's processors from ARMv7 and from ARMv8 on begin; those before have others:
Linux arch/arm/include/asm/cputype.h."""


def read_hashing(files: MachineFiles) -> str:
    """Return how fast the purgatory hashes here: a name in the architecture's ``check_speeds``.

    It turns caches on from ARMv7 on. Nothing for processors that are not Arm's own.
    """
    parts = cpu_parts(files)
    if not parts:
        return ""
    return "cached" if all(part.startswith(_V7_ON) for part in parts) else "uncached"
