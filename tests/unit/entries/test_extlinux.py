"""Configurations of Syslinux and of U-Boot, as they and their documents write them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pykexec.entries import BootEntry, EntryModule, Source
from pykexec.entries.extlinux import parse_extlinux
from pykexec.entries.menu_reading import Surroundings
from tests.builders.boot_configs import EXTLINUX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pykexec.entries.menu_reading import MenuReading


def parse(text: str, where: str = "e.conf", files: Mapping[str, str] | None = None) -> MenuReading:
    def nested(name: str, where: str) -> tuple[str, str] | str:
        assert where
        return (files[name], name) if files and name in files else "there is no such file"

    return parse_extlinux(text, where, Surroundings(nested))


def test_u_boots() -> None:
    found = parse(EXTLINUX)
    assert (found.default, found.reason, found.problems) == ("l1", "DEFAULT of e.conf", ())
    assert [replace(entry, notes=()) for entry in found.entries] == [
        BootEntry(
            source=Source.EXTLINUX,
            id="l0",
            title="Debian GNU/Linux 13 6.12.57",
            where="e.conf, line 8",
            kernel="/boot/vmlinuz-6.12.57",
            initrds=("/boot/initrd.img-6.12.57",),
            cmdline="root=/dev/mmcblk0p2 ro quiet",
        ),
        BootEntry(
            source=Source.EXTLINUX,
            id="l1",
            title="Debian GNU/Linux 13 6.12.48",
            where="e.conf, line 15",
            kernel="../vmlinuz-6.12.48",
            initrds=("/boot/early.cpio", "/boot/initrd.img-6.12.48"),
            cmdline="root=/dev/mmcblk0p2 ro single",
            device_tree="/boot/board.dtb",
        ),
    ]


SYSLINUX = """
UI vesamenu.c32
DEFAULT vesamenu.c32
APPEND quiet
LABEL live
  KERNEL /live/vmlinuz
  APPEND initrd=/live/a,/live/b boot=live
LABEL plain
  MENU DEFAULT
  LINUX /live/vmlinuz
LABEL bare
  LINUX /live/vmlinuz
  APPEND -
LABEL hdt
  KERNEL hdt.c32
LABEL disk
  LOCALBOOT 0
