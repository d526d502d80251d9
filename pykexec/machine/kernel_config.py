"""What the running kernel's configuration says of kexec, from wherever it is."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

from pykexec.formats.ikconfig import KernelConfig

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

_CONFIG_GZ = "proc/config.gz"
_WANTED = re.compile(
    rb"^(?:# )?CONFIG_(?:KEXEC|CRASH|PROC_VMCORE|RELOCATABLE|IMA_|IKCONFIG|SECURITY_LOADPIN"
    rb"|ARM_LPAE|CPU_TTBR0_PAN|STACKPROTECTOR|LIVEUPDATE)"
)
_LINES_MAX = 512
_CONFIG_MAX = 4 << 20


def read_config(files: MachineFiles, release: str) -> tuple[KernelConfig | None, str]:
    """Return what a configuration says about kexec, and the path; None where there is none."""
    try:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        text = unpacker.decompress(files.load(_CONFIG_GZ), _CONFIG_MAX)
        return KernelConfig(text), f"/{_CONFIG_GZ}"
    except (OSError, zlib.error):
        pass
    if not release or "/" in release:
        return None, ""
    for name in (f"boot/config-{release}", f"usr/lib/modules/{release}/config"):
        lines = files.lines(name, lambda line: _WANTED.match(line) is not None, _LINES_MAX)
        if lines:
            return KernelConfig("\n".join(lines).encode() + b"\n"), f"/{name}"
    return None, ""
