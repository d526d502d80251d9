"""Places the segments of an ELF program: at their own addresses, or moved as a whole. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.x86_kernels import LOWEST_PLACE, flat_image
from pykexec.placement import Prefer, aligned, at_least, inside
from pykexec.plans import Role
from pykexec.ranges import Range
from pykexec.units import align_down, align_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.formats.elf_file import LoadSegment
    from pykexec.placement import Limit
    from pykexec.plans import PlanBuilder

_OWN_PLACE = "where the program is linked to run (p_paddr)"


def place_program(
    builder: PlanBuilder, segments: Sequence[LoadSegment], *limits: Limit, relocatable: bool
) -> int:
    """Place ``segments`` within ``limits``; return by how much they were moved, in bytes.

    A relocatable program is moved only where its own place is not free. Raises
    :class:`NoRoomError`.
    """
    pieces = [flat_image(group, builder.page_size) for group in _by_page(segments, builder)]
    places = [Range.sized(base, size) for base, _, size in pieces]
    if not relocatable or all(builder.has_room(place, *limits) for place in places):
        for place, (_, data, _) in zip(places, pieces, strict=True):
            own = inside(place, _OWN_PLACE)
            builder.place(Role.KERNEL, place.size, *own, *limits, data=data)
        return 0
    return _place_moved(builder, segments, limits)


def _by_page(segments: Sequence[LoadSegment], builder: PlanBuilder) -> list[list[LoadSegment]]:
    """Group what shares a page, which can belong to one segment of kexec_load(2) only."""
    groups: list[list[LoadSegment]] = []
    end = -1
    for segment in segments:
        if align_down(segment.paddr, builder.page_size) < end:
            groups[-1].append(segment)
        else:
            groups.append([segment])
        end = align_up(segment.paddr + segment.memsz, builder.page_size)
    return groups


def _place_moved(
    builder: PlanBuilder, segments: Sequence[LoadSegment], limits: Sequence[Limit]
) -> int:
    """Place everything as one piece, so that all is moved by the same multiple of p_align."""
    align = max(segment.align for segment in segments)
    base, data, size = flat_image(segments, builder.page_size, align)
    own = (aligned(align, "p_align"), at_least(LOWEST_PLACE, "the first MiB is firmware's"))
    place = builder.place(Role.KERNEL, size, *own, *limits, data=data, prefer=Prefer.BOTTOM)
    return place.start - base
