"""Who drives the display: /proc/fb (Linux drivers/video/fbdev/core/fb_procfs.c).

The firmware's framebuffer itself is described by ``screen_info`` in boot_params. It is of
use to the next kernel only while no driver has reprogrammed the hardware.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

_LIST = "proc/fb"


def read_framebuffer_driver(files: MachineFiles) -> str | None:
    """Return the name of the first framebuffer, such as ``EFI VGA``; None when there is none."""
    lines = (files.peek(_LIST) or "").splitlines()
    return lines[0].partition(" ")[2] or None if lines else None
