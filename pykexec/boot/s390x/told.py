"""What an s390x kernel is told by its parameter area. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.formats.ipl_image import ENTRY, PARAMETERS, read_parameters
from pykexec.planning.told import Told, range_text
from pykexec.values.ranges import Range
from pykexec.values.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.planning.plans import SegmentPlan


def told(plan: SegmentPlan) -> Iterator[Told]:
    """Yield what the new kernel is told; where this boot's was is not known any more."""
    kernel = plan.segment(Role.KERNEL)
    if kernel is None:
        return
    area = read_parameters(memoryview(kernel.data)[PARAMETERS - ENTRY :])
    if area.initrd_size:
        yield Told("initrd", None, range_text(Range.sized(area.initrd_start, area.initrd_size)))
    if area.oldmem_size:
        yield Told("oldmem", None, range_text(Range.sized(area.oldmem_base, area.oldmem_size)))
