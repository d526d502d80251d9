"""The boot protocol of arm64: the functions of :class:`~pykexec.planning.rooms.BootRoom`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.arm64.file_placement import file_placement as file_placement
from pykexec.boot.arm64.invariants import invariants_of as invariants_of
from pykexec.boot.arm64.invariants import verify as verify
from pykexec.boot.arm64.linux import cmdline_excess
from pykexec.boot.arm64.linux import plan as plan
from pykexec.boot.tree.told import told_changes as told_changes
from pykexec.formats.linux_image import LinuxImage

if TYPE_CHECKING:
    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.facts import MachineFacts


def keeps_firmware_display(facts: MachineFacts) -> bool | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`: the kernel finds it by what EFI left."""
    del facts
    return None


def file_obstacle(image: KernelImage, facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del facts
    if isinstance(image, LinuxImage) and image.image_size_given:
        return None
    return "an Image without image_size (before Linux 3.17)"


def file_cmdline_obstacle(request: LoadRequest, image: KernelImage) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del image
    return cmdline_excess(request.cmdline)
