"""Whether the next kernel takes over what this one hands over: the layouts that it knows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.formats.bzimage import BzImage
from pykexec.formats.elf_program import ElfProgram
from pykexec.formats.handover import known_layouts
from pykexec.formats.ikconfig import unpacked
from pykexec.formats.linux_image import LinuxImage

if TYPE_CHECKING:
    from pykexec.formats import KernelImage
    from pykexec.values.facts import MachineFacts


def unknown_to_next(image: KernelImage, facts: MachineFacts) -> str | None:
    """Say which layouts of the running kernel the next one does not know; None: all, or unknown.

    Linux kernel/liveupdate/kexec_handover.c, "kho_populate", and luo_core.c,
    "luo_early_startup": what has another name is left where it is, and nobody gets it.
    """
    found = facts.kernel.handed_over
    if found is None or not found.layouts:
        return None
    if isinstance(image, BzImage | ElfProgram):
        kernel = unpacked(image)
    else:
        kernel = image.payload if isinstance(image, LinuxImage) else None
    if kernel is None:
        return None
    knows = known_layouts(kernel)
    lacking = [name for name in found.layouts if name not in knows]
    if not lacking:
        return None
    other = ", ".join(sorted(knows)) or "none at all"
    return (
        f"the next kernel does not know {', '.join(lacking)} (it knows {other}): it takes nothing "
        "over by that, and what is preserved stays reserved there"
    )
