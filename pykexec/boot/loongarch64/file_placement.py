"""How a loongarch64 kernel's own loader places what kexec_file_load(2) gives it. Pure.

Linux arch/loongarch/kernel/kexec_efi.c ("efi_kexec_load") and machine_kexec_file.c
("load_other_segments").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.loongarch64.command_line import COMMAND_LINE_SIZE
from pykexec.planning.plans import PlacementRule
from pykexec.values.calls import Target
from pykexec.values.roles import Role
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest

_PREFIX = len("kexec_file ")
_RANGE = len("0x@0x ") + 2 * 16
_INITRD = len("initrd=") + _RANGE
_CRASH = len("elfcorehdr=") + len("mem=") + 2 * _RANGE


def file_placement(
    request: LoadRequest, image: KernelImage, version: tuple[int, int] | None, *, crash: bool
) -> Iterator[PlacementRule]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del image, version
    where = "inside the crash region" if crash else "in memory that nothing was reserved in"
    yield PlacementRule(None, f"everything lies {where}")
    yield PlacementRule(
        Role.KERNEL, "the lowest free multiple of 2 MiB, where it was linked to lie or above"
    )
    if crash:
        yield PlacementRule(Role.ELFCOREHDR, "the highest free multiple of 64 KiB")
    if request.initrd is not None:
        yield PlacementRule(Role.INITRD, "the lowest free place above the kernel, within 32 GiB")
    yield PlacementRule(Role.COMMAND_LINE, "the kernel copies it to 0x108000, of which all know")


def file_cmdline_obstacle(request: LoadRequest, image: KernelImage) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del image
    added = _PREFIX + (_INITRD if request.initrd is not None else 0)
    added += _CRASH if request.target is Target.CRASH else 0
    longest = COMMAND_LINE_SIZE - 1 - added
    if len(request.cmdline) <= longest:
        return None
    return (
        f"the command line has {counted(len(request.cmdline), 'byte')}, at most {longest} are "
        "taken: the kernel adds what it tells the next one"
    )
