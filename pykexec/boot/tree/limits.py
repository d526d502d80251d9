"""What a kernel that is given a device tree takes at most. Pure."""

from __future__ import annotations

from pykexec.architectures import architecture_of
from pykexec.values.units import MIB, counted

DTB_SIZE_MAX = 2 * MIB
"""Linux Documentation/arch/arm64/booting.rst; arch/riscv/include/asm/pgtable.h, "MAX_FDT_SIZE"."""


def cmdline_excess(cmdline: bytes, arch: str) -> str | None:
    """Say how much too long a command line is for any kernel of ``arch``; None if it is not."""
    architecture = architecture_of(arch)
    size = architecture.command_line_size
    if len(cmdline) < size:
        return None
    return (
        f"the command line is {counted(len(cmdline), 'byte')} long, "
        f"{architecture.family} kernels take at most {size - 1} (COMMAND_LINE_SIZE)"
    )
