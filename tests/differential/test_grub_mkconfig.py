"""grub.cfg of Debian's own grub-mkconfig, read back: each entry is what its generator was told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from pykexec.entries.grub_values import GrubEntry
from tests.builders.grub_files import read
from tests.differential.grub_mkconfig import (
    CMDLINE_AS_GRUB_JOINS_IT,
    KERNELS,
    SUITES,
    Machine,
    Volume,
    generate,
    make_root,
)
from tests.needs import unavailable
from tests.vm.debian import FetchError

UUID, BOOT_UUID, OTHER_UUID = "1a1a-root", "2b2b-boot", "3c3c-other"
ROOT = Volume("/dev/sda2", UUID)


@dataclass(frozen=True, slots=True)
class Case:
    """A machine, and what an entry has to say about it."""

    machine: Machine
    root: str = f"root=UUID={UUID}"
    directory: str = "/boot"
    """What GRUB has in front of a kernel's name."""
    uuid: str = UUID
    """Of the file system with the kernels."""


CASES = {
    "bios": Case(Machine(ROOT)),
    "efi": Case(Machine(ROOT, is_efi=True)),
    "lvm": Case(
        Machine(Volume("/dev/mapper/vg-root", UUID, abstraction="lvm", hint="lvmid/a/b")),
        "root=/dev/mapper/vg-root",
    ),
    "luks": Case(
        Machine(
            Volume("/dev/mapper/crypt", UUID, abstraction="cryptodisk", hint="cryptouuid/0"),
            settings={"GRUB_ENABLE_CRYPTODISK": "y"},
        ),
        "root=UUID=" + UUID,
    ),
    "btrfs": Case(
        Machine(Volume("/dev/sda2", UUID, "btrfs"), root_prefix="/@rootfs"),
        directory="/@rootfs/boot",
    ),
    "zfs": Case(
        Machine(Volume("/dev/sda4", UUID, "zfs", label="rpool"), root_prefix="/ROOT/debian@"),
        "root=ZFS=rpool/ROOT/debian",
        "/ROOT/debian@/boot",
    ),
    "boot": Case(
        Machine(ROOT, Volume("/dev/sda1", BOOT_UUID, hint="hd0,gpt1")),
        directory="",
        uuid=BOOT_UUID,
    ),
    "two-systems": Case(
        Machine(
            ROOT,
            settings={"GRUB_DISABLE_OS_PROBER": "false"},
            other=Volume("/dev/sdb2", OTHER_UUID, hint="hd1,gpt2"),
            others="/dev/sdb2:Fedora Linux 41:Fedora:linux",
            other_boot="/dev/sdb2:/dev/sdb2:Fedora Linux:/boot/vmlinuz-6.11:"
            "/boot/initramfs-6.11.img:root=/dev/sdb2 ro rhgb",
        )
    ),
    "xen": Case(Machine(ROOT, has_xen=True)),
}  # fmt: skip


def menu_of(suite: str, case: Case, directory: Path) -> tuple[GrubEntry, ...]:
    """Return the entries of the generated file, which has no problem and a certain default."""
    try:
        make_root(directory, suite, case.machine)
    except FetchError as error:
        unavailable(f"GRUB's scripts cannot be had: {error}")
    platform = {"grub_platform": "efi" if case.machine.is_efi else "pc"}
    reading = read(generate(directory), None, None, **platform)
    assert reading.problems == ()
    assert reading.chosen.doubt == ""
    entries = reading.menu.entries()
    assert reading.chosen.item is not None
    assert reading.chosen.item.entry == entries[0]
    titles = [item.title for item in reading.menu.items]
    if suite != "bookworm":
        # Its script looks for a variable of EFI first.
        assert ("UEFI Firmware Settings" in titles) == case.machine.is_efi
    return entries


def check_place(entry: GrubEntry, case: Case) -> None:
    for file in (entry.kernel, *entry.initrds, *(module.file for module in entry.modules)):
        assert file.device.search is not None
        assert file.device.search.value == case.uuid
        assert file.path.rpartition("/")[0] == case.directory


