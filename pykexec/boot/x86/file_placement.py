"""How an x86 kernel's own loader places what kexec_file_load(2) gives it, and what it takes. Pure.

Linux arch/x86/kernel/kexec-bzimage64.c ("bzImage64_probe", "bzImage64_load"),
arch/x86/kernel/crash.c ("crash_load_segments"), kernel/kexec_file.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.formats.bzimage import MIN_PROTOCOL_64BIT, BzImage, XLoadFlags
from pykexec.planning.plans import PlacementRule
from pykexec.values.roles import Role
from pykexec.values.units import MIB, counted, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.facts import MachineFacts

_MIN_KERNEL = MIB
"""Lower than this the kernel's loader puts no kernel, whatever pref_address says."""
_MIN_INITRD = 16 * MIB
_HIGHEST_ENTRY_FIRST = (6, 8)
"""Where Linux began to do otherwise."""
_ROOM_FOR_ELFCOREHDR = 30
"""Bytes that the kernel wants to be free on every command line
(Linux arch/x86/kernel/kexec-bzimage64.c, "MAX_ELFCOREHDR_STR_LEN")."""


def file_obstacle(image: KernelImage, facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    if not isinstance(image, BzImage):
        return f"its format is {image.format_name}, and on x86 only bzImages are taken"
    header = image.header
    if header.version < MIN_PROTOCOL_64BIT:
        return f"boot protocol {header.protocol}, 2.12 is needed"
    for flag in (XLoadFlags.XLF_KERNEL_64, XLoadFlags.XLF_CAN_BE_LOADED_ABOVE_4G):
        if flag not in header.xloadflags:
            return f"xloadflags {int(header.xloadflags):#x} without {flag.name}"
    if facts.la57 and XLoadFlags.XLF_5LEVEL not in header.xloadflags:
        return "no XLF_5LEVEL, and the running kernel uses five-level page tables"
    if facts.efi is not None and facts.efi.platform_bits == 32:
        return "the machine's EFI is a 32-bit one"
    return None


def file_cmdline_obstacle(request: LoadRequest, image: KernelImage) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    if not isinstance(image, BzImage):
        return None
    longest = image.header.cmdline_size - _ROOM_FOR_ELFCOREHDR - 1
    if len(request.cmdline) <= longest:
        return None
    return (
        f"the command line has {counted(len(request.cmdline), 'byte')}, at most {longest} are taken"
    )


def file_dump_fault(facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del facts
    return None


def file_shortfall(facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del facts
    return None


def file_placement(
    request: LoadRequest, image: KernelImage, version: tuple[int, int] | None, *, crash: bool
) -> Iterator[PlacementRule]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    if isinstance(image, BzImage):
        yield PlacementRule(None, _where(version, crash=crash))
        yield from _of_bzimage(request, image, crash=crash)


def _where(version: tuple[int, int] | None, *, crash: bool) -> str:
    if crash:
        return "everything lies inside the crash region, of two in the high one"
    newer = "each goes to the highest System RAM of /proc/iomem with room, and there to the end"
    older = "each goes to the lowest System RAM of /proc/iomem with room, and there to the end"
    if version is None:
        return f"from Linux 6.8 on {newer}; before, {older}"
    return newer if version >= _HIGHEST_ENTRY_FIRST else older


def _of_bzimage(request: LoadRequest, image: BzImage, *, crash: bool) -> Iterator[PlacementRule]:
    header = image.header
    if crash:
        yield PlacementRule(Role.ELFCOREHDR, "the lowest free place")
    yield PlacementRule(Role.PURGATORY, "the highest free place")
    yield PlacementRule(Role.PARAMETERS, "the highest that is left, with the command line")
    if header.pref_address < _MIN_KERNEL:
        lowest = f"not below {format_size(_MIN_KERNEL)}"
    else:
        lowest = f"not below {header.pref_address:#x} (pref_address)"
    align = f"a multiple of {header.kernel_alignment:#x} (kernel_alignment)"
    yield PlacementRule(Role.KERNEL, f"the highest that is left, {lowest}, {align}")
    if request.initrd is not None:
        lowest = f"not below {format_size(_MIN_INITRD)}"
        yield PlacementRule(Role.INITRD, f"the highest that is left, {lowest}")
