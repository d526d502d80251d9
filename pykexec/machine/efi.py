"""/sys/firmware/efi: what EFI left behind.

Linux Documentation/ABI/testing/sysfs-firmware-efi and sysfs-firmware-efi-runtime-map;
drivers/firmware/efi/efi.c, "systab_show", and arch/x86/platform/efi/efi.c,
"efi_attr_is_visible", which hides fw_vendor, runtime and config_table where the firmware
did not give them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.machine.files import parse_decimal, parse_hexadecimal
from pykexec.values.facts import EfiFacts, EfiMemoryDescriptor

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

DIRECTORY = "sys/firmware/efi"

_PURPOSE = "handing EFI over to the next kernel"
_MAP_FIELDS = ("type", "phys_addr", "virt_addr", "num_pages", "attribute")


def read_efi(files: MachineFiles) -> EfiFacts | None:
    """Read EFI's facts; None on a machine that was not started by EFI.

    Each field is None when its file does not exist. Raises :class:`MachineError` naming a
    malformed file.
    """
    if not files.has_directory(DIRECTORY):
        return None
    systab = _read_systab(files)
    return EfiFacts(
        fw_vendor=files.hexadecimal(f"{DIRECTORY}/fw_vendor", _PURPOSE),
        runtime=files.hexadecimal(f"{DIRECTORY}/runtime", _PURPOSE),
        config_table=files.hexadecimal(f"{DIRECTORY}/config_table", _PURPOSE),
        smbios=systab.get("SMBIOS"),
        acpi_rsdp=systab.get("ACPI20", systab.get("ACPI")),
        platform_bits=files.decimal(f"{DIRECTORY}/fw_platform_size", _PURPOSE),
        runtime_map=_read_runtime_map(files),
    )


def read_platform(files: MachineFiles) -> EfiFacts | None:
    """Read what EFI tells everybody, of how many bits it is; None where there is no EFI."""
    if not files.has_directory(DIRECTORY):
        return None
    bits = parse_decimal(files.peek(f"{DIRECTORY}/fw_platform_size") or "")
    return EfiFacts(platform_bits=bits)


def _read_systab(files: MachineFiles) -> dict[str, int]:
    """Return the tables by the kernel's names for them.

    ``SMBIOS3`` does not stand in for ``SMBIOS``: the next kernel puts the address back
    into the configuration table entry of the 2.x entry point (Linux
    arch/x86/platform/efi/quirks.c, "efi_reuse_config").
    """
    name = f"{DIRECTORY}/systab"
    tables: dict[str, int] = {}
    for line in (files.read_text(name, _PURPOSE) or "").split("\n"):
        key, found, value = line.strip().partition("=")
        if found:
            tables.setdefault(key, parse_hexadecimal(value, files.path(name)))
    return tables


def _read_runtime_map(files: MachineFiles) -> tuple[EfiMemoryDescriptor, ...]:
    directory = f"{DIRECTORY}/runtime-map"
    numbers = (int(name) for name in files.names(directory, _PURPOSE) if name.isdecimal())
    return tuple(_read_descriptor(files, f"{directory}/{number}") for number in sorted(numbers))


def _read_descriptor(files: MachineFiles, directory: str) -> EfiMemoryDescriptor:
    values = []
    for field in _MAP_FIELDS:
        name = f"{directory}/{field}"
        values.append(files.required(name, files.hexadecimal(name, _PURPOSE), _PURPOSE))
    return EfiMemoryDescriptor(*values)
