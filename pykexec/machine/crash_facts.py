"""What an ELF core header is made from: the kernel's mapping, and notes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.machine.files import parse_hexadecimal
from pykexec.machine.kcore import PURPOSE, sized_range
from pykexec.machine.rooms import machine_room
from pykexec.values.errors import MachineError
from pykexec.values.facts import CrashFacts

if TYPE_CHECKING:
    from pykexec.machine.description import Description
    from pykexec.machine.files import MachineFiles
    from pykexec.values.memory import IomemEntry
    from pykexec.values.ranges import Range

CPUS = "sys/devices/system/cpu"
VMCOREINFO = "sys/kernel/vmcoreinfo"

_NOTE_SIZE = 1024  # What kernels without crash_notes_size reserve for each CPU.


def read_crash_facts(
    files: MachineFiles,
    description: Description,
    iomem: tuple[IomemEntry, ...],
    *,
    xen: bool,
) -> CrashFacts:
    """Read what an ELF core header needs.

    The facts about the kernel's mapping are None where the machine does not say, or nobody here
    knows what it says. Raises :class:`MachineError` naming a file that cannot be read or is
    malformed.
    """
    room = machine_room(description.arch)
    return CrashFacts(
        crash_notes=_read_crash_notes(files),
        vmcoreinfo=_read_vmcoreinfo(files),
        **(room.read_mapping(files, description, iomem, xen=xen) if room else {}),
    )


def _read_crash_notes(files: MachineFiles) -> tuple[tuple[int, Range], ...]:
    """Return (cpu, note buffer) by ascending CPU; a CPU without the file has none."""
    matches = (re.fullmatch(r"cpu(\d+)", name) for name in files.names(CPUS, PURPOSE))
    notes = []
    for cpu in sorted(int(match[1]) for match in matches if match):
        start = files.hexadecimal(f"{CPUS}/cpu{cpu}/crash_notes", PURPOSE)
        if start is not None:
            size = files.decimal(f"{CPUS}/cpu{cpu}/crash_notes_size", PURPOSE)
            where = files.path(f"{CPUS}/cpu{cpu}/crash_notes")
            notes.append((cpu, sized_range(start, _NOTE_SIZE if size is None else size, where)))
    return tuple(notes)


def _read_vmcoreinfo(files: MachineFiles) -> Range | None:
    """Read address and size, both hexadecimal: Linux kernel/ksysfs.c, "vmcoreinfo_show"."""
    text = files.read_text(VMCOREINFO, PURPOSE)
    if text is None:
        return None
    fields = text.split()
    if len(fields) != 2:
        raise MachineError(f"{files.path(VMCOREINFO)}: address and size are needed: {text!r}")
    start, size = (parse_hexadecimal(field, files.path(VMCOREINFO)) for field in fields)
    return sized_range(start, size, files.path(VMCOREINFO))
