"""/sys/firmware/edd: the BIOS disks that the running kernel was told of.

Linux drivers/firmware/edd.c; ``struct edd_info`` in include/uapi/linux/edd.h.
"""

from __future__ import annotations

import re
from enum import IntFlag
from typing import TYPE_CHECKING

from pykexec.values.errors import MachineError
from pykexec.values.facts import EddDevice
from pykexec.values.units import counted

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

DIRECTORY = "sys/firmware/edd"

_PURPOSE = "describing the BIOS disks to the next kernel"
_PARAMS_SIZE = 74
_LENGTH_SIZE = 2
_DEVICE = re.compile(r"int13_dev([0-9a-f]{2})")


class Extensions(IntFlag):
    """``interface_support`` of ``struct edd_info``: Linux include/uapi/linux/edd.h."""

    EDD_EXT_FIXED_DISK_ACCESS = 1
    EDD_EXT_DEVICE_LOCKING_AND_EJECTING = 2
    EDD_EXT_ENHANCED_DISK_DRIVE_SUPPORT = 4
    EDD_EXT_64BIT_EXTENSIONS = 8


EXTENSION_NAMES = {
    "Fixed disk access": Extensions.EDD_EXT_FIXED_DISK_ACCESS,
    "Device locking and ejecting": Extensions.EDD_EXT_DEVICE_LOCKING_AND_EJECTING,
    "Enhanced Disk Drive support": Extensions.EDD_EXT_ENHANCED_DISK_DRIVE_SUPPORT,
    "64-bit extensions": Extensions.EDD_EXT_64BIT_EXTENSIONS,
}
"""What the ``extensions`` file prints, a line for each bit."""


def read_edd(files: MachineFiles) -> tuple[EddDevice, ...]:
    """Return the BIOS disks by ascending number.

    A disk with a malformed or unreadable file is left out, the others stay: EDD only tells
    the next kernel which disk the BIOS boots from.
    """
    devices = []
    for name in sorted(files.names(DIRECTORY, _PURPOSE)):
        match = _DEVICE.fullmatch(name)
        if match:
            try:
                device = _read_device(files, f"{DIRECTORY}/{name}", int(match[1], 16))
            except MachineError:
                continue
            if device is not None:
                devices.append(device)
    return tuple(devices)


def _read_device(files: MachineFiles, directory: str, number: int) -> EddDevice | None:
    """Read one disk; None for a directory without facts.

    The kernel keeps up to sixteen MBR signatures but six ``edd_info``, so that a disk may
    have nothing but a signature; its version is then 0.
    """
    version = files.hexadecimal(f"{directory}/version", _PURPOSE)
    signature = files.hexadecimal(f"{directory}/mbr_signature", _PURPOSE)
    if version is None and signature is None:
        return None
    return EddDevice(
        device=number,
        version=version or 0,
        interface_support=_read_extensions(files, f"{directory}/extensions"),
        legacy_max_cylinder=_legacy(files, f"{directory}/legacy_max_cylinder"),
        legacy_max_head=_legacy(files, f"{directory}/legacy_max_head"),
        legacy_sectors_per_track=_legacy(files, f"{directory}/legacy_sectors_per_track"),
        params=_read_params(files, f"{directory}/raw_data"),
        mbr_signature=signature,
    )


def _legacy(files: MachineFiles, name: str) -> int:
    """Read a number of the legacy geometry; the kernel makes no file for a zero."""
    return files.decimal(name, _PURPOSE) or 0


def _read_extensions(files: MachineFiles, name: str) -> int:
    bits = 0
    for line in (files.read_text(name, _PURPOSE) or "").split("\n"):
        text = line.strip()
        if text and text not in EXTENSION_NAMES:
            raise MachineError(f"{files.path(name)}: {text!r} is no known extension")
        bits |= EXTENSION_NAMES.get(text, 0)
    return bits


def _read_params(files: MachineFiles, name: str) -> bytes:
    """Return ``struct edd_device_params``, whose first two bytes are its length."""
    data = files.read(name, _PURPOSE) or b""
    length = int.from_bytes(data[:_LENGTH_SIZE], "little")
    if data and (len(data) < _LENGTH_SIZE or length > len(data) or len(data) > _PARAMS_SIZE):
        raise MachineError(
            f"{files.path(name)}: {counted(len(data), 'byte')}, of which the parameters claim "
            f"{length}; "
            f"at most {_PARAMS_SIZE} are possible"
        )
    return data
