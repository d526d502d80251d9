"""How an arm64 kernel's own loader places what kexec_file_load(2) gives it. Pure.

Linux arch/arm64/kernel/kexec_image.c ("image_load") and machine_kexec_file.c
("load_other_segments").
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
    yield PlacementRule(Role.KERNEL, "the lowest free place, a multiple of 2 MiB")
    if crash:
        text = "the highest free place above the kernel, a multiple of 64 KiB"
        yield PlacementRule(Role.ELFCOREHDR, text)
    if request.initrd is not None:
        text = "the lowest free place above the kernel, within 32 GiB of its gigabyte"
        yield PlacementRule(Role.INITRD, text)
    text = "the highest free place above the kernel, a multiple of 2 MiB; there is no purgatory"
    yield PlacementRule(Role.DTB, text)
