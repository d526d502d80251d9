"""What is particular to riscv64 in how a kernel is entered with a device tree. Pure.

Linux Documentation/arch/riscv/boot.rst. The kernel finds its base by its program counter, and
stops before it has any console where that is no multiple of 2 MiB (arch/riscv/mm/init.c,
"setup_vm"). It reserves its image up to the next such multiple ("setup_bootmem"): an initrd that
shares the last piece is dropped. Kernels before v6.4 cannot use the memory below themselves.

Of the segments the running kernel takes the first whose data is a device tree, and hands its
address on in a1 (arch/riscv/kernel/machine_kexec.c, "machine_kexec_prepare"). After a crash it
leaves by way of stvec, whose two lowest bits are a mode (kexec_relocate.S). It keeps a loaded crash
kernel's region in its map of memory: arch/riscv has no "arch_kexec_protect_crashkres".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.tree.protocol import KERNEL_ALIGN, TreeProtocol
from pykexec.purgatory_objects.riscv64 import Riscv64Registers
from pykexec.values.calls import Target
from pykexec.values.memory import MemoryKind, crash_regions
from pykexec.values.ranges import RangeSet
from pykexec.values.units import GIB, align_down
from pykexec.values.wishes import aligned, at_most

if TYPE_CHECKING:
    from pykexec.formats.linux_image import LinuxImage
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import Range
    from pykexec.values.wishes import Limit


_SV39_WORD = b"no4lvl"
_SV39_MAP = 128 * GIB


def _registers(tree: int, entry: int) -> Riscv64Registers:
    return Riscv64Registers(a1=tree, pc=entry)


def _notes(facts: MachineFacts, image: LinuxImage, kernel: Range) -> list[str]:
    del facts, image, kernel
    return []


def _limits(facts: MachineFacts, request: LoadRequest) -> tuple[Limit, ...]:
    """Keep to what a kernel maps that is told to use page tables of three levels (Sv39).

    From the start of RAM on; it cuts off the memory behind (Linux arch/riscv/mm/init.c,
    "setup_bootmem"; pgtable.h, "KERN_VIRT_SIZE"). It looks for the word anywhere in its command
    line (kernel/pi/cmdline_early.c). Where the processor knows no other mode, the running kernel
    has cut that off already.
    """
    ram = facts.memory_map.of_kind(MemoryKind.RAM)
    if _SV39_WORD not in request.cmdline or not ram:
        return ()
    if request.target is Target.CRASH:
        ram = RangeSet(crash_regions(facts.iomem))
    start = align_down(min(item.start for item in ram), KERNEL_ALIGN)
    return (at_most(start + _SV39_MAP - 1, f"{_SV39_WORD.decode()}: the kernel maps 128 GiB"),)


PROTOCOL = TreeProtocol(
    registers=_registers,
    tree_register="a1",
    limits=_limits,
    kernel_limits=(aligned(KERNEL_ALIGN, "2 MiB aligned base of a riscv64 Image"),),
    kernel_multiple=KERNEL_ALIGN,
    tree_first=True,
    entry_multiple=4,
    notes=_notes,
)
