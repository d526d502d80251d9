"""ACPI memory devices: whether memory can be plugged into a machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec.machine.acpi import read_memory_devices
from pykexec.machine.files import MachineFiles

DEVICES = "sys/bus/acpi/devices"


@pytest.mark.parametrize(
    ("devices", "found"),
    [
        ({}, False),
        ({"PNP0A03:00": "PNP0A03", "device:00": "", "PNP0C801:00": "PNP0C801"}, False),
        ({"PNP0A03:00": "PNP0A03", "PNP0C80:1f": "PNP0C80", "PNP0C80:00": "PNP0C80"}, True),
    ],
)
def test_memory_devices(tmp_path: Path, devices: dict[str, str], found: bool) -> None:
    for name, hid in devices.items():
        (tmp_path / DEVICES / name).mkdir(parents=True)
        (tmp_path / DEVICES / name / "hid").write_text(f"{hid}\n")
    assert read_memory_devices(MachineFiles(tmp_path)) is found
