"""What a crash load on x86 must know of memory beyond /proc/iomem."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pykexec.machine.x86.processor import read_cpu_flags
from pykexec.values.memory import MemoryKind, kind_of_name
from pykexec.values.ranges import Range
from pykexec.values.units import KIB, MIB, align_down, align_up

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles
    from pykexec.values.memory import IomemEntry

KPAGEFLAGS = "proc/kpageflags"
PCI_DEVICES = "sys/bus/pci/devices"

LOW_MEMORY = Range(0, 640 * KIB)
"""What a capture kernel uses before it can look at its memory map."""

_PAGE = 4096
_KPF_RESERVED = 1 << 32
"""Linux include/uapi/linux/kernel-page-flags.h and Documentation/admin-guide/mm/pagemap.rst;
bits from 32 on are for kernel hackers, this one has been there since v2.6.31."""

_AMD = 0x1022
_GART_DEVICES = frozenset({0x1103, 0x1203, 0x1303})
"""Function 3 of the northbridges of families 0Fh, 10h and 11h, which have a GART."""
_APERTURE_CONTROL = 0x90
_APERTURE_BASE = 0x94
_GARTEN = 1
_SMALLEST_APERTURE = 32 * MIB


def read_low_memory_reserved(files: MachineFiles, iomem: tuple[IomemEntry, ...]) -> bool | None:
    """Tell whether the running kernel has set the first 640 KiB aside.

    Kernels since v5.5 do so when crashkernel= is given, so that a capture kernel may use
    them. Then every page of RAM there carries KPF_RESERVED in /proc/kpageflags.
    """
    try:
        data = files.head(KPAGEFLAGS, LOW_MEMORY.size // _PAGE * 8)
    except OSError:
        return None
    flags = [word for (word,) in struct.iter_unpack("<Q", data[: len(data) // 8 * 8])]
    pages = [
        number
        for entry in iomem
        if kind_of_name(entry.name) is MemoryKind.RAM and entry.range.overlaps(LOW_MEMORY)
        for number in range(
            align_up(entry.range.start, _PAGE) // _PAGE,
            align_down(min(entry.range.end, LOW_MEMORY.end), _PAGE) // _PAGE,
        )
    ]
    if not pages or pages[-1] >= len(flags):
        return None
    return all(flags[number] & _KPF_RESERVED for number in pages)


def read_gart(files: MachineFiles) -> tuple[Range, ...]:
    """Read the apertures of AMD northbridges from their PCI configuration.

    AMD BIOS and Kernel Developer's Guide for family 10h (31116), F3x90 "GART Aperture
    Control" and F3x94 "GART Aperture Base": enable bit 0, size 32 MiB << bits 3:1, bits
    39:25 of the base. Kernels since v5.2 no longer show it in /proc/iomem.
    """
    found = set()
    try:
        devices = files.entries(PCI_DEVICES)
    except OSError:
        return ()
    for device in sorted(devices):
        directory = f"{PCI_DEVICES}/{device}"
        if not _is_gart(files, directory):
            continue
        try:
            config = files.head(f"{directory}/config", _APERTURE_BASE + 4)
        except OSError:
            continue
        if len(config) < _APERTURE_BASE + 4:
            continue  # without privileges sysfs shows the first 64 bytes only
        control, base = struct.unpack_from("<II", config, _APERTURE_CONTROL)
        if control & _GARTEN:
            size = _SMALLEST_APERTURE << (control >> 1 & 7)
            found.add(Range.sized((base & 0x7FFF) << 25, size))
    return tuple(sorted(found))


def _is_gart(files: MachineFiles, directory: str) -> bool:
    """Look at the identifiers in sysfs, which are hexadecimal text."""
    try:
        vendor = int(files.peek(f"{directory}/vendor") or "", 16)
        device = int(files.peek(f"{directory}/device") or "", 16)
    except ValueError:
        return False
    return vendor == _AMD and device in _GART_DEVICES


def read_memory_encryption(files: MachineFiles) -> bool:
    """Tell whether SME is active: the processor has it and the command line turns it on."""
    words = (files.peek("proc/cmdline") or "").split()
    return "mem_encrypt=on" in words and "sme" in read_cpu_flags(files)
