"""What only ppc64le machines show: the functions of :class:`~pykexec.machine.rooms.MachineRoom`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pykexec.machine.device_tree import BLOB, DIRECTORIES
from pykexec.machine.tree_machines import capture_fault as capture_fault
from pykexec.machine.tree_machines import mapping_fields
from pykexec.machine.tree_machines import masked as masked

if TYPE_CHECKING:
    from pykexec.machine.description import Description
    from pykexec.machine.files import MachineFiles
    from pykexec.values.memory import IomemEntry

NUMBERS: tuple[str, ...] = ()

_PAGE_OFFSET = 0xC000_0000_0000_0000
"""Of all memory, the kernel's image included: Linux arch/powerpc/include/asm/page.h."""


_CPUINFO = "proc/cpuinfo"
_MMU = re.compile(r"^MMU\s*: (Hash|Radix)\s*$", re.MULTILINE)
"""Linux arch/powerpc/platforms/pseries/setup.c, "pSeries_show_cpuinfo"; powernv/setup.c,
"pnv_show_cpuinfo"."""
_PROCESSOR = re.compile(r"^cpu\s*: POWER(\d+)", re.MULTILINE | re.IGNORECASE)
"""Linux arch/powerpc/kernel/cpu_specs_book3s_64.h, "cpu_name"."""
_OLDEST_KNOWN = 8
_EMULATOR = "(emulated by qemu)"
_HYPERVISOR = "hypervisor/compatible"
"""QEMU has the node only with KVM: hw/ppc/spapr.c, "spapr_dt_hypervisor"."""

_ORDER = "sys/kernel/debug/powerpc/hpt_order"
"""Linux arch/powerpc/mm/book3s64/hash_utils.c, "hash64_debugfs"."""
_ORDERS = range(18, 47)
"""What the architecture has: Power ISA v3.0B, Book III, section 5.7.7."""


def read_own(files: MachineFiles, *, memory: bool) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    cpuinfo = files.peek(_CPUINFO) or ""
    found = _MMU.search(cpuinfo)
    return {
        "hashing": _hashing(files, cpuinfo) if memory else "",
        "hashed_page_tables": found[1] == "Hash" if found is not None else None,
        "hash_table_order": _read_order(files) if memory else None,
        "boot_tree": files.read(BLOB, "the memory of the boot") if memory else None,
    }


def _hashing(files: MachineFiles, cpuinfo: str) -> str:
    """Return how fast the purgatory hashes here: a name in the architecture's ``check_speeds``."""
    versions = [int(version) for version in _PROCESSOR.findall(cpuinfo)]
    if not versions or min(versions) < _OLDEST_KNOWN:
        return ""
    if _EMULATOR in cpuinfo and not any(files.peek(f"{d}/{_HYPERVISOR}") for d in DIRECTORIES):
        return ""  # no KVM, and nobody knows how fast the emulation is
    return "power8"


def _read_order(files: MachineFiles) -> int | None:
    text = files.peek(_ORDER) or ""
    order = int(text) if re.fullmatch("[0-9]{1,2}", text) else 0
    return order if order in _ORDERS else None


def read_mapping(
    files: MachineFiles,
    description: Description,
    iomem: tuple[IomemEntry, ...],
    *,
    xen: bool,
) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    del files, description, iomem, xen
    return mapping_fields(None, None, _PAGE_OFFSET)
