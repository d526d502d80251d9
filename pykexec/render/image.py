"""A kernel image for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.render.text import wrapped
from pykexec.units import format_size

if TYPE_CHECKING:
    from pykexec.formats.bzimage import BzImage


def image_value(image: BzImage) -> dict[str, Any]:
    """Return what the image says as what JSON can say: schema ``pykexec.image/1``."""
    header = image.header
    return {
        "schema": "pykexec.image/1",
        "format": image.format_name,
        "release": image.release,
        "protocol": header.protocol,
        "kernel_size": len(image.payload),
        "init_size": header.init_size,
        "pref_address": f"{header.pref_address:#x}",
        "kernel_alignment": f"{header.kernel_alignment:#x}",
        "relocatable": header.relocatable_kernel,
        "initrd_addr_max": f"{header.initrd_addr_max:#x}",
        "cmdline_size": header.cmdline_size,
        "loadflags": [flag.name for flag in header.loadflags],
        "xloadflags": [flag.name for flag in header.xloadflags],
    }


def image_text(image: BzImage) -> str:
    """Describe the image in at most 80 columns."""
    header = image.header
    initrd = "anywhere" if header.above_4g else f"{header.initrd_addr_max:#x} at most"
    lines = [
        f"format:            {image.format_name}, boot protocol {header.protocol}",
        f"release:           {image.release or 'not given'}",
        f"kernel:            {format_size(len(image.payload))}",
        f"memory to start:   {format_size(header.init_size)} (init_size)",
        f"preferred address: {header.pref_address:#x}, aligned to {header.kernel_alignment:#x}"
        + ("" if header.relocatable_kernel else ", not relocatable"),
        f"initrd:            {initrd}",
        f"command line:      {header.cmdline_size} bytes at most",
        "xloadflags:",
        wrapped(" ".join(str(flag.name) for flag in header.xloadflags) or "none"),
    ]
    return "\n".join(lines) + "\n"
