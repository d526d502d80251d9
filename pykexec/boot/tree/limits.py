"""What a kernel that is given a device tree takes at most. Pure."""

from __future__ import annotations

from pykexec.architectures import architecture_of
from pykexec.values.units import MIB, counted

COMMAND_LINE_SIZE = 2048
"""Bytes with the NUL: Linux arch/arm64 and arch/riscv, include/uapi/asm/setup.h."""
DTB_SIZE_MAX = 2 * MIB
"""Linux Documentation/arch/arm64/booting.rst; arch/riscv/include/asm/pgtable.h, "MAX_FDT_SIZE"."""


def cmdline_excess(cmdline: bytes, arch: str) -> str | None:
    """Say how much too long a command line is for any kernel of ``arch``; None if it is not."""
    if len(cmdline) < COMMAND_LINE_SIZE:
        return None
    return (
        f"the command line is {counted(len(cmdline), 'byte')} long, "
        f"{architecture_of(arch).family} kernels take at most {COMMAND_LINE_SIZE - 1} "
        "(COMMAND_LINE_SIZE)"
    )
