"""The boot protocol of loongarch64: functions of :class:`~pykexec.planning.rooms.BootRoom`. Pure.

Each imports what it needs when it is called: a load by the file call lays out no segments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.loongarch64.file_placement import file_cmdline_obstacle as file_cmdline_obstacle
from pykexec.boot.loongarch64.file_placement import file_placement as file_placement
from pykexec.boot.tree.room import file_dump_fault as file_dump_fault
from pykexec.boot.tree.room import file_shortfall as file_shortfall
from pykexec.boot.tree.room import keeps_firmware_display as keeps_firmware_display
from pykexec.formats.vmlinux_efi import VmlinuxEfi

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    from pykexec.boot.loongarch64.protocol import plan_vmlinux_efi

    assert isinstance(image, VmlinuxEfi)  # formats.identify has asked whom the image is for
    return plan_vmlinux_efi(facts, request, image, purgatory)


def invariants_of(plan: SegmentPlan) -> tuple[str, ...]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.loongarch64.invariants import INVARIANTS

    del plan
    return INVARIANTS


def verify(plan: SegmentPlan, facts: MachineFacts, usable: RangeSet) -> Iterator[Violation]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.loongarch64.invariants import verify_protocol

    del usable
    return verify_protocol(plan, facts)


def told_changes(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Told]:
    """See :class:`~pykexec.planning.rooms.BootRoom`: nothing but the command line."""
    del plan, facts
    return iter(())


def file_obstacle(image: KernelImage, facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`: a vmlinux.efi is what that loader takes."""
    del image, facts
    return None
