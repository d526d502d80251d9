"""Where the configurations of loaders without a script are, and the files that they name."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import pytest

from pykexec.entries import MissingFile, Source
from pykexec.machine.boot_entries import read_boot_entries
from tests.builders.boot_configs import EXTLINUX, debian_system, write_system
from tests.builders.fit import build_fit, configuration
from tests.builders.mount_tables import Mount, write_mounts
from tests.builders.plain_configs import (
    CONFIG_TXT,
    LIMINE_CONF,
    MENU_LST,
    REFIND_LINUX,
    ZIPL_CONF,
)

if TYPE_CHECKING:
    from pathlib import Path

ROOT_VARIABLE = "/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

LABEL = "default l\nlabel l\nlinux /boot/k\nappend ro\n"


@pytest.mark.parametrize(
    "place",
    [
        "/boot/extlinux/extlinux.conf",
        "/extlinux/extlinux.conf",
        "/boot/efi/extlinux/extlinux.conf",
        "/boot/syslinux/syslinux.cfg",
        "/efi/EFI/syslinux/syslinux.cfg",
        "/isolinux/isolinux.cfg",
    ],
)
def test_places_of_extlinux(tmp_path: Path, place: str) -> None:
    found = read_boot_entries(write_system(tmp_path, {place: LABEL, "/boot/k": "k"}), "x86_64")
    assert found.default is not None
    assert (found.default.id, found.default.cmdline) == ("l", "ro")
    assert found.default.kernel == str(tmp_path / "boot/k")


FSTAB = "UUID=1111 /boot ext4 x 0 0\nUUID=2222 / ext4 x 0 0\nUUID=AAAA-BBBB /boot/efi vfat x 0 0\n"
GUID = "904404F8-B481-440C-A1E3-11A5A954E601"


def limine(kernel: str, initrd: str = "") -> str:
    module = f"module_path: {initrd}\n" if initrd else ""
    return f"/A\nprotocol: linux\npath: {kernel}\n{module}cmdline: root=UUID=3333\n"


def refind(volume: str) -> str:
    return (
        f'menuentry "Other" {{\n volume {volume}\n loader /vmlinuz-1\n initrd /initrd-1\n'
        ' options "root=UUID=3333"\n}\n'
    )


@pytest.mark.parametrize(
    ("device", "called"),
    [
        ("uuid(3333)", "uuid 3333"),
        ("guid(4444)", "uuid 4444"),
        ("fslabel(OTHER)", "label OTHER"),
        ("hdd(2:1)", "drive and partition 2:1"),
        ("hdd(1:7)", "drive and partition 1:7"),
        ("hdd(1:0)", "drive and partition 1:0"),
        pytest.param(f"hdd(1:{'9' * 5000})", f"drive and partition 1:{'9' * 5000}", id="long"),
    ],
)
def test_no_other_file_systems_kernel(tmp_path: Path, device: str, called: str) -> None:
    """The one that the configuration is on has a file of the same name."""
    files = {"/etc/fstab": FSTAB, "/boot/vmlinuz-1": "k", "/vmlinuz-1": "k"}
    files["/boot/limine/limine.conf"] = limine(f"{device}:/vmlinuz-1")
    (entry, *_) = read_boot_entries(write_system(tmp_path, files), "x86_64").entries
    assert [file.reason for file in entry.missing] == [
        f"the file system with {called} is not mounted, as far as fstab and links in /dev/disk tell"
    ]


@pytest.mark.parametrize("device", ["uuid(1111)", "guid(1111)", "boot()"])
def test_the_own_file_system_by_its_name(tmp_path: Path, device: str) -> None:
    files = {"/etc/fstab": FSTAB, "/boot/vmlinuz-1": "k", "/vmlinuz-1": "k"}
    files["/boot/limine/limine.conf"] = limine(f"{device}:/vmlinuz-1")
    (entry, *_) = read_boot_entries(write_system(tmp_path, files), "x86_64").entries
    assert (entry.kernel, entry.missing) == (str(tmp_path / "boot/vmlinuz-1"), ())


def test_a_second_drive_is_not_the_only_one(tmp_path: Path) -> None:
    """Also where the kernel's names of devices are known."""
    files = {"/boot/vmlinuz-1": "k", "/vmlinuz-1": "k"}
    write_mounts(tmp_path, [Mount("/", "/dev/sda2"), Mount("/boot", "/dev/sda1")])
    places = {}
    for drive in (1, 2):
        files["/boot/limine.conf"] = limine(f"hdd({drive}:1):/vmlinuz-1")
        (entry, *_) = read_boot_entries(write_system(tmp_path, files), "x86_64").entries
        places[drive] = (entry.kernel, bool(entry.missing))
    assert places == {
        1: (str(tmp_path / "boot/vmlinuz-1"), False),
        2: ("(hdd:2:1)/vmlinuz-1", True),
    }


