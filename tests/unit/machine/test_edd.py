"""/sys/firmware/edd."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pykexec.machine.files import MachineFiles
from pykexec.machine.x86.edd import read_edd
from pykexec.values.facts import EddDevice
from tests.builders.machines import MachineDirectory

DISK = EddDevice(
    device=0x80,
    version=0x30,
    interface_support=0b1101,
    legacy_max_cylinder=1022,
    legacy_max_head=254,
    legacy_sectors_per_track=63,
    params=(74).to_bytes(2, "little") + bytes(range(72)),
    mbr_signature=0xDEADBEEF,
)


def read(path: Path) -> tuple[EddDevice, ...]:
    return read_edd(MachineFiles(path))


def test_disks_are_sorted_by_number(tmp_path: Path) -> None:
    disks = tuple(replace(DISK, device=0x80 + n, version=n + 1) for n in range(6))
    MachineDirectory(tmp_path).write_edd(reversed(disks))
    assert read(tmp_path) == disks


def test_no_edd_at_all(tmp_path: Path) -> None:
    assert read(tmp_path) == ()


def test_zeros_of_the_geometry_have_no_file(tmp_path: Path) -> None:
    disk = replace(DISK, legacy_max_cylinder=0, legacy_max_head=0, legacy_sectors_per_track=0)
    MachineDirectory(tmp_path).write_edd([disk])
    assert not list(tmp_path.rglob("legacy*"))
    assert read(tmp_path) == (disk,)


def test_a_disk_with_nothing_but_a_signature(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write("sys/firmware/edd/int13_dev86/mbr_signature", "0x00000001\n")
    assert read(tmp_path) == (EddDevice(0x86, 0, 0, 0, 0, 0, b"", 1),)


def test_a_disk_without_a_signature(tmp_path: Path) -> None:
    disk = replace(DISK, mbr_signature=None)
    MachineDirectory(tmp_path).write_edd([disk])
    assert read(tmp_path) == (disk,)


def test_a_directory_without_facts_is_no_disk(tmp_path: Path) -> None:
    (tmp_path / "sys/firmware/edd/int13_dev80").mkdir(parents=True)
    assert read(tmp_path) == ()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("version", b"three\n"),
        ("extensions", b"Fixed disk access\nTeleportation\n"),
        ("legacy_max_head", b"0xfe\n"),
        ("mbr_signature", b"\xff\xfe"),
        ("raw_data", b"\x4a"),
        ("raw_data", b"\x4a\0" + bytes(71)),
        ("raw_data", b"\x4a\0" + bytes(73)),
    ],
)
def test_a_malformed_file_drops_that_disk_only(tmp_path: Path, name: str, content: bytes) -> None:
    machine = MachineDirectory(tmp_path)
    other = replace(DISK, device=0x81)
    machine.write_edd([DISK, other])
    machine.write(f"sys/firmware/edd/int13_dev80/{name}", content)
    assert read(tmp_path) == (other,)


def test_an_unreadable_file_drops_that_disk_only(tmp_path: Path) -> None:
    machine = MachineDirectory(tmp_path)
    other = replace(DISK, device=0x81)
    machine.write_edd([DISK, other])
    raw_data = tmp_path / "sys/firmware/edd/int13_dev80/raw_data"
    raw_data.unlink()
    raw_data.mkdir()
    assert read(tmp_path) == (other,)
