"""What only s390x machines show: the functions of :class:`~pykexec.machine.rooms.MachineRoom`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pykexec.machine.tree_machines import masked as masked

if TYPE_CHECKING:
    from pykexec.machine.description import Description
    from pykexec.machine.files import MachineFiles
    from pykexec.values.memory import IomemEntry

NUMBERS: tuple[str, ...] = ()

VM_PARM = "sys/firmware/ipl/parm"
"""Under z/VM, of what was booted from a CCW device."""
SCP_DATA = "sys/firmware/ipl/scp_data"
"""Of what was booted from FCP, NVMe or ECKD, as it stands in the IPL block."""


def read_own(files: MachineFiles, *, memory: bool) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`."""
    del memory
    parm = _load(files, VM_PARM).rstrip(b"\0\n ")
    return {"ipl_parameters": parm or scp_words(_load(files, SCP_DATA))}


def capture_fault(files: MachineFiles) -> str | None:
    """See :class:`~pykexec.machine.rooms.MachineRoom`: os_info, read by way of /proc/kcore.

    Which shows absolute memory since Linux 6.1 (arch/s390/include/asm/io.h,
    "kc_xlate_dev_mem_ptr"); before, what this processor has for a lowcore.
    """
    from pykexec.crash.s390x.os_info import read_os_info
    from pykexec.machine.kcore import physical_reader
    from pykexec.values.errors import ImageError, MachineError

    try:
        with physical_reader(files) as read:
            read_os_info(read)
    except MachineError:
        return None
    except ImageError as error:
        return error.message
    return ""


def scp_words(data: bytes) -> bytes:
    """Return what kernels make of SCP data.

    Linux arch/s390/boot/ipl_parm.c, "ipl_block_get_ascii_scpdata": nothing where it is not ASCII;
    without any small letter they are all made small.
    """
    data = data.rstrip(b"\0 ")
    if not data.isascii():
        return b""
    return data if any(byte in range(0x61, 0x7B) for byte in data) else data.lower()


def _load(files: MachineFiles, name: str) -> bytes:
    with suppress(OSError):
        return files.load(name)
    return b""


def read_mapping(
    files: MachineFiles,
    description: Description,
    iomem: tuple[IomemEntry, ...],
    *,
    xen: bool,
) -> dict[str, Any]:
    """See :class:`~pykexec.machine.rooms.MachineRoom`: no core header is made from it."""
    del files, description, iomem, xen
    return {}
