"""The running kernel's boot_params, in sysfs and in debugfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec.errors import MachineError
from pykexec.machine.files import MachineFiles
from pykexec.machine.x86.boot_params import read_boot_params
from tests.builders.machines import BOOT_PARAMS_SIZE, MachineDirectory

DATA = bytes(range(256)) * (BOOT_PARAMS_SIZE // 256)


def read(path: Path) -> bytes | None:
    return read_boot_params(MachineFiles(path))


def test_sysfs(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write("sys/kernel/boot_params/data", DATA)
    assert read(tmp_path) == DATA


def test_neither(tmp_path: Path) -> None:
    assert read(tmp_path) is None


@pytest.mark.parametrize(
    ("mount_point", "directory"),
    [("/sys/kernel/debug", "sys/kernel/debug"), (r"/mnt/my\040debug\134fs", r"mnt/my debug\fs")],
)
def test_debugfs_wherever_it_is_mounted(tmp_path: Path, mount_point: str, directory: str) -> None:
    machine = MachineDirectory(tmp_path)
    machine.write("proc/mounts", f"proc /proc proc rw 0 0\nnone {mount_point} debugfs rw 0 0\n")
    machine.write(f"{directory}/boot_params/data", DATA)
    assert read(tmp_path) == DATA


def test_only_the_type_makes_a_debugfs(tmp_path: Path) -> None:
    machine = MachineDirectory(tmp_path)
    machine.write(
        "proc/mounts", "debugfs /d tmpfs rw 0 0\nx /e tmpfs debugfs 0 0\nshort debugfs \n"
    )
    machine.write("d/boot_params/data", DATA)
    machine.write("e/boot_params/data", DATA)
    assert read(tmp_path) is None


def test_a_mount_point_leads_nowhere_outside_of_the_root(tmp_path: Path) -> None:
    machine = MachineDirectory(tmp_path / "machine")
    machine.write("proc/mounts", "none /../outside debugfs rw 0 0\n")
    MachineDirectory(tmp_path / "outside").write("boot_params/data", DATA)
    assert read(machine.path) is None


@pytest.mark.parametrize("size", [0, BOOT_PARAMS_SIZE - 1, BOOT_PARAMS_SIZE + 1])
def test_another_size_is_refused(tmp_path: Path, size: int) -> None:
    MachineDirectory(tmp_path).write("sys/kernel/boot_params/data", bytes(size))
    with pytest.raises(
        MachineError, match=f"data: struct boot_params has 4096 bytes, found {size}"
    ):
        read(tmp_path)
