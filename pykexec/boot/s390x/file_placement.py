"""How an s390x kernel's own loader places what kexec_file_load(2) gives it. Pure.

Linux arch/s390/kernel/machine_kexec_file.c ("kexec_file_add_components"), kexec_image.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.formats.s390x_image import S390xImage
from pykexec.planning.plans import PlacementRule
from pykexec.values.roles import Role
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest


def file_cmdline_obstacle(request: LoadRequest, image: KernelImage) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`: with its NUL it must be below the limit."""
    if not isinstance(image, S390xImage):
        return None
    longest = image.cmdline_size - 2
    if len(request.cmdline) <= longest:
        return None
    return (
        f"the command line has {counted(len(request.cmdline), 'byte')}, at most {longest} are taken"
    )


def file_placement(
    request: LoadRequest, image: KernelImage, version: tuple[int, int] | None, *, crash: bool
) -> Iterator[PlacementRule]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del image, version
    base = "the start of the crash region" if crash else "address 0"
    yield PlacementRule(Role.KERNEL, base)
    if request.initrd is not None:
        yield PlacementRule(Role.INITRD, "the page behind the kernel")
    yield PlacementRule(
        Role.PURGATORY,
        "the page behind those; it is the running kernel's own, an IPL report follows",
    )
