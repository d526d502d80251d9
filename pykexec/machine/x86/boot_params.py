"""The running kernel's ``struct boot_params`` (x86).

Linux Documentation/ABI/testing/sysfs-kernel-boot_params, and debugfs on older kernels. The
``setup_data`` beside it is left alone: it holds the seed of the random number generator.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from pykexec.values.errors import MachineError

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

SIZE = 4096
"""Bytes of ``struct boot_params`` (Linux arch/x86/include/uapi/asm/bootparam.h)."""

SYSFS = "sys/kernel/boot_params/data"

_PURPOSE = "the parameters that the running kernel was booted with"
_MOUNTS_WANTED = 16


def read_boot_params(files: MachineFiles) -> bytes | None:
    """Return the 4096 bytes from sysfs, else from debugfs wherever that is mounted.

    None when the kernel shows them in neither. Raises :class:`MachineError` when there are
    not 4096 bytes.
    """
    for name in (SYSFS, *(f"{mount}/boot_params/data" for mount in _debugfs_mounts(files))):
        data = files.read(name, _PURPOSE)
        if data is None:
            continue
        if len(data) != SIZE:
            raise MachineError(
                f"{files.path(name)}: struct boot_params has {SIZE} bytes, found {len(data)}"
            )
        return data
    return None


def _debugfs_mounts(files: MachineFiles) -> list[str]:
    """Return the mount points, relative to the root, of file systems of type debugfs."""
    lines = files.lines("proc/mounts", lambda line: b" debugfs " in line, _MOUNTS_WANTED)
    fields = (line.split(" ") for line in lines)
    points = (_unescape(item[1]) for item in fields if item[2:3] == ["debugfs"])
    # Normalised, because a recorded machine may come from anybody: no way out of the root.
    return [os.path.normpath(f"/{point}").lstrip("/") for point in points]


def _unescape(mount_point: str) -> str:
    r"""Undo the kernel's ``\040`` for a blank: Linux fs/proc_namespace.c, "mangle"."""
    return re.sub(r"\\(0[1-7][0-7]|1[0-7]{2})", lambda match: chr(int(match[1], 8)), mount_point)
