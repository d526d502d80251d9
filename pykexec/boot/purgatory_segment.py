"""The purgatory's parameters, written when all other segments are in place. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.planning.digest import digest_of, digest_regions
from pykexec.purgatory_objects.parameters import PurgatoryParameters, build_purgatory
from pykexec.values.ranges import Range
from pykexec.values.roles import Role

if TYPE_CHECKING:
    from pykexec.planning.plan_builder import PlanBuilder
    from pykexec.planning.plans import LoadRequest
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.purgatory_objects.registers import Registers


def fill_purgatory(
    builder: PlanBuilder,
    purgatory: PurgatoryObject,
    request: LoadRequest,
    registers: Registers,
    backup: tuple[Range, Range] | None = None,
) -> None:
    """Give the placed purgatory its data: the digest over the others is taken here.

    ``registers`` are those that the new kernel is entered with, ``backup`` the memory to copy
    before that, and its place.
    """
    page_size = builder.page_size
    source, copy = backup or (Range(0, 0), Range(0, 0))
    checked = not request.purgatory.skip_checks
    regions = digest_regions(builder.segments, page_size) if checked else ()
    parameters = PurgatoryParameters(
        regions=tuple((region.start, region.size) for region in regions),
        digest=digest_of(builder.segments, page_size) if checked else bytes(32),
        skip_checks=not checked,
        console=request.purgatory.console,
        backup_src_start=source.start,
        backup_src_size=source.size,
        backup_dst_start=copy.start,
        registers=registers,
    )
    base = builder.place_of(Role.PURGATORY).start
    builder.fill(Role.PURGATORY, build_purgatory(purgatory, base, parameters))
