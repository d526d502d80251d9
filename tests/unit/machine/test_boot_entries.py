"""The boot entries of whole systems: where they are looked for, and which is the default."""

from __future__ import annotations

from pathlib import Path

import pytest

from pykexec.entries import MissingFile, Source
from pykexec.machine import boot_tree
from pykexec.machine.boot_entries import BootEntries, read_boot_entries
from tests.builders.boot_configs import (
    CMDLINE,
    EXTLINUX,
    FEDORA_VERSIONS,
    MACHINE_ID,
    UUID,
    VERSIONS,
    debian_grub,
    debian_system,
    fedora_system,
    grub_entry,
    write_system,
)
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.images import build_uki
from tests.builders.mount_tables import Mount, write_mounts

VARIABLE = "/sys/firmware/efi/efivars/{}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"


def read(root: Path, arch: str = "x86_64") -> BootEntries:
    return read_boot_entries(root, arch)


def variable(text: str) -> bytes:
    return b"\6\0\0\0" + f"{text}\0".encode("utf-16-le")


def default_of(found: BootEntries) -> str:
    assert found.default is not None
    assert found.default in found.entries
    return found.default.id


def test_debian_with_grub(tmp_path: Path) -> None:
    found = read(debian_system(tmp_path))
    assert found.problems == []
    assert len(found.entries) == 5
    assert default_of(found) == f"gnulinux-simple-{UUID}"
    assert found.reason == "default=0 in /boot/grub/grub.cfg"
    entry = found.entries[0]
    assert entry.kernel == str(tmp_path / f"boot/vmlinuz-{VERSIONS[0]}")
    assert entry.initrds == (
        str(tmp_path / "boot/early.cpio"),
        str(tmp_path / f"boot/initrd.img-{VERSIONS[0]}"),
    )
    assert (entry.version, entry.missing) == (VERSIONS[0], ())


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, FEDORA_VERSIONS[0]),
        ({"saved_entry": f"{MACHINE_ID}-{FEDORA_VERSIONS[1]}"}, FEDORA_VERSIONS[1]),
        ({"saved_entry": "2"}, FEDORA_VERSIONS[2]),
    ],
)
def test_fedora_with_grub(tmp_path: Path, environment: dict[str, str], expected: str) -> None:
    found = read(fedora_system(tmp_path, kernelopts="root=/dev/vda4 ro", **environment))
    assert found.problems == []
    # Each once, though two configurations know it.
    assert [(e.source, e.id) for e in found.entries] == [
        (Source.GRUB, f"{MACHINE_ID}-{version}") for version in FEDORA_VERSIONS
    ]
    assert default_of(found) == f"{MACHINE_ID}-{expected}"
    entry = found.entries[0]
    assert entry.kernel == str(tmp_path / f"boot/vmlinuz-{FEDORA_VERSIONS[0]}")
    assert entry.initrds == (str(tmp_path / f"boot/initramfs-{FEDORA_VERSIONS[0]}.img"),)
    assert entry.cmdline == "root=/dev/vda4 ro"


def systemd_boot(tmp_path: Path, config: str | None = "timeout 3\n") -> Path:
    uki = build_uki(
        build_bzimage(KernelSpec(payload_size=4096)),
        (".cmdline", b"root=/dev/vda2 quiet"),
        (".osrel", b'ID=arch\nPRETTY_NAME="Arch Linux"\nVERSION_ID=2026.11\n#x=y\n'),
    )
    files: dict[str, str | bytes] = {
        "/efi/loader/entries/a.conf": "title A\nsort-key a\nlinux /a/linux\ninitrd a/initrd\n",
        "/efi/loader/entries/b+0-3.conf": "sort-key 0\nlinux /a/linux",
        "/efi/loader/entries/arm.conf": "architecture aa64\nlinux /a/linux",
        "/efi/loader/entries/shell.conf": "efi /shell.efi",
        "/efi/loader/entries/README": "not an entry",
        "/efi/EFI/Linux/arch+2.efi": uki,
        "/efi/EFI/Linux/broken.efi": b"MZ",
        "/efi/a/linux": "kernel",
        "/efi/a/initrd": "initrd",
    }
    if config is not None:
        files["/efi/loader/loader.conf"] = config
    return write_system(tmp_path, files)


