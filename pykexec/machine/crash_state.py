"""What the machine says of its crash kernel, for ``crash status``.

Read without privileges as well: what cannot be read is not known.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pykexec.crash.status import CrashState
from pykexec.machine.description import read_description
from pykexec.machine.fadump import ENABLED as FADUMP_ENABLED
from pykexec.machine.hypervisor import facts_of
from pykexec.machine.iomem import read_iomem
from pykexec.machine.kernel_state import is_xen_host, kernel_state, read_flag
from pykexec.machine.left_records import CRASH, read_boot_id, read_left, read_mark
from pykexec.machine.roots import machine_files
from pykexec.values.errors import MachineError
from pykexec.values.memory import crash_memory, crash_regions
from pykexec.values.xen import machine_iomem

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles
    from pykexec.values.memory import IomemEntry

RECORD = CRASH.record
"""Where a crash load leaves its record."""
PRESENT_CPUS = "sys/devices/system/cpu/present"

# Linux Documentation/ABI/testing/sysfs-devices-memory and sysfs-devices-system-cpu.
_UPDATES_MEMORY = "sys/devices/system/memory/crash_hotplug"
_UPDATES_CPUS = "sys/devices/system/cpu/crash_hotplug"


def read_present_cpus(files: MachineFiles) -> str:
    """Return the list of the processors that are there, such as ``0-3``; "" when unknown."""
    return files.peek(PRESENT_CPUS) or ""


def read_crash_state(root: os.PathLike[str] | str = "/") -> CrashState:
    """Read the state of the machine at ``root``.

    Raises :class:`MachineError` only for a directory that is no machine directory.
    """
    files = machine_files(root)
    return crash_state(files, read_description(files).kernel_release)


def crash_state(files: MachineFiles, release: str) -> CrashState:
    """Read the state; ``release`` is what ``uname -r`` says."""
    iomem: tuple[IomemEntry, ...] | None
    try:
        iomem = machine_iomem(facts_of(files)) if is_xen_host(files) else read_iomem(files)
    except MachineError:
        iomem = None
    # In this order: a load writes its record while there is a mark.
    record = read_left(files, RECORD)
    unfinished = read_mark(files, CRASH.mark)
    return CrashState(
        kernel=kernel_state(files, release),
        boot_id=read_boot_id(files),
        regions=None if iomem is None else crash_regions(iomem),
        memory=None if iomem is None else crash_memory(iomem),
        cpus=read_present_cpus(files),
        updates_memory=read_flag(files, (_UPDATES_MEMORY,)),
        updates_cpus=read_flag(files, (_UPDATES_CPUS,)),
        record=record.data,
        record_problem=record.problem,
        unfinished=unfinished,
        by_firmware=bool(read_flag(files, FADUMP_ENABLED)),
    )