"""


def test_syslinuxs() -> None:
    found = parse(SYSLINUX, "s.cfg")
    assert (found.default, found.problems) == ("plain", ())
    assert [(e.id, e.cmdline, e.initrds) for e in found.entries] == [
        ("live", "boot=live", ("/live/a", "/live/b")),
        ("plain", "quiet", ()),
        ("bare", "", ()),
    ]


@pytest.mark.parametrize(
    ("head", "expected", "reason"),
    [
        ("", "live", "the first label of e.conf"),
        ("default bare", "bare", "DEFAULT of e.conf"),
        ("default bare single", "bare single", "DEFAULT of e.conf"),
        ("default nothing", None, "DEFAULT of e.conf names 'nothing', which is no label"),
        ("default live\nontimeout bare", "bare", "ONTIMEOUT of e.conf"),
        ("ontimeout hdt", None, "ONTIMEOUT of e.conf: 'hdt' starts hdt.c32, which is no Linux"),
        ("default disk", None, "DEFAULT of e.conf: 'disk' boots from a disk (LOCALBOOT 0)"),
        ("default /k root=/dev/sda1", "/k", "DEFAULT of e.conf"),
        ("default menu.c32", "live", "the first label of e.conf"),
    ],
)
def test_defaults(head: str, expected: str | None, reason: str) -> None:
    text = SYSLINUX.replace("DEFAULT vesamenu.c32", head).replace("  MENU DEFAULT\n", "")
    found = parse(text)
    assert found.default == expected
    assert found.reason.startswith(reason)


def test_a_timeout_without_a_menu_is_none() -> None:
    labels = "label a\nlinux /a\nlabel b\nlinux /b\n"
    assert parse(f"default a\nontimeout b\nprompt 0\n{labels}").default == "a"
    assert parse(f"default a\nontimeout b\nprompt 1\n{labels}").default == "b"
    assert parse(f"default vesamenu.c32\nontimeout b\nprompt 0\n{labels}").default == "b"
    assert parse(f"default menu.c32 other.cfg\nontimeout b\n{labels}").default == "b"


def test_words_behind_the_default_are_added() -> None:
    found = parse("default a single\nlabel a\nlinux /a\nappend root=/dev/sda1 ro\n")
    assert [(e.id, e.cmdline) for e in found.entries] == [
        ("a", "root=/dev/sda1 ro"),
        ("a single", "root=/dev/sda1 ro single"),
    ]


def test_a_default_that_is_a_kernel() -> None:
    found = parse("default /vmlinuz initrd=/i.img root=/dev/sda1\nlabel a\nlinux /a\n")
    entry = found.entries[-1]
    assert (entry.kernel, entry.initrds, entry.cmdline) == (
        "/vmlinuz",
        ("/i.img",),
        "root=/dev/sda1",
    )


@pytest.mark.parametrize(
    ("default", "labels"),
    [
        ("Fedora (3.12)", ("Fedora (3.15)", "Fedora (3.12)")),
        ("Fedora-Cloud-Base 41 rescue", ("Fedora-Cloud-Base", "Fedora-Cloud-Base 41 rescue")),
        ("primary kernel", ("primary kernel",)),
    ],
)
def test_a_label_has_blanks(default: str, labels: tuple[str, ...]) -> None:
    text = f"default {default}\n" + "".join(f"label {name}\nkernel /k\n" for name in labels)
    found = parse(text)
    assert (found.default, tuple(e.id for e in found.entries)) == (default, labels)


def test_nothing() -> None:
    found = parse("# only this\n")
    assert (found.entries, found.default, found.problems) == ((), None, ())
    assert found.reason == "e.conf has no label that can be started"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("label\nlinux /x\n", "e.conf, line 1: label '' cannot be named: LABEL is without a value"),
        ("label b\nlinux", "e.conf, line 1: label 'b' has LINUX without a value"),
        ("label b\nappend x", "e.conf, line 1: label 'b' names no kernel"),
        (
            "label b\nkernel mboot.c32\n",
            "e.conf, line 1: label 'b' starts mboot.c32 without a kernel in its APPEND",
        ),
    ],
)
def test_a_bad_label_is_one_label(text: str, problem: str) -> None:
    found = parse(f"{text}\nlabel good\nlinux /a\n")
    assert ([e.id for e in found.entries], found.problems) == (["good"], (problem,))


@pytest.mark.parametrize("line", ["kernel /k", "Linux /k", "initrd /i", "fdt /f", "menu label x"])
def test_lines_before_the_first_label_are_passed_over(line: str) -> None:
    found = parse(f"{line}\nlabel one\nlinux /a\nappend a=1\n")
    assert [(e.id, e.kernel, e.cmdline, e.initrds, e.device_tree) for e in found.entries] == [
        ("one", "/a", "a=1", (), None)
    ]
    assert found.problems == ()


def test_help_is_no_directive() -> None:
    """As Debian's live images have it."""
    text = """label main
  linux /a
  text help
Linux as always.
LABEL is not one
Append nomodeset for old cards.
  endtext
  append ro
"""
    (entry,) = parse(text).entries
    assert (entry.kernel, entry.cmdline) == ("/a", "ro")
    assert parse("label a\nlinux /a\ntext help\nappend x\n").problems == (
        "e.conf: TEXT without ENDTEXT",
    )


def test_files_within_files() -> None:
    files = {
        "menu.cfg": "include stdmenu.cfg\ninclude live.cfg\n",
        "stdmenu.cfg": "menu background splash.png\n",
        "live.cfg": "label live\nlinux /live/vmlinuz\nappend boot=live\n",
    }
    found = parse("default live\nMENU INCLUDE menu.cfg Title\n", files=files)
    assert [(e.id, e.where, e.cmdline) for e in found.entries] == [
        ("live", "live.cfg, line 1", "boot=live")
    ]
    assert (found.default, found.problems) == ("live", ())


def test_files_that_cannot_be_taken_in() -> None:
    found = parse("include gone.cfg\ninclude\nlabel a\nlinux /a\n")
    assert [e.id for e in found.entries] == ["a"]
    assert found.problems == (
        "e.conf, line 1: cannot read 'gone.cfg': there is no such file",
        "e.conf, line 2: INCLUDE without a file",
    )


