"""Low memory, GART apertures and memory encryption, from the files that tell of them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pykexec.machine import read_machine
from pykexec.machine.files import MachineFiles
from pykexec.machine.record import record
from pykexec.machine.x86.crash import (
    read_gart,
    read_low_memory_reserved,
    read_memory_encryption,
)
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from tests.builders.machines import MachineDirectory, build_machine

RESERVED = 1 << 32
LOW = (IomemEntry(Range(0x1000, 0x9FC00), "System RAM"),)


def write_kpageflags(root: Path, in_use: tuple[int, ...] = (), pages: int = 512) -> MachineFiles:
    words = [0 if page in in_use else RESERVED for page in range(pages)]
    MachineDirectory(root).write("proc/kpageflags", struct.pack(f"<{pages}Q", *words))
    return MachineFiles(root)


@pytest.mark.parametrize(
    ("in_use", "reserved"),
    [((), True), ((0, 0x9F, 0xA0, 0x100), True), ((1,), False), ((0x9E,), False)],
)
def test_low_memory_is_reserved_when_each_of_its_pages_is(
    tmp_path: Path, in_use: tuple[int, ...], reserved: bool
) -> None:
    files = write_kpageflags(tmp_path, in_use)
    assert read_low_memory_reserved(files, LOW) is reserved


def test_a_kernel_that_does_not_say(tmp_path: Path) -> None:
    assert read_low_memory_reserved(MachineFiles(tmp_path), LOW) is None
    assert read_low_memory_reserved(write_kpageflags(tmp_path, pages=16), LOW) is None
    assert read_low_memory_reserved(write_kpageflags(tmp_path), ()) is None


def write_device(root: Path, device: str, control: int, base: int, size: int = 256) -> None:
    machine = MachineDirectory(root)
    directory = "sys/bus/pci/devices/0000:00:18.3"
    config = bytearray(size)
    if size > 0x98:
        struct.pack_into("<II", config, 0x90, control, base)
    machine.write(f"{directory}/vendor", "0x1022\n")
    machine.write(f"{directory}/device", f"{device}\n")
    machine.write(f"{directory}/config", bytes(config))


@pytest.mark.parametrize(
    ("device", "control", "base", "expected"),
    [
        ("0x1103", 0x03, 0x20, (Range.sized(0x40000000, 64 << 20),)),
        ("0x1203", 0x0F, 0xFFFF8040, (Range.sized(0x80000000, 4 << 30),)),
        ("0x1103", 0x02, 0x20, ()),
        ("0x1480", 0x03, 0x20, ()),
    ],
)
def test_the_aperture_of_a_northbridge(
    tmp_path: Path, device: str, control: int, base: int, expected: tuple[Range, ...]
) -> None:
    write_device(tmp_path, device, control, base)
    assert read_gart(MachineFiles(tmp_path)) == expected


def test_a_configuration_that_may_not_be_read_is_none(tmp_path: Path) -> None:
    write_device(tmp_path, "0x1103", 0x03, 0x20, size=64)
    assert read_gart(MachineFiles(tmp_path)) == ()
    assert read_gart(MachineFiles(tmp_path / "nothing")) == ()


@pytest.mark.parametrize(
    ("flags", "cmdline", "active"),
    [
        ("fpu sme", b"mem_encrypt=on", True),
        ("fpu sme", b"ro", False),
        ("fpu", b"mem_encrypt=on", False),
    ],
)
def test_memory_encryption(tmp_path: Path, flags: str, cmdline: bytes, active: bool) -> None:
    machine = MachineDirectory(tmp_path)
    machine.write("proc/cpuinfo", f"processor\t: 0\nflags\t\t: {flags}\n")
    machine.write("proc/cmdline", cmdline + b"\n")
    assert read_memory_encryption(MachineFiles(tmp_path)) is active


def test_a_record_says_the_same(tmp_path: Path) -> None:
    root = build_machine(tmp_path / "machine")
    write_kpageflags(root, pages=4096)
    write_device(root, "0x1103", 0x03, 0x20)
    record(root, tmp_path / "record")
    facts = read_machine(root, crash=True).crash
    assert facts.low_memory_reserved is True
    assert facts.unreadable
    assert read_machine(tmp_path / "record", crash=True).crash == facts
    assert (tmp_path / "record/proc/kpageflags").stat().st_size == 160 * 8
