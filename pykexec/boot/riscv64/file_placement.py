"""How a riscv64 kernel's own loader places what kexec_file_load(2) gives it. Pure.

Linux arch/riscv/kernel/kexec_elf.c ("elf_find_pbase"), kexec_image.c ("image_load") and
machine_kexec_file.c ("load_extra_segments", "setup_kdump_cmdline").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures.riscv64 import RISCV64
from pykexec.boot.tree.file_placement import FilePlacement
from pykexec.boot.tree.room import file_cmdline_obstacle as tree_cmdline_obstacle
from pykexec.values.calls import Target
from pykexec.values.units import counted

if TYPE_CHECKING:
    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest

_HIGH = "the highest free place above the kernel"
_ELFCOREHDR = len("elfcorehdr=0x ") + 56 // 4
"""Bytes that the loader puts in front of a capture kernel's command line, at most: an address has
56 bits."""

file_placement = FilePlacement(
    kernel="the lowest free place, a multiple of 2 MiB, or, for an Image, of its text_offset",
    core_header=_HIGH,
    purgatory=f"{_HIGH}; it is the running kernel's own",
    initrd=_HIGH,
    tree=_HIGH,
).rules


def file_cmdline_obstacle(request: LoadRequest, image: KernelImage) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    obstacle = tree_cmdline_obstacle(request, image)
    longest = RISCV64.command_line_size - 1 - _ELFCOREHDR
    if obstacle is not None or request.target is not Target.CRASH:
        return obstacle
    if len(request.cmdline) <= longest:
        return None
    return (
        f"the command line has {counted(len(request.cmdline), 'byte')}, at most {longest} are "
        "taken: the kernel puts elfcorehdr= in front"
    )
