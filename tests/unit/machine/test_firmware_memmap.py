"""/sys/firmware/memmap."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec.errors import MachineError
from pykexec.machine.files import MachineFiles
from pykexec.machine.firmware_memmap import read_firmware_map
from pykexec.values.memory import MemoryKind, MemoryMap, MemoryRegion
from pykexec.values.ranges import Range
from tests.builders.machines import MachineDirectory


def region(start: int, end: int, name: str, kind: MemoryKind = MemoryKind.RAM) -> MemoryRegion:
    return MemoryRegion(Range(start, end), kind, name)


def read(path: Path, cmdline: bytes = b"") -> MemoryMap:
    return read_firmware_map(MachineFiles(path), cmdline)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("System RAM", MemoryKind.RAM),
        ("Reserved", MemoryKind.RESERVED),
        ("reserved", MemoryKind.RESERVED),
        ("ACPI Tables", MemoryKind.ACPI_TABLES),
        ("ACPI Non-volatile Storage", MemoryKind.ACPI_NVS),
        ("Unusable memory", MemoryKind.UNUSABLE),
        ("Persistent Memory", MemoryKind.PMEM),
        ("Persistent Memory (legacy)", MemoryKind.PRAM),
        ("Soft Reserved", MemoryKind.SOFT_RESERVED),
        ("Unknown E820 type", MemoryKind.RESERVED),
        ("Memory of tomorrow", MemoryKind.RESERVED),
    ],
)
def test_every_type_the_kernel_prints(tmp_path: Path, name: str, kind: MemoryKind) -> None:
    MachineDirectory(tmp_path).write_firmware_map([region(0x1000, 0x2000, name)])
    assert read(tmp_path).regions == (region(0x1000, 0x2000, name, kind),)


def test_entries_are_sorted_by_address_not_by_number(tmp_path: Path) -> None:
    regions = [region(number << 20, (number << 20) + 4096, "System RAM") for number in range(12)]
    MachineDirectory(tmp_path).write_firmware_map(reversed(regions))
    assert read(tmp_path).regions == tuple(regions)


def test_of_overlapping_entries_what_is_not_ram_wins(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write_firmware_map(
        [region(0, 0x100000, "System RAM"), region(0x9F000, 0x200000, "Reserved")]
    )
    assert read(tmp_path).regions == (
        region(0, 0x9F000, "System RAM"),
        region(0x9F000, 0x200000, "Reserved", MemoryKind.RESERVED),
    )


def test_the_last_byte_of_the_address_space(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write_firmware_map([region(0x1000, 1 << 64, "System RAM")])
    assert read(tmp_path).regions[0].range.end == 1 << 64


def test_add_efi_memmap_makes_the_map_unknown(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write_firmware_map([region(0, 4096, "System RAM")])
    assert read(tmp_path, b"ro add_efi_memmap quiet") == MemoryMap()
    assert len(read(tmp_path, b"ro add_efi_memmap_not x.add_efi_memmap=1")) == 1


def test_no_map_at_all(tmp_path: Path) -> None:
    assert read(tmp_path) == MemoryMap()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("start", "many", "start: 'many' is not a hexadecimal number"),
        ("end", "0x10000000000000000", "end: '0x10000000000000000' is not a hexadecimal number"),
        ("end", "0x0", "the end 0x0 lies before the start 0x1000"),
    ],
)
def test_a_malformed_entry_names_the_file(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    machine = MachineDirectory(tmp_path)
    machine.write_firmware_map([region(0x1000, 0x2000, "System RAM")])
    machine.write(f"sys/firmware/memmap/0/{name}", content)
    with pytest.raises(MachineError) as caught:
        read(tmp_path)
    assert message in caught.value.message
    assert str(tmp_path / "sys/firmware/memmap/0") in caught.value.message


@pytest.mark.parametrize("name", ["start", "end", "type"])
def test_a_missing_file_of_an_entry_is_named(tmp_path: Path, name: str) -> None:
    MachineDirectory(tmp_path).write_firmware_map([region(0x1000, 0x2000, "System RAM")])
    (tmp_path / "sys/firmware/memmap/0" / name).unlink()
    with pytest.raises(MachineError, match=f"memmap/0/{name} is missing; it is needed for"):
        read(tmp_path)
