"""What machines with a device tree have in common: nothing of their own, and where is what.

The functions are those of :class:`~pykexec.machine.rooms.MachineRoom`, or serve them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pykexec.values.errors import MachineError
from pykexec.values.units import ADDRESS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pykexec.machine.description import Description
    from pykexec.machine.files import MachineFiles
    from pykexec.values.ranges import Range


def read_own(files: MachineFiles, *, memory: bool) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    del files, memory
    return {}


def masked(name: str, data: bytes) -> bytes | None:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    del name, data
    return None


def capture_fault(files: MachineFiles) -> str | None:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    del files
    return None


def read_numbers(
    files: MachineFiles, description: Description, names: tuple[str, ...]
) -> Mapping[str, str]:
    """Return what the VMCOREINFO note says of ``names``: what was recorded, or /proc/kcore."""
    from pykexec.machine.kcore import read_vmcoreinfo_numbers

    if description.vmcoreinfo is not None:
        return description.vmcoreinfo
    return read_vmcoreinfo_numbers(files, names)


def number_in(numbers: Mapping[str, str], name: str) -> int | None:
    """Return a number of the note: decimal, or hexadecimal with 0x; None without the line.

    Modulo 2^64. Raises :class:`MachineError` for what is no number.
    """
    text = numbers.get(name)
    if text is None:
        return None
    try:
        return int(text, 0) & ADDRESS_MAX
    except ValueError as error:
        raise impossible(name, text) from error


def impossible(name: str, text: str) -> MachineError:
    """Return the error for a line of the note that cannot be."""
    return MachineError(f"VMCOREINFO in /proc/kcore: {name}={text} cannot be")


def mapping_fields(
    text: Range | None, text_vaddr: int | None, page_offset: int | None
) -> dict[str, Any]:
    """Return fields of :class:`~pykexec.values.facts.CrashFacts`: of image and memory."""
    return {
        "kernel_text": text,
        "kernel_text_vaddr": text_vaddr,
        "page_offset_vaddr": page_offset,
    }
