"""/sys/firmware/efi."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pykexec.errors import MachineError
from pykexec.machine.efi import read_efi
from pykexec.machine.files import MachineFiles
from pykexec.values.facts import EfiFacts, EfiMemoryDescriptor
from tests.builders.machines import EFI, MachineDirectory


def read(path: Path) -> EfiFacts | None:
    return read_efi(MachineFiles(path))


def test_everything(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write_efi(EFI)
    assert read(tmp_path) == EFI


def test_a_machine_without_efi(tmp_path: Path) -> None:
    assert read(tmp_path) is None


def test_efi_whose_files_are_all_hidden(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write_efi(EfiFacts())
    assert read(tmp_path) == EfiFacts()


def test_the_runtime_map_is_in_numeric_order(tmp_path: Path) -> None:
    items = tuple(EfiMemoryDescriptor(5, n << 20, n << 30, n, 15) for n in range(12))
    MachineDirectory(tmp_path).write_efi(replace(EFI, runtime_map=items))
    facts = read(tmp_path)
    assert facts is not None
    assert facts.runtime_map == items


@pytest.mark.parametrize(
    ("systab", "rsdp", "smbios"),
    [
        ("ACPI20=0x10\nACPI=0x20\nSMBIOS3=0x30\nSMBIOS=0x40\n", 0x10, 0x40),
        ("ACPI=0x20\n", 0x20, None),
        ("SMBIOS3=0x30\n", None, None),
        ("", None, None),
    ],
)
def test_systab(tmp_path: Path, systab: str, rsdp: int | None, smbios: int | None) -> None:
    MachineDirectory(tmp_path).write("sys/firmware/efi/systab", systab)
    facts = read(tmp_path)
    assert facts is not None
    assert (facts.acpi_rsdp, facts.smbios) == (rsdp, smbios)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("fw_vendor", "here\n", "fw_vendor: 'here' is not a hexadecimal number"),
        ("systab", "ACPI20=\n", "systab: '' is not a hexadecimal number"),
        ("fw_platform_size", "0x40\n", "fw_platform_size: '0x40' is not a decimal number"),
        ("fw_platform_size", "9" * 5000, "is not a decimal number"),
        ("runtime-map/0/num_pages", "-1\n", "num_pages: '-1' is not a hexadecimal number"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    machine = MachineDirectory(tmp_path)
    machine.write_efi(EFI)
    machine.write(f"sys/firmware/efi/{name}", content)
    with pytest.raises(MachineError) as caught:
        read(tmp_path)
    assert message in caught.value.message


def test_a_missing_field_of_the_runtime_map_is_named(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write_efi(EFI)
    (tmp_path / "sys/firmware/efi/runtime-map/1/attribute").unlink()
    with pytest.raises(MachineError, match="runtime-map/1/attribute is missing; it is needed for"):
        read(tmp_path)
