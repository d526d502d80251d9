"""The boot protocol of arm: the functions of :class:`~pykexec.planning.rooms.BootRoom`. Pure.

Each imports what it needs when it is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.tree.room import file_cmdline_obstacle as file_cmdline_obstacle
from pykexec.boot.tree.room import file_dump_fault as file_dump_fault
from pykexec.boot.tree.room import file_shortfall as file_shortfall
from pykexec.boot.tree.room import keeps_firmware_display as keeps_firmware_display
from pykexec.boot.tree.room import told_changes as told_changes
from pykexec.formats.zimage import ZImage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest, PlacementRule, SegmentPlan
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.values.errors import Violation
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import RangeSet

_NO_CALL = "kernels of 32-bit ARM have no kexec_file_load"
"""Linux arch/arm/Kconfig selects no ARCH_SUPPORTS_KEXEC_FILE."""


def plan(
    facts: MachineFacts, request: LoadRequest, image: KernelImage, purgatory: PurgatoryObject
) -> SegmentPlan:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.arm.protocol import plan_zimage

    assert isinstance(image, ZImage)  # formats.identify has asked whom the image is for
    return plan_zimage(facts, request, image, purgatory)


def invariants_of(plan: SegmentPlan) -> tuple[str, ...]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.arm.invariants import INVARIANTS

    del plan
    return INVARIANTS


def verify(plan: SegmentPlan, facts: MachineFacts, usable: RangeSet) -> Iterator[Violation]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.arm.invariants import verify_protocol

    return verify_protocol(plan, facts, usable)


def file_obstacle(image: KernelImage, facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del image, facts
    return _NO_CALL


def file_placement(
    request: LoadRequest,
    image: KernelImage,
    version: tuple[int, int] | None,
    *,
    crash: bool,
) -> Iterator[PlacementRule]:
    """See :class:`~pykexec.planning.rooms.BootRoom`: there is no such loader."""
    del request, image, version, crash
    yield from ()