@pytest.mark.full
@pytest.mark.differential
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("suite", SUITES)
def test_what_is_generated(suite: str, name: str, tmp_path: Path) -> None:
    case = CASES[name]
    entries = menu_of(suite, case, tmp_path / "root")
    own = [entry for entry in entries if "vmlinuz-6.12" in entry.kernel.path]
    expected = [(KERNELS[0], False)] + [
        (k, recovery) for k in KERNELS for recovery in (False, True)
    ]
    assert len(own) == len(expected)
    for entry, (kernel, is_recovery) in zip(own, expected, strict=True):
        assert entry.kernel.path == f"{case.directory}/vmlinuz-{kernel}"
        assert [file.path for file in entry.initrds] == [f"{case.directory}/initrd.img-{kernel}"]
        check_place(entry, case)
        assert ("recovery" in entry.title) == is_recovery
        words = entry.cmdline
        assert words.startswith(case.root + " ro ")
        assert CMDLINE_AS_GRUB_JOINS_IT in words
        assert words.split()[2:3] == (["single"] if is_recovery else words.split()[2:3])
        assert ("quiet" in words.split()) == (not is_recovery)
        assert ("rootflags=subvol=@rootfs" in words) == (name == "btrfs")
        assert entry.obstacle == ""
    assert len(entries) - len(own) == {"two-systems": 2, "xen": 5}.get(name, 0)


@pytest.mark.full
@pytest.mark.differential
@pytest.mark.parametrize("suite", SUITES)
def test_xen(suite: str, tmp_path: Path) -> None:
    case = CASES["xen"]
    xen = [e for e in menu_of(suite, case, tmp_path / "root") if e.multiboot]
    assert len(xen) == 5
    for entry in xen:
        assert entry.multiboot == 2
        assert entry.kernel.path == "/boot/xen-4.20-amd64.gz"
        assert entry.cmdline == "placeholder"
        linux, initrd = entry.modules
        check_place(entry, case)
        assert linux.cmdline.startswith(f"placeholder {case.root} ro ")
        assert CMDLINE_AS_GRUB_JOINS_IT in linux.cmdline
        assert (initrd.cmdline, initrd.is_unpacked) == ("", False)
    efi = Case(Machine(ROOT, has_xen=True, is_efi=True))
    first = next(e for e in menu_of(suite, efi, tmp_path / "efi") if e.multiboot)
    assert first.cmdline == "placeholder no-real-mode edd=off"


@pytest.mark.full
@pytest.mark.differential
@pytest.mark.parametrize("suite", SUITES)
def test_another_system(suite: str, tmp_path: Path) -> None:
    entries = menu_of(suite, CASES["two-systems"], tmp_path / "root")
    others = [entry for entry in entries if entry.kernel.path == "/boot/vmlinuz-6.11"]
    assert len(others) == 2
    assert {entry.cmdline for entry in others} == {"root=/dev/sdb2 ro rhgb"}
    assert [file.path for file in others[0].initrds] == ["/boot/initramfs-6.11.img"]
    for entry in others:
        assert entry.kernel.device.search is not None
        assert entry.kernel.device.search.value == OTHER_UUID


@pytest.mark.full
@pytest.mark.differential
@pytest.mark.parametrize("suite", SUITES)
def test_defaults_that_are_set(suite: str, tmp_path: Path) -> None:
    wanted = f"gnulinux-advanced-{UUID}>gnulinux-{KERNELS[1]}-advanced-{UUID}"
    for number, settings in enumerate(({"GRUB_DEFAULT": wanted}, {"GRUB_DEFAULT": "1>2"})):
        root = tmp_path / str(number)
        make_root(root, suite, Machine(ROOT, settings=settings))
        reading = read(generate(root))
        assert reading.chosen.item is not None
        assert reading.chosen.item.entry is not None
        assert reading.chosen.item.entry.id == wanted
