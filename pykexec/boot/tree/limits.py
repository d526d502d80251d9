"""What an arm64 kernel takes at most. Pure."""

from __future__ import annotations

from pykexec.values.units import counted

COMMAND_LINE_SIZE = 2048
"""Bytes with the NUL: Linux arch/arm64/include/uapi/asm/setup.h."""


def cmdline_excess(cmdline: bytes) -> str | None:
    """Say how much too long a command line is for any arm64 kernel; None if it is not."""
    if len(cmdline) < COMMAND_LINE_SIZE:
        return None
    return (
        f"the command line is {counted(len(cmdline), 'byte')} long, arm64 kernels take at most "
        f"{COMMAND_LINE_SIZE - 1} (COMMAND_LINE_SIZE)"
    )