def test_systemd_boot(tmp_path: Path) -> None:
    found = read(systemd_boot(tmp_path))
    assert [entry.id for entry in found.entries] == ["a.conf", "arch.efi", "shell.conf", "b.conf"]
    first, second, shell, third = found.entries
    assert [str(file) for file in shell.missing] == ["/shell.efi: there is no such file"]
    assert (first.kernel, first.initrds) == (
        str(tmp_path / "efi/a/linux"),
        (str(tmp_path / "efi/a/initrd"),),
    )
    assert (second.source, second.title, second.version) == (Source.UKI, "Arch Linux", "2026.11")
    assert (second.cmdline, second.tries_left) == ("root=/dev/vda2 quiet", 2)
    assert second.kernel == str(tmp_path / "efi/EFI/Linux/arch+2.efi")
    assert third.tries_left == 0
    (problem,) = found.problems
    assert problem.startswith("/efi/EFI/Linux/broken.efi: ")
    assert default_of(found) == "a.conf"
    assert found.reason == "the first in systemd-boot's menu"
    arm = read(tmp_path, "aarch64")
    assert "arm.conf" in [entry.id for entry in arm.entries]


@pytest.mark.parametrize(
    ("config", "variables", "expected", "reason"),
    [
        ("default arch*", {}, "arch.efi", "default in /efi/loader/loader.conf"),
        ("default nothing", {}, "a.conf", "the first in systemd-boot's menu"),
        (
            "default arch*",
            {"LoaderEntryDefault": "a.conf"},
            "a.conf",
            "LoaderEntryDefault of EFI",
        ),
        (
            "default a.conf",
            {"LoaderEntryDefault": "a.conf", "LoaderEntryOneShot": "arch.efi"},
            "arch.efi",
            "LoaderEntryOneShot of EFI",
        ),
        (
            "default @saved",
            {"LoaderEntryLastBooted": "arch.efi"},
            "arch.efi",
            "default in /efi/loader/loader.conf",
        ),
        (
            "default @saved",
            {"LoaderInfo": "systemd-boot 257"},
            "a.conf",
            "the first in systemd-boot's menu",
        ),
        (None, {"LoaderInfo": "systemd-boot 257"}, "a.conf", "the first in systemd-boot's menu"),
    ],
)
def test_the_default_of_systemd_boot(
    tmp_path: Path, config: str | None, variables: dict[str, str], expected: str, reason: str
) -> None:
    root = systemd_boot(tmp_path, config)
    write_system(root, {VARIABLE.format(name): variable(text) for name, text in variables.items()})
    found = read(root)
    assert (default_of(found), found.reason) == (expected, reason)


def test_nobody_says_which_loader_reads_the_entries(tmp_path: Path) -> None:
    found = read(systemd_boot(tmp_path, None))
    assert found.default is None
    assert found.reason == (
        "no boot loader's configuration names one; there are entries: 3 of bls, 1 of uki"
    )


def test_the_loader_that_runs_is_in_charge(tmp_path: Path) -> None:
    """Where both are installed, the variable that systemd-boot sets tells."""
    root = systemd_boot(debian_system(tmp_path))
    assert default_of(read(root)) == "a.conf"
    write_system(root, {VARIABLE.format("LoaderInfo"): variable("GRUB 2.14")})
    assert default_of(read(root)) == f"gnulinux-simple-{UUID}"


