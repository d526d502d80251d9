"""What an entry of GRUB's starts: Linux, multiboot kernels, UKIs, and what cannot be started."""

from __future__ import annotations

import pytest

from pykexec.entries.grub_files import Device, FileReference
from pykexec.entries.grub_values import GrubEntry, GrubModule
from tests.builders.boot_configs import grubenv
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


@pytest.mark.parametrize(
    ("body", "cmdline"),
    [
        ("if [ -f /a ]; then linux /a new; boot; fi\nlinux /b old", "new"),
        ("if [ -f /c ]; then linux /c new; boot; fi\nlinux /b old", "old"),
        ("if linux /a new; then initrd /b; boot; fi; linux /b old", "new"),
        ("linux /c new; boot; linux /b old", "old"),
        ("boot; linux /b old", "old"),
        ("multiboot /a new; boot; linux /b old", "new"),
        ("for k in c a b; do linux /$k $k; boot; done; linux /b old", "a"),
        ("go; linux /b old", "new"),
        ("eval 'linux /a new; boot'; linux /b old", "new"),
        ("source /try; linux /b old", "new"),
        ("normal /try; linux /b old", "new"),
        ("boot; linux /a $?", "22"),
        ("if ! boot; then true; fi; linux /a x", "x"),
    ],
)
def test_boot_ends_an_entry(body: str, cmdline: str) -> None:
    files = {"/a": "x", "/b": "x", "/try": "linux /a new\nboot\nlinux /b late"}
    function = "function go { linux /a new; boot; }\n"
    text = f"{function}menuentry x {{\n{body}\n}}\nmenuentry y {{ linux /b y }}"
    reading = read(text, files)
    assert [entry.cmdline for entry in reading.menu.entries()] == [cmdline, "y"]
    assert reading.problems == ()
    assert reading.chosen.item is not None


def test_boot_of_what_is_no_linux() -> None:
    (item,) = read("menuentry x { chainloader /w.efi; boot; linux /a }").menu.items
    assert item.entry is None
    assert item.starts.startswith("chainloads /w.efi")
    (item,) = read("menuentry x { halt; boot; linux /a }", {"/a": "x"}).menu.items
    assert item.entry is None


def test_boot_of_what_only_grub_can_load() -> None:
    reading = read("menuentry x { linux (hd1,1)/a new; boot; linux /b old }")
    assert reading.menu.entries()[0].cmdline == "new"
    assert "whether there is (hd1,1)/a: GRUB's device (hd1,1) is not" in reading.problems[0]
    entry = entry_of("read name; linux /$name; boot; linux /b", {"/b": "x"})
    assert entry.obstacle.startswith("the kernel is not known: ")


def test_devices() -> None:
    entry = entry_of("set root=hd1,gpt2\nlinux /a\ninitrd (hd2)/b ($root)/c (memdisk)/d")
    assert [file.device.name for file in (entry.kernel, *entry.initrds)] == [
        "hd1,gpt2", "hd2", "hd1,gpt2", "memdisk",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["set root=(hd0,2)", "root='(hd0,2)'", "d=hd0,2; set root=($d)",
     "for root in (hd0,2); do true; done", "load_env -f /env root"],
)  # fmt: skip
def test_a_root_in_parentheses(text: str) -> None:
    """GRUB takes them away whenever ``root`` is set."""
    files = {"/env": grubenv(root="(hd0,2)")}
    reading = read(
        f"{text}\nmenuentry x {{ linux /a; initrd ($root)/b }}\n"
        "submenu s { menuentry y { set root=(hd0,2); linux ($root)/a $root } }",
        files,
    )
    x, y = reading.menu.entries()
    assert [str(file) for file in (x.kernel, *x.initrds, y.kernel)] == [
        "(hd0,2)/a", "(hd0,2)/b", "(hd0,2)/a",
    ]  # fmt: skip
    assert y.cmdline == "hd0,2"
    own_root = entry_of("set root=($root)\nlinux ($root)/a\ninitrd /b")
    assert (own_root.kernel, own_root.initrds) == (own("/a"), (own("/b"),))


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
