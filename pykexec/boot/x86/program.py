"""The segments of an ELF program: at their own addresses, or moved as a whole. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.x86.kernels import LOWEST_PLACE, flat_image
from pykexec.planning.plans import ElfArgs
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import align_down, align_up
from pykexec.values.wishes import Prefer, aligned, at_least, inside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.formats.elf_file import LoadSegment
    from pykexec.formats.elf_program import ElfProgram
    from pykexec.planning.plan_builder import PlanBuilder
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.wishes import Limit

_OWN_PLACE = "where the program is linked to run (p_paddr)"


def want_program(
    builder: PlanBuilder, segments: Sequence[LoadSegment], *limits: Limit, moved: bool = False
) -> None:
    """Ask for the places of ``segments`` within ``limits``: their own, or all of them moved.

    Moved is everything as one piece, so that all is moved by the same multiple of p_align.
    """
    if moved:
        align = max(segment.align for segment in segments)
        _, data, size = flat_image(segments, builder.page_size, align)
        own = (aligned(align, "p_align"), at_least(LOWEST_PLACE, "the first MiB is firmware's"))
        builder.want(Role.KERNEL, size, *own, *limits, data=data, prefer=Prefer.BOTTOM)
        return
    for group in _by_page(segments, builder):
        base, data, size = flat_image(group, builder.page_size)
        builder.want(
            Role.KERNEL, size, *inside(Range.sized(base, size), _OWN_PLACE), *limits, data=data
        )


def moved_by(builder: PlanBuilder, segments: Sequence[LoadSegment]) -> int:
    """Return by how many bytes the program was moved."""
    align = max(segment.align for segment in segments)
    base = align_down(segments[0].paddr, max(builder.page_size, align))
    return builder.place_of(Role.KERNEL).start - base


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


def elf_args(request: LoadRequest, image: ElfProgram) -> ElfArgs:
    """Return what an ELF program is handed: what was asked for, else what it is made for."""
    if request.elf_args is not None:
        return request.elf_args
    return ElfArgs.LINUX if image.is_linux else ElfArgs.ELF
