"""systemd-boot's entries: EFI programs, unified kernel images, their addons and profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pykexec.entries import Source
from pykexec.machine.boot_entries import BootEntries, read_boot_entries
from tests.builders.boot_configs import write_system
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.images import build_uki
from tests.builders.pe_files import MACHINE_ARM64, build_pe

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE = "/sys/firmware/efi/efivars/{}-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def uki(cmdline: str, *more: tuple[str, bytes], name: str = "os") -> bytes:
    return build_uki(
        build_bzimage(KernelSpec(payload_size=4096)),
        (".osrel", f'ID={name}\nPRETTY_NAME="{name}"\nVERSION_ID=1\n'.encode()),
        (".uname", b"6.12.0"),
        (".cmdline", cmdline.encode()),
        *more,
    )


def addon(*sections: tuple[str, bytes]) -> bytes:
    return build_pe(MACHINE_ARM64, [(".sbat", b"sbat,1\n"), *sections])


def read(root: Path, files: dict[str, str | bytes]) -> BootEntries:
    return read_boot_entries(write_system(root, files), "x86_64")


SLOTS: dict[str, str | bytes] = {
    "/boot/EFI/Linux/a.efi": uki("root=/dev/vda2", name="a"),
    "/boot/EFI/Linux/b.efi": uki("root=/dev/vda3", name="b"),
    "/boot/loader/entries/slot-a.conf": "title A\nefi /EFI/Linux/a.efi\n",
    "/boot/loader/entries/slot-b.conf": "title B\nefi \\EFI\\Linux\\b.efi\n",
    "/boot/loader/loader.conf": "default slot-b.conf\n",
}


@pytest.mark.parametrize("key", ["efi", "uki"])
def test_an_entry_that_names_a_uki(tmp_path: Path, key: str) -> None:
    files = dict(SLOTS)
    files["/boot/loader/entries/slot-b.conf"] = f"title B\n{key} \\EFI\\Linux\\b.efi\n"
    found = read(tmp_path, files)
    assert found.default is not None
    assert (found.default.id, found.default.cmdline) == ("slot-b.conf", "root=/dev/vda3")
    assert found.default.kernel == str(tmp_path / "boot/EFI/Linux/b.efi")
    assert (found.problems, found.default.missing, found.default.obstacle) == ([], (), "")


@pytest.mark.parametrize(("secure", "expected"), [(b"\0", "single"), (b"\1", "root=/dev/vda2")])
def test_its_options_stand_for_the_images_own(tmp_path: Path, secure: bytes, expected: str) -> None:
    files = dict(SLOTS)
    files["/boot/loader/entries/slot-b.conf"] = "efi /EFI/Linux/a.efi\noptions single\n"
    files[SECURE_BOOT] = b"\6\0\0\0" + secure
    found = read(tmp_path, files)
    assert found.default is not None
    assert found.default.cmdline == expected


def test_an_efi_program_that_is_no_uki_is_an_entry_that_cannot_be_loaded(tmp_path: Path) -> None:
    files = {**SLOTS, "/boot/loader/entries/slot-b.conf": "efi /shellx64.efi\n"}
    files["/boot/shellx64.efi"] = build_pe(MACHINE_ARM64, [(".text", b"shell")])
    found = read(tmp_path, files)
    assert found.default is not None
    assert found.default.id == "slot-b.conf"
    assert found.default.obstacle.startswith("/shellx64.efi is no UKI that can be loaded (")


def test_a_name_that_matches_nothing_is_told(tmp_path: Path) -> None:
    found = read(tmp_path, {**SLOTS, "/boot/loader/loader.conf": "default slot-c.conf\n"})
    assert found.problems == [
        "default in /boot/loader/loader.conf names 'slot-c.conf', which is no entry"
    ]
    assert found.reason == "the first in systemd-boot's menu"


@pytest.mark.parametrize("default", ["auto-windows", "auto-efi-shell", "auto-osx"])
def test_what_systemd_boot_finds_by_itself(tmp_path: Path, default: str) -> None:
    found = read(tmp_path, {**SLOTS, "/boot/loader/loader.conf": f"default {default}\n"})
    assert found.default is None
    assert found.reason == (
        f"default in /boot/loader/loader.conf: {default}, an entry of systemd-boot's own that is "
        "no Linux kernel"
    )


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"LoaderEntryPreferred": "slot-a.conf"}, "slot-a.conf"),
        ({"LoaderEntryPreferred": "failed.conf"}, "slot-b.conf"),
        ({"LoaderEntryDefault": "failed.conf"}, "failed.conf"),
        ({"LoaderEntryPreferred": "a.efi", "LoaderEntryOneShot": "b.efi"}, "b.efi"),
        ({"LoaderEntryPreferred": "a.efi", "LoaderEntryDefault": "b.efi"}, "a.efi"),
        ({"LoaderEntryDefault": "@saved", "LoaderEntryLastBooted": "a.efi"}, "a.efi"),
    ],
)
def test_variables(tmp_path: Path, variables: dict[str, str], expected: str) -> None:
    files = {**SLOTS, "/boot/loader/entries/failed+0-3.conf": "linux /k\n"}
    for name, text in variables.items():
        files[VARIABLE.format(name)] = b"\6\0\0\0" + f"{text}\0".encode("utf-16-le")
    found = read(tmp_path, files)
    assert found.default is not None
    assert found.default.id == expected


def test_what_was_started_last_is_not_known_without_variables(tmp_path: Path) -> None:
    """Of a copy of a system; never the first of the menu."""
    found = read(tmp_path, {**SLOTS, "/boot/loader/loader.conf": "default @saved\n"})
    assert found.default is None
    assert found.reason == (
        "default in /boot/loader/loader.conf: @saved, and what was started last is not known"
    )


def test_preferred_in_loader_conf(tmp_path: Path) -> None:
    found = read(
        tmp_path, {**SLOTS, "/boot/loader/loader.conf": "default slot-b*\npreferred a.efi\n"}
    )
    assert found.default is not None
    assert found.default.id == "a.efi"
    assert found.reason == "preferred in /boot/loader/loader.conf"


def test_the_loader_conf_beside_systemd_boot_counts(tmp_path: Path) -> None:
    """XBOOTLDR at /boot, the ESP at /efi."""
    files = {**SLOTS, "/efi/EFI/systemd/systemd-bootx64.efi": b"MZ"}
    found = read(tmp_path, {**files, "/efi/loader/loader.conf": "default slot-a.conf\n"})
    assert found.default is not None
    assert found.default.id == "slot-a.conf"


ADDONS: dict[str, str | bytes] = {
    "/boot/EFI/Linux/sys.efi": uki("root=/dev/vda2 quiet"),
    "/boot/loader/addons/z.addon.efi": addon((".cmdline", b"z=1\n\0")),
    "/boot/loader/addons/a.addon.efi": addon((".cmdline", b"a=1")),
    "/boot/loader/addons/readme.txt": "no addon",
    "/boot/EFI/Linux/sys.efi.extra.d/console.addon.efi": addon((".cmdline", b"console=ttyS0")),
}


def test_words_of_addons_count(tmp_path: Path) -> None:
    (entry,) = read(tmp_path, ADDONS).entries
    assert entry.cmdline == "root=/dev/vda2 quiet a=1 z=1 console=ttyS0"
    assert (entry.notes, entry.obstacle) == ((), "")


def test_addons_of_an_image_that_is_counted(tmp_path: Path) -> None:
    files = dict(ADDONS)
    files["/boot/EFI/Linux/sys+3.efi"] = files.pop("/boot/EFI/Linux/sys.efi")
    (entry,) = read(tmp_path, files).entries
    assert entry.cmdline == "root=/dev/vda2 quiet a=1 z=1 console=ttyS0"


def test_an_addon_for_another_kernel_does_not_count(tmp_path: Path) -> None:
    files = dict(ADDONS)
    files["/boot/loader/addons/a.addon.efi"] = addon((".cmdline", b"a=1"), (".uname", b"6.11"))
    files["/boot/loader/addons/z.addon.efi"] = addon((".cmdline", b"z=1"), (".uname", b"6.12.0"))
    (entry,) = read(tmp_path, files).entries
    assert entry.cmdline == "root=/dev/vda2 quiet z=1 console=ttyS0"
    assert entry.notes == ("/boot/loader/addons/a.addon.efi is for 6.11, and left out",)


def test_what_else_addons_have(tmp_path: Path) -> None:
    files = dict(ADDONS)
    files["/boot/loader/addons/a.addon.efi"] = addon((".dtb", b"tree"), (".ucode", b"code"))
    files["/boot/loader/addons/z.addon.efi"] = addon((".initrd", b"070701"))
    files["/boot/EFI/Linux/sys.efi.extra.d/root.cred"] = "secret"
    files["/boot/EFI/Linux/sys.efi.extra.d/bad.addon.efi"] = "MZ"
    found = read(tmp_path, files)
    (entry,) = found.entries
    assert entry.obstacle == (
        "its addon /boot/loader/addons/z.addon.efi has an initrd, which is not taken out of it"
    )
    assert [note.rpartition("/")[2] for note in entry.notes] == [
        "a.addon.efi has .dtb, which is left out",
        "a.addon.efi has .ucode, which is left out",
        "root.cred to the initrd, which is left out",
    ]
    (problem,) = found.problems
    assert problem.startswith("/boot/EFI/Linux/sys.efi.extra.d/bad.addon.efi: the addon is no PE")


def test_profiles_are_entries(tmp_path: Path) -> None:
    image = build_pe(
        MACHINE_ARM64,
        [
            (".osrel", b"PRETTY_NAME=os\n"),
            (".cmdline", b"root=/dev/vda2"),
            (".linux", build_bzimage(KernelSpec(payload_size=4096))),
            (".profile", b"ID=main\n"),
            (".profile", b"ID=factory-reset\nTITLE=Factory reset\n"),
            (".cmdline", b"systemd.factory_reset=1"),
            (".profile", b""),
        ],
    )
    files: dict[str, str | bytes] = {
        "/efi/EFI/Linux/os.efi": image,
        "/efi/loader/loader.conf": "timeout 1",
        "/efi/loader/addons/a.addon.efi": addon((".cmdline", b"a=1")),
    }
    found = read(tmp_path, files)
    path = f"{tmp_path}/efi/EFI/Linux/os.efi"
    reset = "systemd.factory_reset=1"
    assert [(e.id, e.title, e.kernel, e.cmdline) for e in found.entries] == [
        ("os.efi", "os", path, "root=/dev/vda2 a=1"),
        ("os.efi@factory-reset", "os (Factory reset)", f"{path}#1", f"{reset} a=1"),
        ("os.efi@2", "os (profile 2)", f"{path}#2", "root=/dev/vda2 a=1"),
    ]
    assert all(e.source is Source.UKI and not e.missing and not e.obstacle for e in found.entries)
    assert found.default is found.entries[0]