@pytest.mark.parametrize(
    ("running", "reason"),
    [
        ("systemd-boot 257", "systemd-boot 257 started this machine, and none of its entries is "
         "here: is its partition mounted?"),
        ("rEFInd 0.14.2", "rEFInd 0.14.2 started this machine, and nothing is here that it reads: "
         "is its partition mounted?"),
    ],
)  # fmt: skip
def test_the_loader_that_runs_has_nothing_here(tmp_path: Path, running: str, reason: str) -> None:
    """A configuration of GRUB's that was left over is not taken for it."""
    root = debian_system(tmp_path)
    write_system(root, {VARIABLE.format("LoaderInfo"): variable(running)})
    found = read(root)
    assert (found.default, found.reason) == (None, reason)
    assert found.entries[0].source is Source.GRUB


def test_extlinux(tmp_path: Path) -> None:
    files = dict.fromkeys(
        (
            "/boot/vmlinuz-6.12.57",
            "/boot/vmlinuz-6.12.48",
            "/boot/initrd.img-6.12.48",
            "/boot/early.cpio",
        ),
        "x",
    )
    files["/boot/extlinux/extlinux.conf"] = EXTLINUX
    found = read(write_system(tmp_path, files), "aarch64")
    first, second = found.entries
    assert default_of(found) == "l1"
    assert found.reason == "DEFAULT of /boot/extlinux/extlinux.conf"
    assert [file.name for file in first.missing] == ["/boot/initrd.img-6.12.57"]
    assert second.kernel == str(tmp_path / "boot/vmlinuz-6.12.48")
    assert [file.name for file in second.missing] == ["/boot/board.dtb"]


def test_kernels_by_name(tmp_path: Path) -> None:
    root = write_system(
        tmp_path,
        {
            "/boot/vmlinuz-6.9": "a",
            "/boot/initrd.img-6.9": "i",
            "/boot/vmlinuz-6.12": "b",
            "/boot/initramfs-6.12.img": "i",
            "/boot/vmlinuz-linux": "c",
            "/boot/vmlinuz-6.12.sig": "no",
            "/boot/config-6.12": "no",
            "/usr/lib/modules/6.13/vmlinuz": "d",
            "/etc/kernel/cmdline": "root=/dev/vda\n  quiet\n",
        },
    )
    (root / "boot/vmlinuz-6.8").symlink_to("vmlinuz-6.9")
    found = read(root)
    assert [entry.version for entry in found.entries] == ["6.13", "6.12", "6.8", "linux"]
    assert found.entries[1].initrds == (str(root / "boot/initramfs-6.12.img"),)
    assert found.entries[1].cmdline == "root=/dev/vda quiet"
    assert found.entries[1].id == "vmlinuz-6.12"
    # The newest is not what anybody has named.
    assert found.default is None
    assert found.reason == (
        "no boot loader's configuration names one; there are entries: 4 of bare files"
    )


def test_variables_in_the_command_line_of_bare_files(tmp_path: Path) -> None:
    """As of Fedora, which has GRUB fill them in."""
    files = {"/boot/vmlinuz-6.9": "k", "/etc/kernel/cmdline": "root=x $tuned_params"}
    (entry,) = read(write_system(tmp_path, files)).entries
    assert entry.obstacle == "$tuned_params in /etc/kernel/cmdline is for a boot loader to fill in"


def test_kernels_that_no_configuration_names_come_last(tmp_path: Path) -> None:
    root = write_system(debian_system(tmp_path), {"/boot/vmlinuz-6.99": "new"})
    assert [e.id for e in read(root).entries][5:] == ["vmlinuz-6.99"]


def test_a_default_that_is_no_linux(tmp_path: Path) -> None:
    text = "menuentry 'Windows' { chainloader +1 }\n" + grub_entry("x", "x", VERSIONS[0])
    found = read(write_system(tmp_path, {"/boot/grub/grub.cfg": text}))
    assert found.default is None
    assert found.reason == (
        "default=0 in /boot/grub/grub.cfg: 'Windows', which chainloads +1 and is no Linux kernel"
    )


