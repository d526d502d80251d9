"""Whether a load fits into the scratch areas, which are all that a handover leaves to it. Pure.

Linux kernel/kexec_file.c, "kexec_locate_mem_hole", and kernel/liveupdate/kexec_handover.c,
"kho_walk_scratch": with kexec handover each segment lies in one of them, as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.formats.bzimage import BzImage
from pykexec.formats.linux_image import LinuxImage
from pykexec.values.calls import Target
from pykexec.values.errors import PykexecError
from pykexec.values.handover import holds
from pykexec.values.units import format_size

if TYPE_CHECKING:
    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import Range


def scratch_of(request: LoadRequest, facts: MachineFacts) -> tuple[Range, ...] | None:
    """Return the areas that a load by kexec_file_load(2) is kept to; None where it is not.

    Also where the machine does not show them.
    """
    state = facts.kernel
    if request.target is Target.CRASH or not state.handover or state.handed_over is None:
        return None
    return state.handed_over.scratch


def scratch_text(areas: tuple[Range, ...]) -> str:
    """Name the areas with their sizes."""
    return ", ".join(
        f"{area.start:#x}-{area.end - 1:#x} ({format_size(area.size)})" for area in areas
    )


def refuse_what_does_not_fit(request: LoadRequest, image: KernelImage, facts: MachineFacts) -> None:
    """Refuse a load for which the areas are too small, whichever way it is laid out.

    That a load is not refused here is no promise: purgatory, parameters and alignment want room,
    too. Raises :class:`PykexecError`.
    """
    areas = scratch_of(request, facts)
    if areas is None:
        return
    initrd = 0 if request.initrd is None else len(request.initrd)
    needed = {"the kernel": _memory_of(image), "the initrd": initrd}
    hint = "give a smaller initrd, or boot with larger areas (kho_scratch=)"
    for what, size in needed.items():
        if not holds(size, areas) and size:
            raise PykexecError(
                f"{what} takes {format_size(size)} in one piece, and the scratch areas, which "
                f"kexec handover leaves to a load, are {scratch_text(areas) or 'none'}",
                hint=hint,
            )
    together, there = sum(needed.values()), sum(area.size for area in areas)
    if together > there:
        raise PykexecError(
            f"kernel and initrd take {format_size(together)}, and the scratch areas, which kexec "
            f"handover leaves to a load, have {format_size(there)}: {scratch_text(areas)}",
            hint=hint,
        )


def _memory_of(image: KernelImage) -> int:
    """Return what a kernel wants in one piece; 0 for formats that come in several."""
    if isinstance(image, BzImage):
        return image.header.init_size
    return image.image_size if isinstance(image, LinuxImage) else 0
