"""blscfg and uki: the menu out of Boot Loader Specification entries."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pykexec.entries.grub_snippets import package_order, rpm_order
from tests.builders.grub_files import read

PLACE = "/loader/entries"


def fedora(version: str, more: str = "") -> str:
    return (
        f"title Fedora {version}\nversion {version}\nlinux /vmlinuz-{version}\n"
        f"initrd /initramfs-{version}.img $tuned_initrd\noptions $kernelopts $tuned_params\n"
        f"grub_arg --unrestricted\n{more}"
    )


FEDORA = {f"{PLACE}/id-6.{n}.conf": fedora(f"6.{n}") for n in (9, 12, 11)}
SETS = "set kernelopts='root=/dev/vda ro'\n"


def ids(text: str, files: dict[str, str]) -> list[str]:
    return [entry.id for entry in read(text, files).menu.entries()]


def test_entries() -> None:
    text = SETS + "set default=id-6.11\nblscfg\nset tuned_params=skew_tick=1\n"
    reading = read(text, FEDORA)
    assert [entry.id for entry in reading.menu.entries()] == ["id-6.12", "id-6.11", "id-6.9"]
    first = reading.menu.entries()[0]
    assert first.title == "Fedora 6.12"
    assert first.where == f"{PLACE}/id-6.12.conf"
    assert first.kernel.path == "/vmlinuz-6.12"
    # Variables of 'options' are filled in by blscfg, others when the entry runs.
    assert first.cmdline == "root=/dev/vda ro"
    assert [file.path for file in first.initrds] == ["/initramfs-6.12.img"]
    assert reading.chosen.item is not None
    assert reading.chosen.item.entry == reading.menu.entries()[1]
    assert reading.problems == ()


def test_tuned() -> None:
    text = SETS + "set tuned_params=skew_tick=1\nset tuned_initrd=/tuned.img\nblscfg"
    first = read(text, FEDORA).menu.entries()[0]
    assert first.cmdline == "root=/dev/vda ro skew_tick=1"
    assert [file.path for file in first.initrds] == ["/initramfs-6.12.img", "/tuned.img"]


def test_a_variable_that_nothing_sets_is_no_word() -> None:
    assert [e.cmdline for e in read("blscfg", FEDORA).menu.entries()] == ["", "", ""]


def test_what_goes_before() -> None:
    files = {f"{PLACE}/a.conf": "linux /boot/k\ninitrd /boot/i\n", f"{PLACE}/b.conf": "linux /x/k"}
    text = "set default_kernelopts='root=x ro'\nset early_initrd='ucode.img more.img'\nblscfg"
    b, a = read(text, files).menu.entries()
    assert (a.title, a.cmdline) == ("/boot/k", "root=x ro")
    assert [f.path for f in a.initrds] == ["/boot/ucode.img", "/boot/more.img", "/boot/i"]
    assert [f.path for f in b.initrds] == ["/x/ucode.img", "/x/more.img"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("blscfg", ["id-6.12", "id-6.11", "id-6.9"]),
        ("bls_import", ["id-6.12", "id-6.11", "id-6.9"]),
        ("blscfg default\nblscfg non-default", ["id-6.9", "id-6.12", "id-6.11"]),
        ("blscfg --show-default", ["id-6.9"]),
        ("blscfg -n", ["id-6.12", "id-6.11"]),
        ("blscfg id-6.11", ["id-6.11"]),
        ("blscfg --entry id-6.11.conf", ["id-6.11"]),
        (f"blscfg ($root){PLACE}/id-6.9.conf", ["id-6.9"]),
        ("blscfg (hd0)/x", []),
        ("blscfg --path=/none", []),
        ("blscfg --frob", []),
        ("blscfg\nblscfg", ["id-6.12", "id-6.11", "id-6.9"]),
    ],
)
def test_arguments(command: str, expected: list[str]) -> None:
    assert ids(f"default=id-6.9\n{command}", FEDORA) == expected


def test_the_default_by_number_and_title() -> None:
    assert ids("default=1\nblscfg default", FEDORA) == ["id-6.11"]
    assert ids("default='Fedora 6.9'\nblscfg default", FEDORA) == ["id-6.9"]


def test_places() -> None:
    boot = {name.replace("/loader", "/boot/loader"): text for name, text in FEDORA.items()}
    assert len(ids("blscfg", boot)) == 3
    own = {name.replace(PLACE, "/e"): text for name, text in FEDORA.items()}
    assert len(ids("set blsdir=/e\nblscfg", own)) == 3
    reading = read("blscfg", {})
    assert reading.problems == (
        "/boot/grub/grub.cfg, line 1: blscfg finds no entries: /loader/entries: there is no such "
        "file",
    )


def test_what_grub_does_not_read() -> None:
    """It stops at an empty line, and takes one line of options."""
    files = {f"{PLACE}/a.conf": "linux /k\n# c\noptions a\noptions b\n\ninitrd /i\n"}
    reading = read("blscfg", files)
    (entry,) = reading.menu.entries()
    assert (entry.cmdline, entry.initrds) == ("a", ())
    assert reading.problems == (
        f"{PLACE}/a.conf, line 6: GRUB stops at the line without a value before it",
        f"{PLACE}/a.conf: GRUB takes the first 'options' only",
    )
    assert ids("blscfg", {f"{PLACE}/a.conf": "title x"}) == []


def test_an_id_that_begins_with_a_number() -> None:
    """Fedora's machine ids: its GRUB looks for ids first."""
    files = {f"{PLACE}/6a98-6.{n}.conf": fedora(f"6.{n}") for n in range(9)}
    reading = read("default=6a98-6.3\nblscfg", files)
    assert reading.chosen.item is not None
    assert reading.chosen.item.id == "6a98-6.3"


