"""What is particular to arm64 in how a kernel is entered with a device tree. Pure.

Linux Documentation/arch/arm64/booting.rst. Kernels before v4.6 cannot use the memory below
themselves.

The running kernel copies the page tables of its linear map for the jump (Linux
arch/arm64/kernel/machine_kexec.c, "machine_kexec_post_load"). For each it takes free pages until
one lies in no segment, and gives the others back (kernel/kexec_core.c,
"kimage_alloc_normal_control_pages"). What it takes first is what was freed last, so that a large
segment on memory in daily use makes a load take minutes. Zones are used from the highest down, and
each from its start: what is used last is the end of the DMA zone, or of all memory if that is less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.tree.limits import DTB_SIZE_MAX
from pykexec.boot.tree.protocol import KERNEL_ALIGN, TreeProtocol, Window
from pykexec.purgatory_objects.arm64 import Aarch64Registers
from pykexec.values.units import GIB, KIB, format_size
from pykexec.values.wishes import aligned, at_most

if TYPE_CHECKING:
    from pykexec.formats.linux_image import LinuxImage
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import Range

_PHYSICAL_LAST = (1 << 48) - 1
_LARGEST_PAGE = 64 * KIB


def _registers(tree: int, entry: int) -> Aarch64Registers:
    return Aarch64Registers(x0=tree, pc=entry)


def _notes(facts: MachineFacts, image: LinuxImage, kernel: Range) -> list[str]:
    """Say what cannot be checked about this kernel on this machine."""
    del kernel
    notes = []
    if image.big_endian:
        notes.append(
            "the kernel is big-endian: the processor must support that, which the running kernel "
            "does not tell"
        )
    if image.page_size not in (None, facts.page_size):
        notes.append(
            f"the kernel has pages of {format_size(image.page_size)}, the running one of "
            f"{format_size(facts.page_size)}: the processor must support them, which the "
            "running kernel does not tell"
        )
    return notes


PROTOCOL = TreeProtocol(
    registers=_registers,
    tree_register="x0",
    # "The Image must be placed text_offset bytes from a 2MB aligned base address".
    kernel_limits=(
        aligned(KERNEL_ALIGN, "2 MiB aligned base of an arm64 Image"),
        at_most(_PHYSICAL_LAST, "48-bit physical addresses"),
    ),
    window=Window(32 * GIB, GIB, "32 GiB window"),
    tree_limits=(aligned(DTB_SIZE_MAX, "a device tree that crosses no 2 MiB boundary"),),
    core_header_limits=(aligned(_LARGEST_PAGE, "largest page of an arm64 kernel"),),
    # Linux arch/arm64/mm/mmu.c, "arch_kexec_protect_crashkres".
    unmaps_crash_region=True,
    notes=_notes,
)
