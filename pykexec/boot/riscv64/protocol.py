"""What is particular to riscv64 in how a kernel is entered with a device tree. Pure.

Linux Documentation/arch/riscv/boot.rst. The kernel finds its base by its program counter, and
stops before it has any console where that is no multiple of 2 MiB (arch/riscv/mm/init.c,
"setup_vm"). It reserves its image up to the next such multiple ("setup_bootmem"): an initrd that
shares the last piece is dropped. Kernels before v6.4 cannot use the memory below themselves.

Of the segments the running kernel takes the first whose data is a device tree, and hands its
address on in a1 (arch/riscv/kernel/machine_kexec.c, "machine_kexec_prepare"). After a crash it
leaves by way of stvec, whose two lowest bits are a mode (kexec_relocate.S).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.tree.protocol import KERNEL_ALIGN, TreeProtocol
from pykexec.purgatory_objects.riscv64 import Riscv64Registers
from pykexec.values.wishes import aligned

if TYPE_CHECKING:
    from pykexec.formats.linux_image import LinuxImage
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import Range


def _registers(tree: int, entry: int) -> Riscv64Registers:
    return Riscv64Registers(a1=tree, pc=entry)


def _notes(facts: MachineFacts, image: LinuxImage, kernel: Range) -> list[str]:
    del facts, image, kernel
    return []


PROTOCOL = TreeProtocol(
    registers=_registers,
    tree_register="a1",
    kernel_limits=(aligned(KERNEL_ALIGN, "2 MiB aligned base of a riscv64 Image"),),
    kernel_multiple=KERNEL_ALIGN,
    tree_first=True,
    entry_multiple=4,
    notes=_notes,
)