def test_orders_that_differ_between_grubs() -> None:
    files = {
        f"{PLACE}/r.conf": "version 0-rescue\nlinux /r",
        f"{PLACE}/a.conf": "version 4.18\nlinux /a",
    }
    reading = read("blscfg", files)
    assert reading.chosen.item is None
    assert "as older ones do by versions in them" in reading.chosen.doubt
    assert read("default=a\nblscfg", files).chosen.item is not None


def test_options_are_words_of_the_script() -> None:
    files = {f"{PLACE}/a.conf": "linux /k\noptions a  'b  c' \"d$x\" e\\ f $x\n"}
    reading = read("set x='1 2'\nblscfg", files)
    assert reading.menu.entries()[0].cmdline == 'a "b  c" "d1 2" "e f" 1 2'


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ("6.12", "6.9"),
        ("1.0", "1.0~rc1"),
        ("1.0.1", "1.0"),
        ("1.1", "1.a"),
        ("1.b", "1.a"),
        ("010", "9"),
        ("1.0a", "1.0"),
    ],
)
def test_rpms_order(newer: str, older: str) -> None:
    assert (rpm_order(newer, older), rpm_order(older, newer)) == (1, -1)
    assert rpm_order(newer, newer) == rpm_order("1.0", "1-0") == 0


def test_the_order_of_packages() -> None:
    names = ["m-5.14.0-70.el9", "m-5.14.0-9.el9", "m-0-rescue", "a-6.0-1"]
    assert all(package_order(x, y) == 1 for x, y in pairwise(names))


UKIS = {
    "/EFI/Linux/a-6.1.efi": "UKI|Arch|root=x",
    "/EFI/Linux/a-6.10.efi": "UKI|Arch|root=y",
    "/EFI/Linux/no.efi": "MZ",
    "/EFI/Linux/README": "",
}


def test_ukis() -> None:
    reading = read("default=a-6.1.efi\nuki\nmenuentry 'F' { fwsetup }", UKIS)
    assert [(e.id, e.title, e.cmdline) for e in reading.menu.entries()] == [
        ("a-6.10.efi", "Arch", "root=y"),
        ("a-6.1.efi", "Arch", "root=x"),
    ]
    assert "/EFI/Linux/no.efi: it is no UKI" in reading.problems[0]
    assert reading.chosen.item is not None
    assert reading.chosen.item.id == "a-6.1.efi"
    assert ids("default=a-6.1.efi\nuki -d", UKIS) == ["a-6.1.efi"]
    assert "uki finds no images in /EFI/Linux" in read("uki").problems[0]
