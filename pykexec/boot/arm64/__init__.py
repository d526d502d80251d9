"""The boot protocol of arm64: a :class:`~pykexec.boot.tree.room.TreeRoom`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.arm64.file_placement import file_placement as file_placement
from pykexec.boot.tree.room import file_cmdline_obstacle as file_cmdline_obstacle
from pykexec.boot.tree.room import file_dump_fault as file_dump_fault
from pykexec.boot.tree.room import file_shortfall as file_shortfall
from pykexec.boot.tree.room import invariants_of as invariants_of
from pykexec.boot.tree.room import keeps_firmware_display as keeps_firmware_display
from pykexec.boot.tree.room import plan as plan
from pykexec.boot.tree.room import told_changes as told_changes
from pykexec.boot.tree.room import verify as verify
from pykexec.formats.linux_image import LinuxImage

if TYPE_CHECKING:
    from pykexec.boot.tree.protocol import TreeProtocol
    from pykexec.formats import KernelImage
    from pykexec.values.facts import MachineFacts


def tree_protocol() -> TreeProtocol:
    """See :class:`~pykexec.boot.tree.room.TreeRoom`."""
    from pykexec.boot.arm64.protocol import PROTOCOL

    return PROTOCOL


def file_obstacle(image: KernelImage, facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del facts
    if isinstance(image, LinuxImage) and image.image_size_given:
        return None
    return "an Image without image_size (before Linux 3.17)"