def test_files_that_take_themselves_in() -> None:
    """Each label is there once, and no boot loader gets to an end of it."""
    files = {"a.cfg": "include a.cfg\n" * 100 + "label a\nlinux /a\n", "b.cfg": "include e.conf\n"}
    found = parse("include a.cfg\ndefault a\n", files=files)
    assert [e.id for e in found.entries] == ["a"]
    assert found.problems[:2] == (
        "a.cfg, line 1: a.cfg is being read already, and is left out",
        "a.cfg, line 2: a.cfg is being read already, and is left out",
    )
    assert (found.default, found.reason) == (
        None, "a.cfg, line 1 takes in what has it: no boot loader comes to an end of it",
    )  # fmt: skip
    text = "default b\ninclude b.cfg\nlabel b\nlinux /b\n"
    found = parse(text, files={**files, "e.conf": text})
    assert ([e.id for e in found.entries], found.default) == (["b"], None)
    assert found.problems == ("b.cfg, line 1: e.conf is being read already, and is left out",)


def test_too_many_files() -> None:
    files = {f"{n}.cfg": f"include {n + 1}.cfg\n" for n in range(20)}
    assert "15.cfg" in parse("include 0.cfg\n", files=files).problems[0]
    files = {"a.cfg": "label a\nlinux /a\n"}
    found = parse("include a.cfg\n" * 200, files=files)
    assert found.problems == ("e.conf: 128 files taken in are the most, and the rest is left",)


@pytest.mark.parametrize(
    ("append", "kernel", "cmdline", "modules"),
    [
        (
            "xen.gz dom0_mem=max:4G --- vmlinuz-1 placeholder root=/dev/mapper/q --- i.img",
            "xen.gz",
            "xen.gz dom0_mem=max:4G",
            (
                EntryModule("vmlinuz-1", "vmlinuz-1 placeholder root=/dev/mapper/q"),
                EntryModule("i.img", "i.img"),
            ),
        ),
        ("/boot/gnumach", "/boot/gnumach", "/boot/gnumach", ()),
        (
            "-solaris unix -B console=ttya --- boot_archive",
            "unix",
            "unix -B console=ttya",
            (EntryModule("boot_archive", "boot_archive"),),
        ),
        ("xen.gz --- --- vmlinuz", "xen.gz", "xen.gz", (EntryModule("vmlinuz", "vmlinuz"),)),
    ],
)
def test_multiboot(
    append: str, kernel: str, cmdline: str, modules: tuple[EntryModule, ...]
) -> None:
    (entry,) = parse(f"label x\nkernel mboot.c32\nappend {append}\n").entries
    assert (entry.kernel, entry.cmdline, entry.modules) == (kernel, cmdline, modules)
    assert entry.multiboot == 1


@pytest.mark.parametrize(
    ("lines", "starts"),
    [
        ("localboot -1", "boots from a disk (LOCALBOOT -1)"),
        ("com32 chain.c32\nappend hd0 1", "starts chain.c32 (COM32), which is no Linux kernel"),
        ("kernel /boot/chain.c32\nappend hd0", "starts /boot/chain.c32, which is no Linux kernel"),
        ("kernel memdisk\ninitrd dos.img", "starts memdisk, which is no Linux kernel"),
        ("config other.cfg", "starts other.cfg (CONFIG), which is no Linux kernel"),
        ("linux /k\nmenu disable", "is a line of the menu, and starts nothing"),
        ("linux /k\nmenu goto other", "is a line of the menu, and starts nothing"),
        ("linux /k\nlocalboot 0", "boots from a disk (LOCALBOOT 0)"),
    ],
)
def test_labels_that_start_something_else(lines: str, starts: str) -> None:
    found = parse(f"default x\nlabel x\n{lines}\nlabel y\nlinux /y\n")
    assert [e.id for e in found.entries] == ["y"]
    assert (found.default, found.reason) == (None, f"DEFAULT of e.conf: 'x' {starts}")
    assert found.problems == ()


def test_linux_is_linux_whatever_it_is_called() -> None:
    text = "label a\nlinux /vmlinuz.img\nlabel b\nkernel linux.c32\nappend /k initrd=/i quiet\n"
    assert [(e.kernel, e.initrds, e.cmdline) for e in parse(text).entries] == [
        ("/vmlinuz.img", (), ""),
        ("/k", ("/i",), "quiet"),
    ]


def test_what_u_boot_does_beside_is_told() -> None:
    text = """label a
  kernel /fitImage#conf-board.dtb
  fdtdir /dtbs/6.12
  fdtoverlays /o/a.dtbo /o/b.dtbo
  ipappend 2
  append root=${bootdev} ro
"""
    (entry,) = parse(text).entries
    assert entry.kernel == "/fitImage#conf-board.dtb"
    assert entry.notes == (
        "U-Boot takes the board's device tree from /dtbs/6.12",
        "U-Boot applies the device tree overlays /o/a.dtbo /o/b.dtbo",
        "IPAPPEND 2: the boot loader adds words of the machine",
    )
    assert entry.obstacle == "its command line has ${bootdev}, which only the boot loader knows"


