"""Entries of other loaders than GRUB, from their configuration to the plan."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from pykexec.cli.main import cli
from pykexec.errors import MachineError
from tests.builders.boot_configs import write_system
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import build_machine
from tests.builders.multiboot import MultibootSpec, build_multiboot, header_1
from tests.builders.pe_files import MACHINE_X86_64, build_pe
from tests.builders.plain_configs import LIMINE_CONF

if TYPE_CHECKING:
    from pathlib import Path

KERNEL = build_bzimage(KernelSpec(payload_size=64 * 1024))
UKI = build_pe(
    MACHINE_X86_64,
    [
        (".osrel", b"ID=os\nPRETTY_NAME=os\n"),
        (".cmdline", b"root=/dev/vda2"),
        (".linux", KERNEL),
        (".profile", b"ID=main\n"),
        (".profile", b"ID=rescue\nTITLE=Rescue\n"),
        (".cmdline", b"single"),
    ],
)
ADDON = build_pe(MACHINE_X86_64, [(".sbat", b"x"), (".cmdline", b"console=ttyS0")])


@pytest.fixture
def machine(tmp_path: Path) -> str:
    return str(build_machine(tmp_path / "machine"))


def plan(root: Path, machine: str, *options: str | Path) -> dict[str, Any]:
    words = ["plan", "--entry", "default", "--root", root, "--machine", machine, "--json"]
    result = CliRunner().invoke(cli, [str(w) for w in (*words, *options)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def test_xen_of_extlinux(tmp_path: Path, machine: str) -> None:
    """mboot.c32 hands each file its words, which start with its name."""
    files: dict[str, str | bytes] = {
        "/boot/extlinux/extlinux.conf": (
            "default xen\nlabel xen\nkernel mboot.c32\n"
            "append ../xen.gz dom0_mem=1G --- ../vmlinuz root=/dev/sda1 --- ../initrd\n"
        ),
        "/boot/xen.gz": build_multiboot(MultibootSpec(header_1(1))),
        "/boot/vmlinuz": KERNEL,
        "/boot/initrd": b"initrd of the first domain",
    }
    dump = tmp_path / "dump"
    value = plan(write_system(tmp_path / "root", files), machine, "--dump", dump)
    assert value["cmdline"] == "../xen.gz dom0_mem=1G"
    data = {path.read_bytes() for path in dump.glob("seg*.bin")}
    assert any(b"../vmlinuz root=/dev/sda1\0" in item for item in data)
    assert any(b"initrd of the first domain" in item for item in data)


@pytest.mark.parametrize(
    ("default", "cmdline"),
    [("os.efi", "root=/dev/vda2 console=ttyS0"), ("os.efi@rescue", "single console=ttyS0")],
)
def test_a_uki_with_addons(tmp_path: Path, machine: str, default: str, cmdline: str) -> None:
    files: dict[str, str | bytes] = {
        "/efi/EFI/Linux/os.efi": UKI,
        "/efi/loader/addons/a.addon.efi": ADDON,
        "/efi/loader/loader.conf": f"default {default}\n",
    }
    assert plan(write_system(tmp_path / "root", files), machine)["cmdline"] == cmdline


def test_limine(tmp_path: Path, machine: str) -> None:
    files: dict[str, str | bytes] = {
        # With the kernel's own hash behind its path.
        "/boot/limine.conf": LIMINE_CONF.replace("ab" * 64, blake2b(KERNEL).hexdigest()),
        "/boot/abc/linux/vmlinuz-linux": KERNEL,
        "/boot/abc/linux/initramfs-linux": b"initramfs",
    }
    root = write_system(tmp_path / "root", files)
    assert plan(root, machine)["cmdline"] == "quiet root=UUID=6a8c rw"
    write_system(root, {"/boot/limine.conf": LIMINE_CONF})
    with pytest.raises(MachineError, match="and Limine starts nothing then"):
        plan(root, machine)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"/boot/loader/loader.conf": "default auto-windows\n"},
            "auto-windows, an entry of systemd-boot's own that is no Linux kernel",
        ),
        (
            {"/boot/extlinux/extlinux.conf": "default d\nlabel d\nlocalboot 0\n"},
            "boots from a disk",
        ),
        ({"/boot/limine.conf": "remember_last_entry: yes\n"}, "what it started last"),
    ],
)
def test_no_default(tmp_path: Path, machine: str, files: dict[str, str], message: str) -> None:
    files = {**files, "/boot/loader/entries/a.conf": "linux /vmlinuz\n"}
    root = write_system(tmp_path / "root", files)
    with pytest.raises(MachineError, match="the boot loader's default is no entry") as caught:
        plan(root, machine)
    assert message in caught.value.message
