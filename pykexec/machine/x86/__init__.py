"""What only x86 machines show: the functions of :class:`~pykexec.machine.rooms.MachineRoom`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.architectures.x86 import X86_64
from pykexec.machine.tree_machines import capture_fault as capture_fault
from pykexec.machine.x86.boot_params import read_boot_params
from pykexec.machine.x86.edd import read_edd
from pykexec.machine.x86.framebuffer import read_framebuffer_driver
from pykexec.machine.x86.processor import read_encrypted_guest, read_hashing, read_la57
from pykexec.machine.x86.redact import masked as masked

if TYPE_CHECKING:
    from pykexec.machine.description import Description
    from pykexec.machine.files import MachineFiles
    from pykexec.values.memory import IomemEntry

NUMBERS: tuple[str, ...] = ()


def read_own(files: MachineFiles, *, memory: bool) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    found = {"framebuffer_driver": read_framebuffer_driver(files), "la57": read_la57(files)}
    if not memory:
        return found
    return found | {
        "boot_params": read_boot_params(files),
        "edd": read_edd(files),
        "encrypted_guest": read_encrypted_guest(files),
        "hashing": read_hashing(files),
    }


def read_mapping(
    files: MachineFiles,
    description: Description,
    iomem: tuple[IomemEntry, ...],
    *,
    xen: bool,
) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`. A guest of Xen does not tell."""
    from pykexec.machine.kcore import read_kcore_loads
    from pykexec.machine.x86.crash import (
        read_gart,
        read_low_memory_reserved,
        read_memory_encryption,
    )
    from pykexec.machine.x86.mapping import find_i386_mapping, find_page_offset, find_text

    found: dict[str, Any] = {}
    if not xen:
        loads = description.kcore
        if loads is None:
            loads = read_kcore_loads(files)
        if description.arch == X86_64.name:
            text, text_vaddr = find_text(files, loads, iomem, description.page_size)
            found = {
                "kernel_text": text,
                "kernel_text_vaddr": text_vaddr,
                "page_offset_vaddr": find_page_offset(loads),
            }
        else:
            page_offset, direct_map_end = find_i386_mapping(loads)
            found = {"page_offset_vaddr": page_offset, "direct_map_end": direct_map_end}
    return found | {
        "low_memory_reserved": read_low_memory_reserved(files, iomem),
        "unreadable": read_gart(files),
        "memory_encryption": read_memory_encryption(files),
    }
