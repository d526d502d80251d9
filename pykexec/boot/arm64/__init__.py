"""The boot protocol of arm64: the functions of :class:`~pykexec.planning.rooms.BootRoom`. Pure.

Each imports what it needs when it is called: a load by the file call lays out no segments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures.arm64 import ARM64
from pykexec.boot.arm64.file_placement import file_placement as file_placement
from pykexec.boot.tree.limits import cmdline_excess
from pykexec.formats.linux_image import LinuxImage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest, SegmentPlan
    from pykexec.planning.told import Told
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.values.errors import Violation
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import RangeSet


def plan(
    facts: MachineFacts, request: LoadRequest, image: KernelImage, purgatory: PurgatoryObject
) -> SegmentPlan:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.arm64.protocol import PROTOCOL
    from pykexec.boot.tree.linux import plan_linux_image

    assert isinstance(image, LinuxImage)  # formats.identify has asked whom the image is for
    return plan_linux_image(facts, request, image, purgatory, PROTOCOL)


def invariants_of(plan: SegmentPlan) -> tuple[str, ...]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.arm64.protocol import PROTOCOL
    from pykexec.boot.tree import invariants

    del plan
    return invariants.invariants_of(PROTOCOL)


def verify(plan: SegmentPlan, facts: MachineFacts, usable: RangeSet) -> Iterable[Violation]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.arm64.protocol import PROTOCOL
    from pykexec.boot.tree.invariants import verify_protocol

    return verify_protocol(plan, facts, usable, PROTOCOL)


def told_changes(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Told]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.tree import told

    return told.told_changes(plan, facts)


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
    return cmdline_excess(request.cmdline, ARM64.name)