@pytest.mark.parametrize("volume", [GUID, '"Arch Root"'])
def test_no_other_volumes_kernel(tmp_path: Path, volume: str) -> None:
    files = {"/etc/fstab": FSTAB, "/boot/efi/vmlinuz-1": "k", "/boot/efi/initrd-1": "i"}
    files["/boot/efi/EFI/refind/refind.conf"] = refind(volume)
    (entry,) = read_boot_entries(write_system(tmp_path, files), "x86_64").entries
    assert len(entry.missing) == 2
    assert all(" is not mounted" in file.reason for file in entry.missing)


def test_what_may_be_another_volume_is_told(tmp_path: Path) -> None:
    """Of a copy that says nothing of its file systems; all files come from one place."""
    files = {"/boot/efi/vmlinuz-1": "k", "/boot/vmlinuz-1": "k", "/boot/initrd-1": "i"}
    files |= {"/initrd-1": "other", "/boot/efi/EFI/refind/refind.conf": refind(GUID)}
    root = write_system(tmp_path, files)
    entry = read_boot_entries(root, "x86_64").entries[0]
    assert (entry.kernel, entry.initrds) == (
        str(tmp_path / "boot/vmlinuz-1"),
        (str(tmp_path / "boot/initrd-1"),),
    )
    assert entry.notes == (
        f"nothing tells where the file system with uuid {GUID} is: its files are taken from here",
    )
    (tmp_path / "boot/initrd-1").unlink()
    entry = read_boot_entries(root, "x86_64").entries[0]
    assert entry.kernel == str(tmp_path / "boot/efi/vmlinuz-1")
    assert [file.name for file in entry.missing] == [f"(volume:{GUID})/initrd-1"]


def test_a_second_configuration_is_told(tmp_path: Path) -> None:
    files = {"/boot/extlinux/extlinux.conf": LABEL, "/boot/syslinux/syslinux.cfg": EXTLINUX}
    found = read_boot_entries(write_system(tmp_path, files), "x86_64")
    assert found.problems == [
        "/boot/syslinux/syslinux.cfg is not read: /boot/extlinux/extlinux.conf goes before it"
    ]


def test_includes_are_beside_the_configuration(tmp_path: Path) -> None:
    files = {
        "/boot/extlinux/extlinux.conf": "default l0\ninclude sub/linux.cfg\n",
        "/boot/extlinux/sub/linux.cfg": "label l0\nlinux ../k\ninclude sub/more.cfg\n",
        "/boot/extlinux/sub/more.cfg": "append root=UUID=1234 ro\n",
        "/boot/k": "k",
    }
    found = read_boot_entries(write_system(tmp_path, files), "x86_64")
    assert found.default is not None
    assert (found.default.cmdline, found.problems) == ("root=UUID=1234 ro", [])
    assert found.default.kernel == str(tmp_path / "boot/k")


def test_a_configuration_of_a_fit_image(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "/boot/extlinux/extlinux.conf": "label a\nkernel /boot/fitImage#conf-1\n",
        "/boot/fitImage": build_fit([], [configuration("conf-1")]),
    }
    found = read_boot_entries(write_system(tmp_path, files), "aarch64")
    assert found.entries[0].kernel == f"{tmp_path}/boot/fitImage#conf-1"
    assert (found.entries[0].missing, found.entries[0].obstacle) == ((), "")


def test_a_configuration_of_what_is_no_fit_image(tmp_path: Path) -> None:
    files = {
        "/boot/extlinux/extlinux.conf": "label a\nlinux /boot/Image#conf-1\n",
        "/boot/Image": "kernel",
    }
    found = read_boot_entries(write_system(tmp_path, files), "aarch64")
    assert found.entries[0].obstacle == (
        "/boot/Image is no FIT image with the configuration #conf-1"
    )


