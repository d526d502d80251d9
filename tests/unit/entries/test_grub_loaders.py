"""What an entry of GRUB's starts: Linux, multiboot kernels, UKIs, and what cannot be started."""

from __future__ import annotations

import pytest

from pykexec.entries.grub_files import Device, FileReference
from pykexec.entries.grub_values import GrubEntry, GrubModule
from tests.builders.grub_files import read


def entry_of(body: str, files: dict[str, str] | None = None) -> GrubEntry:
    (entry,) = read(f"menuentry x {{\n{body}\n}}", files).menu.entries()
    return entry


def own(path: str) -> FileReference:
    return FileReference(Device(), path)


@pytest.mark.parametrize(("loader", "module"), [("multiboot", "module"), ("multiboot2", "module2")])
def test_xen(loader: str, module: str) -> None:
    """As grub-mkconfig writes it: the first word of each is a name that Xen passes over."""
    entry = entry_of(
        f"{loader} /boot/xen.gz placeholder dom0_mem=1G\n"
        f"{module} /boot/vmlinuz placeholder root=UUID=1 ro\n"
        f"{module} --nounzip /boot/initrd.img"
    )
    assert entry.multiboot == (2 if loader == "multiboot2" else 1)
    assert (entry.kernel, entry.cmdline) == (own("/boot/xen.gz"), "placeholder dom0_mem=1G")
    assert entry.modules == (
        GrubModule(own("/boot/vmlinuz"), "placeholder root=UUID=1 ro"),
        GrubModule(own("/boot/initrd.img"), "", is_unpacked=False),
    )


def test_modules_without_a_kernel() -> None:
    assert read("menuentry x { module /a }").menu.entries() == ()
    assert entry_of("linux /k\nmodule /a").modules == ()
    assert entry_of("multiboot /k\ninitrd /a").initrds == ()


def test_the_last_command_counts() -> None:
    entry = entry_of("linux /a x\ninitrd /i\nlinux /b y\ninitrd /j\ninitrd /k /l")
    assert (entry.kernel, entry.cmdline) == (own("/b"), "y")
    assert entry.initrds == (own("/k"), own("/l"))
    assert read("menuentry x { linux /a; chainloader +1 }").menu.entries() == ()


def test_whether_a_kernel_is_there() -> None:
    text = "if linux /a; then initrd /i; else linux /b; fi"
    assert entry_of(text).kernel == own("/b")
    assert entry_of(text, {"/a": "x"}).initrds == (own("/i"),)


def test_devices() -> None:
    entry = entry_of("set root=hd1,gpt2\nlinux /a\ninitrd (hd2)/b ($root)/c (memdisk)/d")
    assert [file.device.name for file in (entry.kernel, *entry.initrds)] == [
        "hd1,gpt2", "hd2", "hd1,gpt2", "memdisk",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["(hd0,1)", "vmlinuz", "(hd0", "+1"])
def test_what_names_no_file(name: str) -> None:
    entry = entry_of(f"linux {name} ro")
    assert entry.kernel.path == name
    assert not entry.kernel.path.startswith("/")


def test_obstacles() -> None:
    assert "newc:/x:/y" in entry_of("linux /k\ninitrd newc:/x:/y /i").obstacle
    entry = entry_of("read name\nlinux /$name")
    assert entry.obstacle.startswith("the kernel is not known: the name depends on what someone")


UKI = {"/EFI/Linux/a.efi": "UKI|Arch|root=x quiet", "/w.efi": "Windows"}


def test_ukis() -> None:
    entry = entry_of("chainloader /EFI/Linux/a.efi", UKI)
    assert (entry.kernel, entry.cmdline, entry.obstacle) == (
        own("/EFI/Linux/a.efi"), "root=x quiet", "",
    )  # fmt: skip
    assert entry_of("chainloader /EFI/Linux/a.efi root=x quiet", UKI).obstacle == ""
    other = entry_of("chainloader /EFI/Linux/a.efi single", UKI)
    assert "Secure Boot decides which counts" in other.obstacle
    assert read("menuentry x { chainloader /w.efi }", UKI).menu.items[0].starts == (
        "chainloads /w.efi and is no Linux kernel (it is no UKI)"
    )


def test_codes_of_characters() -> None:
    r"""``\xHH``: GNU GRUB and Red Hat's differ."""
    reading = read("menuentry x { linux /k 'a\\x20b' }")
    assert reading.menu.entries()[0].cmdline == r"a\\x20b"
    assert "whether it is Red Hat's" in reading.problems[0]
    assert reading.chosen.item is None
