"""The boot protocols of x86: the functions of :class:`~pykexec.planning.rooms.BootRoom`. Pure.

Each imports what it needs when it is called: a load by the file call lays out no segments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.x86.display import keeps_firmware_display as keeps_firmware_display
from pykexec.boot.x86.file_placement import file_cmdline_obstacle as file_cmdline_obstacle
from pykexec.boot.x86.file_placement import file_dump_fault as file_dump_fault
from pykexec.boot.x86.file_placement import file_obstacle as file_obstacle
from pykexec.boot.x86.file_placement import file_placement as file_placement
from pykexec.boot.x86.file_placement import file_shortfall as file_shortfall

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
    from pykexec.boot.x86.protocols import plan_image

    return plan_image(facts, request, image, purgatory)


def plan_way_back(
    facts: MachineFacts, request: LoadRequest, address: int, purgatory: PurgatoryObject
) -> SegmentPlan:
    """See :class:`~pykexec.planning.rooms.ReturningRoom`."""
    from pykexec.boot.x86 import way_back

    return way_back.plan_way_back(facts, request, address, purgatory)


def invariants_of(plan: SegmentPlan) -> tuple[str, ...]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.x86.invariants import INVARIANTS

    return INVARIANTS[plan.protocol]


def verify(plan: SegmentPlan, facts: MachineFacts, usable: RangeSet) -> Iterable[Violation]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.x86.invariants import verify_protocol

    return verify_protocol(plan, facts, usable)


def told_changes(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Told]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.x86 import told

    return told.told_changes(plan, facts)
