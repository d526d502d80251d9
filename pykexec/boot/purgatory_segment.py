"""The purgatory's parameters, written when all other segments are in place. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.planning.digest import table_of
from pykexec.purgatory_objects.digest_table import DigestTable
from pykexec.purgatory_objects.parameters import PurgatoryParameters, WayBack, build_purgatory
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import MIB

if TYPE_CHECKING:
    from pykexec.planning.plan_builder import PlanBuilder
    from pykexec.planning.plans import LoadRequest
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.purgatory_objects.registers import Registers

_PROGRESS_STEP = 64 * MIB
"""Of a load that is smaller the purgatory says but what it begins with."""


def fill_purgatory(
    builder: PlanBuilder,
    purgatory: PurgatoryObject,
    request: LoadRequest,
    registers: Registers,
    backup: tuple[Range, Range] | None = None,
    way_back: WayBack | None = None,
) -> None:
    """Give the placed purgatory its data: the digests of the others are taken here.

    ``registers`` are those that the new kernel is entered with, ``backup`` the memory to copy
    before that, and its place.
    """
    source, copy = backup or (Range(0, 0), Range(0, 0))
    checked = not request.purgatory.skip_checks
    parameters = PurgatoryParameters(
        table=table_of(builder.segments, builder.page_size) if checked else DigestTable(),
        skip_checks=not checked,
        progress_step=_PROGRESS_STEP,
        console=request.purgatory.console,
        backup_src_start=source.start,
        backup_src_size=source.size,
        backup_dst_start=copy.start,
        registers=registers,
        way_back=way_back or WayBack(),
    )
    base = builder.place_of(Role.PURGATORY).start
    builder.fill(Role.PURGATORY, build_purgatory(purgatory, base, parameters))