def test_limines_hashes(tmp_path: Path) -> None:
    hashes = [blake2b(data).hexdigest() for data in (b"kernel", b"initrd", b"other")]
    text = (
        "/a\nprotocol: linux\npath: boot():/k#{}\nmodule_path: boot():/i#{}\n"
        "/b\nprotocol: linux\npath: boot():/k#{}\n"
    ).format(*hashes[:2], hashes[2].upper())
    files = {"/boot/limine.conf": text, "/boot/k": "kernel", "/boot/i": "initrd"}
    found = read_boot_entries(write_system(tmp_path, files), "x86_64")
    good, bad = found.entries[:2]
    assert (good.kernel, good.initrds, good.missing) == (
        f"{tmp_path}/boot/k", (f"{tmp_path}/boot/i",), (),
    )  # fmt: skip
    assert bad.missing == (
        MissingFile(
            "/k",
            f"its BLAKE2B hash begins with {hashes[0][:16]}, that of the configuration with "
            f"{hashes[2][:16]}, and Limine starts nothing then",
        ),
    )


@pytest.mark.parametrize(
    ("text", "obstacles", "notes"),
    [
        ("title a\nroot (hd0,0)\nkernel /boot/k\n", [""],
         ["nothing tells where GRUB's device (hd0,1) is: its files are taken from here"]),
        ("title a\nroot (hd0,0)\nkernel /boot/k\ntitle b\nroot (hd1,0)\nkernel /boot/k\n",
         ["it is on one of 2 file systems, and neither links in /dev/disk nor fstab tell which of "
          "them this is"] * 2, []),
    ],
)  # fmt: skip
def test_grub_legacys_devices(
    tmp_path: Path, text: str, obstacles: list[str], notes: list[str]
) -> None:
    files = {"/boot/grub/menu.lst": text, "/boot/k": "k"}
    found = read_boot_entries(write_system(tmp_path, files), "x86_64")
    assert [entry.obstacle for entry in found.entries] == obstacles
    assert [note for entry in found.entries for note in entry.notes] == notes


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """Only rEFInd takes it for none of the text."""
    stanzas = "menuentry a {\nloader /k\n}\nmenuentry bb {\nloader /k\n}\n"
    root = write_system(
        tmp_path,
        {"/boot/EFI/refind/refind.conf": f"\ufeffdefault_selection bb\n{stanzas}", "/boot/k": ""},
    )
    found = read_boot_entries(root, "x86_64")
    assert found.default is not None
    assert (found.default.id, found.problems) == ("bb", [])
    write_system(root, {"/boot/extlinux/extlinux.conf": "\ufeffdefault b\nlabel a\nlinux /k\n"})
    assert read_boot_entries(root, "x86_64").problems[0] == (
        "/boot/extlinux/extlinux.conf begins with a byte order mark: Syslinux or U-Boot may not "
        "understand its first line"
    )


def test_what_proxmox_boots_is_elsewhere(tmp_path: Path) -> None:
    path = "/etc/kernel/proxmox-boot-uuids"
    root = write_system(debian_system(tmp_path), {path: "1A2B-3C4D\n"})
    found = read_boot_entries(root, "x86_64")
    assert (found.default, found.reason) == (
        None,
        f"proxmox-boot-tool has boot loader and kernels on the partitions of {path}, and "
        "/boot/grub/grub.cfg may be older",
    )
    assert f"{path} is the configuration of proxmox-boot-tool, which is not read" in found.problems


def test_xen_and_its_modules(tmp_path: Path) -> None:
    files = {
        "/boot/extlinux/extlinux.conf": "label a\nkernel mboot.c32\nappend ../xen --- ../k ro\n",
        "/boot/xen": "xen",
        "/boot/k": "k",
    }
    (entry,) = read_boot_entries(write_system(tmp_path, files), "x86_64").entries
    assert (entry.kernel, entry.modules[0].path) == (
        str(tmp_path / "boot/xen"),
        str(tmp_path / "boot/k"),
    )