def test_two_labels_of_one_name() -> None:
    """Syslinux takes the first, U-Boot the last."""
    text = "default a\nlabel a\nlinux /1\nlabel a\nlinux /2\n"
    found = parse(text)
    assert [(e.id, e.kernel) for e in found.entries] == [("a", "/1"), ("a#2", "/2")]
    assert (found.default, found.reason) == (
        None,
        "DEFAULT of e.conf: there are two labels 'a', and boot loaders differ in which counts",
    )
    assert parse(text.replace("/2", "/1")).default == "a"


@pytest.mark.parametrize(
    ("lines", "kernel", "cmdline", "initrds"),
    [
        ("kernel vmlinuz ro quiet", "vmlinuz", "ro quiet", ()),
        ("linux\tvmlinuz\tro  quiet\nappend root=/dev/sda1", "vmlinuz",
         "ro  quiet root=/dev/sda1", ()),
        ("kernel vmlinuz initrd=i.img ro\nappend quiet", "vmlinuz", "ro quiet", ("i.img",)),
        ("kernel vmlinuz initrd=i.img\ninitrd i.img", "vmlinuz", "", ("i.img",)),
        ("com32 linux.c32\nappend /k initrd=/i quiet", "/k", "quiet", ("/i",)),
        ("kernel linux.c32 /k\nappend initrd=/i quiet", "/k", "quiet", ("/i",)),
    ],
)  # fmt: skip
def test_words_behind_the_kernel(
    lines: str, kernel: str, cmdline: str, initrds: tuple[str, ...]
) -> None:
    """They are arguments, in front of those of APPEND."""
    (entry,) = parse(f"label a\n{lines}\n").entries
    assert (entry.kernel, entry.cmdline, entry.initrds) == (kernel, cmdline, initrds)
    assert entry.obstacle == ""


