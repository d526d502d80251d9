"""The doors that every architecture's room has whose kernels are given a device tree. Pure.

They are functions of :class:`~pykexec.planning.rooms.BootRoom`; what differs they ask of the room
itself (:class:`TreeRoom`). Each imports what it needs when it is called: a load by the file call
lays out no segments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from pykexec.architectures import room_of
from pykexec.boot.tree.limits import cmdline_excess
from pykexec.formats.linux_image import LinuxImage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pykexec.boot.tree.protocol import TreeProtocol
    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest, SegmentPlan
    from pykexec.planning.told import Told
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.values.errors import Violation
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import RangeSet


class TreeRoom(Protocol):
    """What such a room has beside the doors."""

    def tree_protocol(self) -> TreeProtocol:
        """Return how its kernels are entered, imported now."""


def _protocol(arch: str) -> TreeProtocol:
    return cast("TreeRoom", room_of("boot", arch)).tree_protocol()


def plan(
    facts: MachineFacts, request: LoadRequest, image: KernelImage, purgatory: PurgatoryObject
) -> SegmentPlan:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.tree.linux import plan_linux_image

    assert isinstance(image, LinuxImage)  # formats.identify has asked whom the image is for
    return plan_linux_image(facts, request, image, purgatory, _protocol(facts.arch))


def invariants_of(plan: SegmentPlan) -> tuple[str, ...]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.tree import invariants

    return invariants.invariants_of(_protocol(plan.arch))


def verify(plan: SegmentPlan, facts: MachineFacts, usable: RangeSet) -> Iterable[Violation]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.tree.invariants import verify_protocol

    return verify_protocol(plan, facts, usable, _protocol(plan.arch))


def told_changes(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Told]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.tree import told

    return told.told_changes(plan, facts)


def keeps_firmware_display(facts: MachineFacts) -> bool | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`: the kernel finds it by what EFI left."""
    del facts
    return None


def file_cmdline_obstacle(request: LoadRequest, image: KernelImage) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    return cmdline_excess(request.cmdline, image.arch)


def file_dump_fault(facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del facts
    return None


def file_shortfall(facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del facts
    return None