def test_a_raspberry_pi(tmp_path: Path) -> None:
    files = {
        "/boot/firmware/config.txt": CONFIG_TXT,
        "/boot/firmware/cmdline.txt": "root=PARTUUID=6a8c-02 rootwait\n",
        "/boot/firmware/kernel8.img": "k",
        "/boot/firmware/initramfs8": "i",
        "/proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    }
    found = read_boot_entries(write_system(tmp_path, files), "aarch64")
    assert found.default is not None
    assert found.default.source is Source.RASPBERRY_PI
    assert found.default.kernel == str(tmp_path / "boot/firmware/kernel8.img")
    assert found.default.initrds == (str(tmp_path / "boot/firmware/initramfs8"),)
    assert found.default.missing == ()
    assert found.reason == "the firmware's /boot/firmware/config.txt"


def test_another_config_txt_is_none(tmp_path: Path) -> None:
    found = read_boot_entries(write_system(tmp_path, {"/boot/config.txt": "kernel=x"}), "x86_64")
    assert (found.entries, found.problems) == ([], [])


def test_the_loader_that_runs_is_in_charge(tmp_path: Path) -> None:
    root = write_system(debian_system(tmp_path), {"/boot/limine.conf": LIMINE_CONF})
    found = read_boot_entries(root, "x86_64")
    assert found.default is not None
    assert found.default.source is Source.GRUB
    write_system(root, {ROOT_VARIABLE: b"\6\0\0\0" + "Limine 9.2\0".encode("utf-16-le")})
    found = read_boot_entries(root, "x86_64")
    assert found.default is not None
    assert (found.default.source, found.default.id) == (Source.LIMINE, "Arch Linux>linux")


ZIPL_MINIMAL = "[defaultboot]\ndefaultauto\nprompt=1\ntimeout=5\ntarget=/boot\nsecure=auto\n"
"""As distributions have it that write an entry for each kernel into loader/entries."""


@pytest.mark.parametrize("place", ["/etc/zipl.conf", "/usr/lib/s390-tools/zipl.conf"])
def test_zipl_with_the_entries_of_the_specification(tmp_path: Path, place: str) -> None:
    """IBM, Linux on IBM Z, "BLS configuration snippets"; zipl.conf(5)."""
    release = "5.14.0-127.el9.s390x"
    files = {
        place: ZIPL_MINIMAL,
        f"/boot/vmlinuz-{release}": "k",
        f"/boot/initramfs-{release}.img": "i",
        f"/boot/loader/entries/36851bb476df410181cc114154a8a524-{release}.conf": (
            f"title Linux 5.14 kernel\nversion {release}\nlinux /boot/vmlinuz-{release}\n"
            f"initrd /boot/initramfs-{release}.img\n"
            "options root=/dev/disk/by-path/ccw-0.0.5e2a-part1 rd.dasd=0.0.5e2a crashkernel=auto\n"
        ),
    }
    found = read_boot_entries(write_system(tmp_path, files), "s390x")
    (entry,) = found.entries
    assert (entry.source, entry.title, entry.obstacle) == (Source.BLS, "Linux 5.14 kernel", "")
    assert entry.kernel is not None
    assert str(entry.kernel).endswith(f"/boot/vmlinuz-{release}")
    assert entry.cmdline == (
        "root=/dev/disk/by-path/ccw-0.0.5e2a-part1 rd.dasd=0.0.5e2a crashkernel=auto"
    )
    assert entry.missing == ()
    assert found.problems == []


def test_the_first_zipl_configuration_counts(tmp_path: Path) -> None:
    places = ("/run/zipl/zipl.conf", "/etc/zipl.conf")
    files = {
        place: f"[defaultboot]\ndefault={number}\n[{number}]\nimage=/boot/k\ntarget=/boot\n"
        for number, place in enumerate(places)
    } | {"/boot/k": "k"}
    found = read_boot_entries(write_system(tmp_path, files), "s390x")
    assert [entry.id for entry in found.entries] == ["0"]
    assert found.problems == [
        f"{place} is not read: {places[0]} goes before it" for place in places[1:]
    ]


def test_several_loaders(tmp_path: Path) -> None:
    files = {
        "/boot/refind_linux.conf": REFIND_LINUX,
        "/boot/vmlinuz-6.12": "k",
        "/boot/grub/menu.lst": MENU_LST,
        "/etc/zipl.conf": ZIPL_CONF,
        "/etc/lilo.conf": "x",
        "/boot/boot.scr": "x",
    }
    found = read_boot_entries(write_system(tmp_path, files), "s390x")
    assert {entry.source for entry in found.entries} == {
        Source.REFIND,
        Source.GRUB_LEGACY,
        Source.ZIPL,
    }
    assert found.reason == "default=2 of the menu 'menu1' in /etc/zipl.conf"
    assert found.problems == [
        "/etc/lilo.conf is the configuration of LILO, which is not read",
        "/boot/boot.scr is the configuration of a script of U-Boot, which is not read",
        "/boot/grub/menu.lst (GRUB legacy) is listed, and not asked for the default",
        "/boot/refind_linux.conf (rEFInd) is listed, and not asked for the default",
    ]


def test_a_kernel_that_is_a_directory(tmp_path: Path) -> None:
    files = {"/boot/extlinux/extlinux.conf": "label a\nlinux /boot/x\n", "/boot/x/y": ""}
    (entry,) = read_boot_entries(write_system(tmp_path, files), "x86_64").entries
    assert [str(file) for file in entry.missing] == ["/boot/x: it is a directory"]