@pytest.mark.parametrize(
    ("boot", "place"),
    [("/@/boot", "boot"), ("(hd0,gpt2)/boot", "boot"), ("", "boot"), ("($root)", "boot")],
)
def test_paths_of_grub(tmp_path: Path, boot: str, place: str) -> None:
    """With a subvolume, a device, and a boot partition of its own in front."""
    root = debian_system(tmp_path)
    write_system(root, {"/boot/grub/grub.cfg": debian_grub(boot=boot)})
    entry = read(root).entries[0]
    assert (entry.kernel, entry.missing) == (str(root / place / f"vmlinuz-{VERSIONS[0]}"), ())
    assert entry.cmdline == f"{CMDLINE} vt.handoff=7"


def test_a_boot_partition_goes_before_a_name_in_the_root(tmp_path: Path) -> None:
    root = write_system(debian_system(tmp_path), {f"/vmlinuz-{VERSIONS[0]}": "link of old"})
    write_system(root, {"/boot/grub/grub.cfg": debian_grub(boot="")})
    assert read(root).entries[0].kernel == str(root / f"vmlinuz-{VERSIONS[0]}")
    mounts = [Mount("/", "/dev/sda2"), Mount("/boot", "/dev/sda1")]
    write_mounts(root, mounts)
    # The script says a UUID, and nothing tells which of the two has it.
    assert [file.reason for file in read(root).entries[0].missing[:1]] == [
        "neither links in /dev/disk nor fstab tell which of those on /, /boot is the file system "
        f"with fs-uuid {UUID}"
    ]
    write_mounts(root, mounts, {UUID: "sda1"})
    assert read(root).entries[0].kernel == str(root / f"boot/vmlinuz-{VERSIONS[0]}")


def test_an_esp_can_be_the_root(tmp_path: Path) -> None:
    root = systemd_boot(tmp_path) / "efi"
    found = read(root)
    assert [entry.id for entry in found.entries] == ["a.conf", "arch.efi", "shell.conf", "b.conf"]
    assert found.entries[0].kernel == str(root / "a/linux")


def test_links_stay_below_the_root(tmp_path: Path) -> None:
    root = debian_system(tmp_path / "system")
    (root / "boot/grub/grub.cfg").rename(root / "boot/real.cfg")
    (root / "boot/grub/grub.cfg").symlink_to("/boot/real.cfg")
    (root / f"boot/vmlinuz-{VERSIONS[0]}").unlink()
    (tmp_path / "secret").write_text("secret")
    (root / f"boot/vmlinuz-{VERSIONS[0]}").symlink_to("../../../secret")
    found = read(root)
    assert len(found.entries) == 5
    assert found.entries[0].missing == (
        MissingFile(f"/boot/vmlinuz-{VERSIONS[0]}", "there is no such file"),
    )


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"/boot/grub/grub.cfg": "if"}, "/boot/grub/grub.cfg, line 1: the file ends, in the 'if'"),
        (
            {"/boot/extlinux/extlinux.conf": "label"},
            "extlinux.conf, line 1: label '' cannot be named",
        ),
        (
            {"/boot/grub/grub.cfg": "load_env", "/boot/grub/grubenv": "x"},
            "/boot/grub/grubenv, line 1: NAME=VALUE is needed",
        ),
        (
            {"/boot/grub/grub.cfg": "#" * (boot_tree.SMALL_MAX + 1)},
            "cannot read /boot/grub/grub.cfg: larger than 1048576 bytes",
        ),
    ],
)
def test_problems(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    found = read(write_system(tmp_path, files))
    assert problem in found.problems[0]
    assert (found.entries, found.default) == ([], None)


def test_nothing_at_all(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert (found.entries, found.default, found.problems) == ([], None, [])
    assert found.reason == "there is no boot entry"


def test_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, limit: int) -> None:
        raise PermissionError(13, "Permission denied", path)

    root = fedora_system(tmp_path)
    monkeypatch.setattr("pykexec.machine.boot_tree.load_regular", refuse)
    found = read(root)
    assert "cannot read /boot/grub2/grub.cfg: Permission denied" in found.problems
