"""What ACPI says of the machine's devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

DEVICES = "sys/bus/acpi/devices"

_MEMORY_DEVICE = "PNP0C80"
"""ACPI 6.5, chapter 9, "Memory Devices"; Linux drivers/acpi/acpi_memhotplug.c."""


def read_memory_devices(files: MachineFiles) -> bool:
    """Tell whether there are ACPI memory devices: memory, or slots for it, to be plugged.

    Each device has a directory named after its identifier, which the file ``hid`` holds
    (Linux Documentation/ABI/testing/sysfs-bus-acpi). Without that directory there are none.
    """
    try:
        names = files.entries(DEVICES)
    except OSError:
        return False
    found = sorted(name for name in names if name.startswith(f"{_MEMORY_DEVICE}:"))
    # One is enough, and a large machine has hundreds.
    return bool(found) and files.peek(f"{DEVICES}/{found[0]}/hid") == _MEMORY_DEVICE
