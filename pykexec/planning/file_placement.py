"""By which rules a running kernel places what kexec_file_load(2) gives it, in words. Pure.

The kernel decides when it loads, from lists that nobody else sees, so no address is known
before; but how it looks for one can be told. Linux kernel/kexec_file.c ("kexec_locate_mem_hole",
"kexec_walk_resources", "kexec_walk_memblock"), arch/x86/kernel/kexec-bzimage64.c
("bzImage64_load"), arch/x86/kernel/crash.c ("crash_load_segments"),
arch/arm64/kernel/kexec_image.c ("image_load") and machine_kexec_file.c ("load_other_segments").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pykexec.planning.plans import Role, Target
from pykexec.values.command_line import kernel_words
from pykexec.values.units import MIB, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats import KernelImage
    from pykexec.formats.x86.bzimage import BzImage
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.facts import MachineFacts

_MIN_KERNEL = MIB
"""x86: lower than this the kernel's loader puts no kernel, whatever pref_address says."""
_MIN_INITRD = 16 * MIB

# Where Linux began to do otherwise.
_HIGHEST_ENTRY_FIRST = (6, 8)
_CMA = (6, 17)
_HANDOVER = (6, 16)


@dataclass(frozen=True, slots=True)
class PlacementRule:
    """How the kernel looks for the place of one segment."""

    role: Role | None
    """None: a rule for all of them."""
    text: str


def placement_rules(
    facts: MachineFacts, request: LoadRequest, image: KernelImage
) -> tuple[PlacementRule, ...]:
    """Return the running kernel's rules for ``request``, in the order in which it places."""
    return tuple(_rules(facts, request, image))


def _rules(
    facts: MachineFacts, request: LoadRequest, image: KernelImage
) -> Iterator[PlacementRule]:
    from pykexec.formats.linux_image import LinuxImage
    from pykexec.formats.x86.bzimage import BzImage

    version = _version(facts.kernel.release)
    crash = request.target is Target.CRASH
    if not crash:
        yield from _elsewhere(facts, request, version)
    if isinstance(image, BzImage):
        yield PlacementRule(None, _where_on_x86(version, crash=crash))
        yield from _x86(request, image, crash=crash)
    elif isinstance(image, LinuxImage):
        where = "inside the crash region" if crash else "in memory that nothing was reserved in"
        yield PlacementRule(None, f"everything lies {where}")
        yield from _arm64(request, crash=crash)


def _version(release: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", release)
    return None if found is None else (int(found[1]), int(found[2]))


def _elsewhere(
    facts: MachineFacts, request: LoadRequest, version: tuple[int, int] | None
) -> Iterator[PlacementRule]:
    """What comes before every other rule, for jumps."""
    if version is None:
        return
    words = kernel_words(facts.cmdline)
    if version >= _HANDOVER and any(word in (b"kho=on", b"kho=1", b"kho=y") for word in words):
        yield PlacementRule(None, "kexec handover is on (kho=): only its scratch memory is used")
    elif version >= _CMA and not request.no_cma:
        text = "a CMA area with room for a segment comes first, wherever it is; --no-cma forbids it"
        yield PlacementRule(None, text)


def _where_on_x86(version: tuple[int, int] | None, *, crash: bool) -> str:
    if crash:
        return "everything lies inside the crash region, of two in the high one"
    newer = "each goes to the highest System RAM of /proc/iomem with room, and there to the end"
    older = "each goes to the lowest System RAM of /proc/iomem with room, and there to the end"
    if version is None:
        return f"from Linux 6.8 on {newer}; before, {older}"
    return newer if version >= _HIGHEST_ENTRY_FIRST else older


def _x86(request: LoadRequest, image: BzImage, *, crash: bool) -> Iterator[PlacementRule]:
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


def _arm64(request: LoadRequest, *, crash: bool) -> Iterator[PlacementRule]:
    yield PlacementRule(Role.KERNEL, "the lowest free place, a multiple of 2 MiB")
    if crash:
        text = "the highest free place above the kernel, a multiple of 64 KiB"
        yield PlacementRule(Role.ELFCOREHDR, text)
    if request.initrd is not None:
        text = "the lowest free place above the kernel, within 32 GiB of its gigabyte"
        yield PlacementRule(Role.INITRD, text)
    text = "the highest free place above the kernel, a multiple of 2 MiB; there is no purgatory"
    yield PlacementRule(Role.DTB, text)
