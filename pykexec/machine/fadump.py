"""Firmware-assisted dump, as a machine shows it.

Linux Documentation/ABI/testing/sysfs-kernel-fadump; the names before Linux 5.6 are in its
Documentation/arch/powerpc/firmware-assisted-dump.rst, under "deprecated". Read without privileges
as well: what cannot be read is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash.fadump.sections import is_released, words_below_boot_memory
from pykexec.crash.fadump.size import Platform
from pykexec.crash.fadump.state import FadumpState
from pykexec.machine.device_tree import DIRECTORIES
from pykexec.machine.files import parse_decimal
from pykexec.machine.iomem import read_iomem
from pykexec.machine.kernel_state import MEMINFO, read_flag
from pykexec.values.errors import MachineError
from pykexec.values.memory import MemoryKind, kind_of_name
from pykexec.values.ranges import Range

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

DIRECTORY = "sys/kernel/fadump"
APPEND = f"{DIRECTORY}/bootargs_append"
VMCORE = "proc/vmcore"

ENABLED = (f"{DIRECTORY}/enabled", "sys/kernel/fadump_enabled")
REGISTERED = (f"{DIRECTORY}/registered", "sys/kernel/fadump_registered")
RELEASE = (f"{DIRECTORY}/release_mem", "sys/kernel/fadump_release_mem")
_RESERVED = f"{DIRECTORY}/mem_reserved"
_HOTPLUG = (f"{DIRECTORY}/hotplug_ready",)

_RTAS_CALL = "rtas/ibm,configure-kernel-dump"
_RTAS_DUMP = "rtas/ibm,kernel-dump"
_RTAS_TERM = "rtas/ibm,extended-os-term"
_RTAS_BASE, _RTAS_SIZE = "rtas/linux,rtas-base", "rtas/rtas-size"
_OPAL_DUMP = "ibm,opal/dump/compatible"
_OPAL_BOOT = "ibm,opal/dump/mpipl-boot"
_PROPERTY_MAX = 4096
_MISSING = (FileNotFoundError, NotADirectoryError)


def read_fadump(files: MachineFiles) -> FadumpState:
    """Read the state. Raises :class:`MachineError` only for a record that is none."""
    platform = _platform(files)
    if platform is None and read_flag(files, ENABLED) is None:
        return FadumpState(None, kernel=False)
    enabled = read_flag(files, ENABLED)
    kernel_dump = _property(files, _RTAS_DUMP)
    vmcore = _is_there(files, VMCORE)
    told = kernel_dump is not None or _property(files, _OPAL_BOOT) is not None
    # Not even read: it would get into a record.
    lost = told and not vmcore and _is_there(files, APPEND)
    lost = lost and not words_below_boot_memory(kernel_dump or b"")
    reserved, rtas = parse_decimal(files.peek(_RESERVED) or ""), _rtas(files)
    active = told and vmcore
    loses_rtas = active and rtas is not None and is_released(rtas, kernel_dump or b"", reserved)
    return FadumpState(
        platform=platform,
        kernel=enabled is not None or files.has_directory(DIRECTORY),
        enabled=enabled,
        registered=read_flag(files, REGISTERED),
        mem_reserved=reserved,
        rtas=rtas,
        rtas_released=rtas if loses_rtas else None,
        hotplug_ready=bool(read_flag(files, _HOTPLUG)),
        bootargs_append=None if lost else files.peek(APPEND),
        words_are_lost=lost,
        told_of_dump=told,
        vmcore=vmcore,
        vmcore_size=_size(files, VMCORE) if vmcore and files.is_live else None,
        cmdline=(files.peek("proc/cmdline") or "").encode("utf-8", "surrogateescape"),
        ram=_ram(files),
        kernel_dump=kernel_dump,
        os_term=_property(files, _RTAS_TERM) is not None if platform is Platform.PSERIES else None,
    )


def _platform(files: MachineFiles) -> Platform | None:
    if _property(files, _RTAS_CALL) is not None:
        return Platform.PSERIES
    compatible = _property(files, _OPAL_DUMP)
    if compatible is not None and b"ibm,opal-dump" in compatible.split(b"\0"):
        return Platform.POWERNV
    return None


def _property(files: MachineFiles, name: str) -> bytes | None:
    """Return a property of the live tree; "" for one that is there and not for us to read."""
    for directory in DIRECTORIES:
        if not files.is_live and files.is_link(directory):
            continue
        try:
            return files.head(f"{directory}/{name}", _PROPERTY_MAX)
        except _MISSING:
            continue
        except OSError:
            return b""
    return None


def _rtas(files: MachineFiles) -> Range | None:
    base, size = (_property(files, name) for name in (_RTAS_BASE, _RTAS_SIZE))
    if not base or not size:
        return None
    return Range.fitting(int.from_bytes(base, "big"), int.from_bytes(size, "big"))


def _is_there(files: MachineFiles, name: str) -> bool:
    """Tell whether a file is there. Nothing is read of it: /proc/vmcore is all of a memory."""
    try:
        files.head(name, 0)
    except _MISSING:
        return False
    except OSError:
        return True
    return True


def _size(files: MachineFiles, name: str) -> int | None:
    try:
        return files.size(name)
    except OSError:
        return None


def _ram(files: MachineFiles) -> int | None:
    """Return the RAM in bytes; where the map is hidden, what the kernel has of it."""
    try:
        entries = read_iomem(files)
    except MachineError:
        entries = ()
    ram = sum(entry.range.size for entry in entries if kind_of_name(entry.name) is MemoryKind.RAM)
    if ram:
        return ram
    lines = files.lines(MEMINFO, lambda line: line.startswith(b"MemTotal:"), 1)
    number = parse_decimal(lines[0].split()[1]) if lines and len(lines[0].split()) > 1 else None
    return None if number is None else number << 10
