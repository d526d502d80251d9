"""Whether the next kernel can draw where firmware did. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pykexec.values.facts import MachineFacts

_FIRMWARE_DISPLAYS = ("EFI VGA", "VESA VGA", "simple", "efidrm", "vesadrm")
"""Beginnings of names in /proc/fb."""


def keeps_firmware_display(facts: MachineFacts) -> bool:
    """Tell whether the display still is as firmware left it, and ``screen_info`` true.

    These drivers draw into firmware's framebuffer; any other has reprogrammed the hardware.
    """
    driver = facts.framebuffer_driver
    return driver is None or driver.startswith(_FIRMWARE_DISPLAYS)
