"""How an s390x kernel's own loader places what kexec_file_load(2) gives it. Pure.

Linux arch/s390/kernel/machine_kexec_file.c ("kexec_file_add_components"), kexec_image.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.formats.ipl_image import IplImage
from pykexec.planning.plans import PlacementRule
from pykexec.values.roles import Role
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest


def foreign_byte(cmdline: bytes) -> str | None:
    """Return why a kernel would read another command line; None where it reads this one.

    Linux arch/s390/boot/ipl_parm.c, "has_ebcdic_char": with one byte above 0x7f it takes all of
    them for EBCDIC, and translates them.
    """
    at = next((at for at, byte in enumerate(cmdline) if byte > 0x7F), None)
    if at is None:
        return None
    return (
        f"the command line has the byte {cmdline[at]:#x} at position {at}, which is not ASCII: an "
        "s390x kernel would take the whole line for EBCDIC, and translate it"
    )


def file_cmdline_obstacle(request: LoadRequest, image: KernelImage) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`: with its NUL it must be below the limit."""
    if not isinstance(image, IplImage):
        return None
    longest = image.cmdline_size - 2
    foreign = foreign_byte(request.cmdline)
    if foreign is not None:
        return foreign
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
