"""How a riscv64 kernel's own loader places what kexec_file_load(2) gives it. Pure.

Linux arch/riscv/kernel/kexec_image.c ("image_load") and machine_kexec_file.c
("load_extra_segments").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.planning.plans import PlacementRule
from pykexec.values.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest


def file_placement(
    request: LoadRequest, image: KernelImage, version: tuple[int, int] | None, *, crash: bool
) -> Iterator[PlacementRule]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del image, version
    where = "inside the crash region" if crash else "in memory that nothing was reserved in"
    yield PlacementRule(None, f"everything lies {where}")
    yield PlacementRule(Role.KERNEL, "the lowest free place, a multiple of text_offset")
    if crash:
        yield PlacementRule(Role.ELFCOREHDR, "the highest free place above the kernel")
    text = "the highest free place above the kernel; it is the running kernel's own"
    yield PlacementRule(Role.PURGATORY, text)
    if request.initrd is not None:
        yield PlacementRule(Role.INITRD, "the highest free place above the kernel")
    yield PlacementRule(Role.DTB, "the highest free place above the kernel")
