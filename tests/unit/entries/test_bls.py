"""Type #1 entries: their keys, their order, their counters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pykexec.entries import BootEntry, Source
from pykexec.entries.bls import (
    Wish,
    choose,
    is_entry_name,
    is_for,
    parse_bls,
    parse_loader_conf,
    sort_bls,
    split_counter,
)
from pykexec.errors import MachineError

TEXT = """# the example of the specification, and more
title        Fedora 19 (Rawhide)
sort-key     fedora
machine-id   6a9857a393724b7a981ebb5b8495b9ea
version      3.8.0-2.fc19.x86_64
options      root=UUID=6d3376e4-fc93-4509-95ec-a21d68011da2   quiet
options      rw
architecture x64
linux        /6a98/linux
initrd       /ucode
initrd       /6a98/initrd
devicetree   /6a98/board.dtb
unknown-key  with a value
novalue
"""


def test_every_key() -> None:
    assert parse_bls(TEXT, "fedora+3-1.conf", "/boot/x.conf") == BootEntry(
        source=Source.BLS,
        id="fedora.conf",
        title="Fedora 19 (Rawhide)",
        where="/boot/x.conf",
        kernel="/6a98/linux",
        initrds=("/ucode", "/6a98/initrd"),
        cmdline="root=UUID=6d3376e4-fc93-4509-95ec-a21d68011da2   quiet rw",
        device_tree="/6a98/board.dtb",
        version="3.8.0-2.fc19.x86_64",
        sort_key="fedora",
        machine_id="6a9857a393724b7a981ebb5b8495b9ea",
        architecture="x64",
        tries_left=3,
    )


def test_a_kernel_alone_will_do() -> None:
    entry = parse_bls("linux\t/vmlinuz\r\n", "a.conf", "a.conf")
    assert (entry.kernel, entry.title, entry.initrds, entry.cmdline) == ("/vmlinuz", "a", (), "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title x\n", "x.conf, line 2: the entry ends, and has no 'linux'"),
        ("linux\n", "x.conf, line 2: the entry ends, and has no 'linux'"),
        ("uki-url http://x/a.efi", "has only 'uki-url', which is fetched at boot"),
        ("efi /a.efi\nlinux /b", "x.conf, line 2: 'linux' and 'efi' exclude each other"),
        ("efi /../a.efi", "line 1: the path has '..' in it: '/../a.efi'"),
        ("linux /a\ninitrd /../etc/shadow", "line 2: the path has '..' in it: '/../etc/shadow'"),
    ],
)
def test_what_is_no_entry(text: str, message: str) -> None:
    with pytest.raises(MachineError) as caught:
        parse_bls(text, "x.conf", "x.conf")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.conf", ("a.conf", None)),
        ("a+3.conf", ("a.conf", 3)),
        ("a+0-2.conf", ("a.conf", 0)),
        ("6.1+deb13+2.conf", ("6.1+deb13.conf", 2)),
        ("6.1+deb13.conf", ("6.1+deb13.conf", None)),
        ("a+.conf", ("a+.conf", None)),
        ("name+1234567890.conf", ("name.conf", 1234567890)),
        ("name+3-1234567890.efi", ("name.efi", 3)),
        ("a+3", ("a+3", None)),
    ],
)
def test_counters(name: str, expected: tuple[str, int | None]) -> None:
    assert split_counter(name) == expected


@pytest.mark.parametrize(
    ("architecture", "arch", "expected"),
    [
        ("", "riscv64", True),
        ("x64", "x86_64", True),
        ("X64", "aarch64", False),
        ("AA64", "aarch64", True),
        ("riscv64", "riscv64", True),
    ],
)
def test_architectures(architecture: str, arch: str, expected: bool) -> None:
    entry = parse_bls(f"linux /a\narchitecture {architecture}", "a.conf", "")
    assert is_for(entry, arch) is expected


def entry(ident: str, **more: Any) -> BootEntry:
    return replace(BootEntry(Source.BLS, ident, ident, ident, "/a"), **more)


SORTED = [
    entry("zz.conf", sort_key="a", version="2"),
    entry("z1.conf", sort_key="b", machine_id="", version="9"),
    entry("z2.conf", sort_key="b", machine_id="1", version="10"),
    entry("z3.conf", sort_key="b", machine_id="1", version="9", tries_left=1),
    entry("y9.conf", sort_key="b", machine_id="1", version="8"),
    entry("y8.conf", sort_key="b", machine_id="1", version="8"),
    # Without a sort key, only the file's name counts.
    entry("k-6.12.conf", version="1"),
    entry("k-6.9.conf", version="2"),
    entry("k-6.9~rc1.conf"),
    # What has failed to boot comes last.
    entry("k-6.13.conf", sort_key="a", tries_left=0),
    entry("k-6.14.conf", tries_left=0),
]


def test_order() -> None:
    assert [item.id for item in sort_bls(reversed(SORTED))] == [item.id for item in SORTED]
    assert sort_bls([]) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("timeout 3\ndefault  debian-*\n", {"timeout": "3", "default": "debian-*"}),
        ("#default a\ndefault a\ndefault b", {"default": "b"}),
        ("default", {}),
        ("preferred a.conf\n", {"preferred": "a.conf"}),
    ],
)
def test_loader_conf(text: str, expected: dict[str, str]) -> None:
    assert parse_loader_conf(text) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("k-6.9.conf", "k-6.9.conf"),
        ("k-6.9", "k-6.9.conf"),
        ("K-6.*", "k-6.12.conf"),
        ("*", "zz.conf"),
        ("k-6.1[34]*", "k-6.13.conf"),
    ],
)
def test_patterns(pattern: str, expected: str) -> None:
    found = choose(SORTED, [Wish("default", pattern)])
    assert found.entry is not None
    assert (found.entry.id, found.reason, found.problems) == (expected, "default", ())


def test_a_wish_that_nothing_fulfils_is_told() -> None:
    found = choose(SORTED, [Wish("one", "nothing"), Wish("two", "z1*")])
    assert found.entry is SORTED[1]
    assert found.problems == ("one names 'nothing', which is no entry",)
    assert choose([], []).entry is None


def test_a_preferred_entry_has_tries_left() -> None:
    wishes = [Wish("preferred", "k-6.13*", takes_bad=False), Wish("default", "k-6.13*")]
    found = choose(SORTED, wishes)
    assert found.entry is SORTED[-2]
    assert found.problems == ("preferred names 'k-6.13*', which is no entry that has tries left",)


@pytest.mark.parametrize("name", ["auto-windows", "auto-osx", "AUTO-efi-default", "auto-*"])
def test_what_systemd_boot_finds_by_itself_is_no_kernel(name: str) -> None:
    found = choose(SORTED, [Wish("default", name)])
    assert found.entry is None
    assert (
        found.reason == f"default: {name}, an entry of systemd-boot's own that is no Linux kernel"
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.conf", True), ("A.CONF", True), ("auto-x.conf", False), (".a.conf", False), ("a", False)],
)
def test_names_of_entries(name: str, expected: bool) -> None:
    assert is_entry_name(name) is expected


@pytest.mark.parametrize("key", ["efi", "uki"])
def test_an_efi_program(key: str) -> None:
    found = parse_bls(f"title A\n{key} /EFI/Linux/a.efi\noptions x\n", "a.conf", "a.conf")
    assert (found.kernel, found.is_efi_program, found.cmdline) == ("/EFI/Linux/a.efi", True, "x")


def test_overlays_are_told() -> None:
    found = parse_bls("linux /a\ndevicetree /b\ndevicetree-overlay /o/a.dtbo /o/b.dtbo", "a", "a")
    assert found.notes == ("the boot loader applies the device tree overlays /o/a.dtbo /o/b.dtbo",)