def test_modules_by_com32() -> None:
    (entry,) = parse("label x\ncom32 mboot.c32\nappend xen.gz --- vmlinuz a\n").entries
    assert (entry.kernel, entry.multiboot, entry.modules) == (
        "xen.gz", 1, (EntryModule("vmlinuz", "vmlinuz a"),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lines", "obstacle"),
    [
        ("append initrd=/b ro\ninitrd /a", "it has the initrds /a and /b: boot loaders differ in "
         "which count"),
        ("append initrd=/a initrd=/b", "it has the initrds /a and /b: boot loaders differ in "
         "which count"),
        ("initrd /a\ninitrd /b", "it has INITRD twice, and boot loaders differ in which one "
         "counts"),
    ],
)  # fmt: skip
def test_what_boot_loaders_differ_in(lines: str, obstacle: str) -> None:
    (entry,) = parse(f"label a\nlinux /k\n{lines}\n").entries
    assert entry.obstacle == obstacle


def test_a_kernel_behind_what_starts_something_else() -> None:
    found = parse("default a\nlabel a\nlocalboot 0\nlinux /k\n")
    assert (found.entries, found.default) == ((), None)
    assert found.problems == (
        "e.conf, line 2: label 'a' has a kernel, and something else that it starts: loaders differ "
        "in it",
    )


SUBMENUS = """UI menu.c32
MENU BEGIN more
  LABEL old
    LINUX /old
    MENU DEFAULT
MENU END
LABEL new
  LINUX /new
APPEND stays
LABEL shadow
  MENU HIDE
  LINUX /shadow
MENU SEPARATOR
APPEND quiet
SYSAPPEND 0x3
"""


@pytest.mark.parametrize(
    ("head", "tail", "default", "reason"),
    [
        ("", "", None, "the first label of e.conf: 'more' opens a menu of its own"),
        ("DEFAULT new\n", "", "new", "DEFAULT of e.conf"),
        ("DEFAULT old\n", "", "old", "DEFAULT of e.conf"),
        # DEFAULT counts before MENU DEFAULT, with both loaders.
        ("DEFAULT old\n", "LABEL x\nLINUX /x\nMENU DEFAULT\n", "old", "DEFAULT of e.conf"),
        ("", "LABEL x\nLINUX /x\nMENU DEFAULT\n", "x", "MENU DEFAULT of e.conf"),
        ("LABEL y\nLINUX /y\nMENU DEFAULT\n", "LABEL x\nLINUX /x\nMENU DEFAULT\n", None,
         "MENU DEFAULT of e.conf stands in 2 labels, and boot loaders differ in which counts"),
        ("MENU SAVE\n", "", None,
         "e.conf has Syslinux start what was chosen last (MENU SAVE)"),
        ("DEFAULT chain.c32 hd0\n", "", None,
         "DEFAULT of e.conf starts chain.c32, which is no Linux kernel"),
        ("DEFAULT /boot/syslinux/vesamenu.c32\n", "LABEL x\nLINUX /x\nMENU DEFAULT\n", "x",
         "MENU DEFAULT of e.conf"),
    ],
)  # fmt: skip
def test_menus_within_each_other(head: str, tail: str, default: str | None, reason: str) -> None:
    found = parse(head + SUBMENUS + tail)
    assert (found.default, found.reason) == (default, reason)
    assert found.problems == ()
    cmdlines = {entry.id: entry.cmdline for entry in found.entries}
    assert cmdlines["new"] == "stays"
    assert cmdlines["old"] == "quiet"
    assert found.entries[-1].notes == ("SYSAPPEND 0x3: the boot loader adds words of the machine",)


def test_a_menu_that_is_not_known() -> None:
    found = parse("UI hdt.c32\ndefault a\nlabel a\nlinux /a\n")
    assert (found.default, found.reason) == (
        None, "UI of e.conf starts hdt.c32, which is not known here",
    )  # fmt: skip


ALPINE = """# Generated by update-extlinux 6.04_pre1-r15
DEFAULT menu.c32
PROMPT 0
MENU TITLE Alpine/Linux Boot Menu
MENU HIDDEN
MENU AUTOBOOT Alpine will be booted automatically in # seconds.
TIMEOUT 10
LABEL lts
  MENU DEFAULT
  MENU LABEL Linux lts
  LINUX vmlinuz-lts
  INITRD initramfs-lts
  FDTDIR dtbs-lts
  APPEND root=UUID=6a8c modules=sd-mod,usb-storage,ext4 quiet rootfstype=ext4
LABEL virt
  MENU LABEL Linux virt
  LINUX vmlinuz-virt
  INITRD initramfs-virt
  APPEND root=UUID=6a8c
MENU SEPARATOR
"""
NIXOS = """# Generated file, all changes will be lost on nixos-rebuild!
DEFAULT nixos-default
MENU TITLE ------------------------------------------------------------
TIMEOUT 50

LABEL nixos-default
  MENU LABEL NixOS - Default
  LINUX ../nixos/abc-linux-6.12.57-Image
  INITRD ../nixos/def-initrd-linux-6.12.57-initrd
  APPEND init=/nix/store/x-nixos-system/init console=ttyS0 loglevel=4
  FDTDIR ../nixos/abc-linux-6.12.57-dtbs
"""
JETSON = """TIMEOUT 30
DEFAULT primary

MENU TITLE L4T boot options

LABEL primary
      MENU LABEL primary kernel
      LINUX /boot/Image
      FDT /boot/dtb/kernel_tegra.dtb
      INITRD /boot/initrd
      APPEND ${cbootargs} root=PARTUUID=6a8c rw rootwait
"""


@pytest.mark.parametrize(
    ("text", "default", "kernel", "obstacle"),
    [
        (ALPINE, "lts", "vmlinuz-lts", ""),
        (NIXOS, "nixos-default", "../nixos/abc-linux-6.12.57-Image", ""),
        (
            JETSON,
            "primary",
            "/boot/Image",
            "its command line has ${cbootargs}, which only the boot loader knows",
        ),
    ],
)
def test_what_distributions_write(text: str, default: str, kernel: str, obstacle: str) -> None:
    found = parse(text)
    assert (found.default, found.problems) == (default, ())
    entry = found.entries[0]
    assert (entry.id, entry.kernel, entry.obstacle) == (default, kernel, obstacle)


def test_mutations() -> None:
    """Whatever a file has become, there is an answer."""
    generator = random.Random(13)
    for text in (EXTLINUX, SYSLINUX):
        for _ in range(100):
            data = bytearray(text.encode())
            for _ in range(generator.randint(1, 12)):
                at = generator.randrange(len(data))
                data[at : at + generator.randint(0, 9)] = generator.choice(
                    (b"", b"\n", b"\0", b"label ", b"\xff", b"include e\n", b"default a b\n")
                )
            found = parse(data.decode("utf-8", "surrogateescape"), files={"e": SYSLINUX})
            assert found.default is None or found.default in [e.id for e in found.entries]
