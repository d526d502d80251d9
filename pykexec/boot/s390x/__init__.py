"""The boot protocol of s390x: the functions of :class:`~pykexec.planning.rooms.BootRoom`. Pure.

Each imports what it needs when it is called: a load by the file call lays out no segments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.s390x.file_placement import file_cmdline_obstacle as file_cmdline_obstacle
from pykexec.boot.s390x.file_placement import file_placement as file_placement

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
    from pykexec.boot.s390x.protocol import plan_kernel
    from pykexec.formats.ipl_image import IplImage

    assert isinstance(image, IplImage)  # formats.identify has asked whom the image is for
    return plan_kernel(facts, request, image, purgatory)


def invariants_of(plan: SegmentPlan) -> tuple[str, ...]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.s390x.invariants import INVARIANTS

    del plan
    return INVARIANTS


def verify(plan: SegmentPlan, facts: MachineFacts, usable: RangeSet) -> Iterator[Violation]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.s390x.invariants import verify_protocol

    del usable
    return verify_protocol(plan, facts)


def told_changes(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Told]:
    """See :class:`~pykexec.planning.rooms.BootRoom`. What this boot was told is not shown."""
    from pykexec.boot.s390x.told import told

    del facts
    return told(plan)


def keeps_firmware_display(facts: MachineFacts) -> bool | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`: there is none."""
    del facts
    return None


def file_obstacle(image: KernelImage, facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.formats.ipl_image import IplImage

    del facts
    if not isinstance(image, IplImage) or not image.scattered:
        return None
    return f"{image.scattered}; bzImage, which is made of it, goes by that call"


def file_dump_fault(facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`: the capture kernel makes it."""
    del facts
    return None


def file_shortfall(facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del facts
    return None
