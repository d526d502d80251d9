"""The boot protocol of riscv64: a :class:`~pykexec.boot.tree.room.TreeRoom`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.riscv64.file_placement import file_cmdline_obstacle as file_cmdline_obstacle
from pykexec.boot.riscv64.file_placement import file_placement as file_placement
from pykexec.boot.tree.room import file_shortfall as file_shortfall
from pykexec.boot.tree.room import invariants_of as invariants_of
from pykexec.boot.tree.room import keeps_firmware_display as keeps_firmware_display
from pykexec.boot.tree.room import plan as plan
from pykexec.boot.tree.room import told_changes as told_changes
from pykexec.boot.tree.room import verify as verify

if TYPE_CHECKING:
    from pykexec.boot.tree.protocol import TreeProtocol
    from pykexec.formats import KernelImage
    from pykexec.values.facts import MachineFacts


def tree_protocol() -> TreeProtocol:
    """See :class:`~pykexec.boot.tree.room.TreeRoom`."""
    from pykexec.boot.riscv64.protocol import PROTOCOL

    return PROTOCOL


def file_obstacle(image: KernelImage, facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del image, facts
    return None


def file_dump_fault(facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`: it covers all that is called System RAM.

    Linux arch/riscv/kernel/machine_kexec_file.c, "prepare_elf_headers".
    """
    if facts.device_tree is None:
        return None
    from pykexec.boot.riscv64.firmware import firmware_memory
    from pykexec.values.memory import dumped_ram

    ram = dumped_ram(facts.iomem)
    faulting = ram.intersect(firmware_memory(facts.device_tree))
    if not faulting:
        return None
    return (
        "the core header that the running kernel makes covers firmware's memory "
        f"({', '.join(map(str, faulting))}), and a capture kernel that reads that dies"
    )
