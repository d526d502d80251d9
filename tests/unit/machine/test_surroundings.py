"""What the doctor looks at is read, and left alone where it cannot be."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pykexec.doctor import Mount, Surroundings
from pykexec.machine.files import MachineFiles
from pykexec.machine.surroundings import read_surroundings
from tests.builders.machines import MachineDirectory

CONFIG = (
    b"# Automatically generated\nCONFIG_X86=y\nCONFIG_KEXEC=y\n# CONFIG_KEXEC_FILE is not set\n"
)
MOUNT_LINES = """/dev/vda2 / ext4 rw,relatime 0 0
/dev/vda1 /boot ext4 ro,relatime 0 0
proc /proc proc rw,nosuid 0 0
tmpfs /run tmpfs rw 0 0
tank/home /home zfs rw,xattr 0 0
/dev/vda3 /with\\040blank xfs rw 0 0
/dev/vda4 /rwish ext4 rwx 0 0
"""


def read(path: Path, release: str = "6.12") -> Surroundings:
    return read_surroundings(MachineFiles(path), release, ["a", "b"], ["vmbus", "pci", "mei"])


def test_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) == Surroundings(shows_kernel=False)


def test_everything(tmp_path: Path) -> None:
    machine = MachineDirectory(tmp_path)
    machine.write("proc/config.gz", gzip.compress(CONFIG))
    rules = "measure func=BPRM_CHECK\nappraise func=KEXEC_KERNEL_CHECK appraise_type=imasig\n"
    machine.write("sys/kernel/security/ima/policy", rules)
    machine.write("sys/kernel/debug/kho/out/finalize", "0")
    machine.write("proc/mounts", MOUNT_LINES)
    machine.write("sys/class/dmi/id/sys_vendor", "QEMU\n")
    machine.write("sys/class/dmi/id/product_serial", "secret\n")
    machine.write("sys/module/b/parameters/x", "1")
    machine.write("sys/bus/vmbus/devices/one/uevent", "")
    (tmp_path / "sys/bus/pci/devices").mkdir(parents=True)
    found = read(tmp_path)
    assert found.config is not None
    assert found.config.has("CONFIG_KEXEC")
    assert not found.config.has("CONFIG_KEXEC_FILE")
    assert found.config_source == "/proc/config.gz"
    assert found.ima_rules == ("appraise func=KEXEC_KERNEL_CHECK appraise_type=imasig",)
    assert found.kho is True
    assert found.mounts == (
        Mount("/", "ext4"),
        Mount("/home", "zfs"),
        Mount("/with\\040blank", "xfs"),
    )
    assert found.dmi == {"sys_vendor": "QEMU"}
    assert found.modules == {"b"}
    assert found.buses == {"vmbus"}


@pytest.mark.parametrize("name", ["boot/config-6.12", "usr/lib/modules/6.12/config"])
def test_a_configuration_in_a_file(tmp_path: Path, name: str) -> None:
    MachineDirectory(tmp_path).write("proc/config.gz", b"no gzip")
    MachineDirectory(tmp_path).write(name, CONFIG)
    found = read(tmp_path)
    assert found.config is not None
    # Only what is about kexec, so that a record stays small.
    assert found.config.text == b"CONFIG_KEXEC=y\n# CONFIG_KEXEC_FILE is not set\n"
    assert found.config_source == f"/{name}"


@pytest.mark.parametrize("release", ["", "6.13", "../6.12"])
def test_a_configuration_of_another_kernel(tmp_path: Path, release: str) -> None:
    MachineDirectory(tmp_path).write("boot/config-6.12", CONFIG)
    assert read(tmp_path, release).config is None
