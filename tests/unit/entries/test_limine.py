"""Limine's configurations, of both forms."""

from __future__ import annotations

import pytest

from pykexec.entries import EntryModule
from pykexec.entries.limine import parse_limine
from tests.builders.plain_configs import LIMINE_CFG, LIMINE_CONF, around


def test_the_new_form() -> None:
    found = parse_limine(LIMINE_CONF, "limine.conf", around())
    assert [(e.id, e.title, e.kernel, e.initrds, e.cmdline) for e in found.entries] == [
        (
            "Arch Linux>linux",
            "linux",
            f"/abc/linux/vmlinuz-linux#{'ab' * 64}",
            ("/abc/linux/initramfs-linux",),
            "quiet root=UUID=6a8c rw",
        ),
        (
            "Arch Linux>linux-lts",
            "linux-lts",
            "(uuid:6a8cfbf3-0e3d)/vmlinuz-linux-lts",
            ("(label:BOOT)/initramfs-linux-lts",),
            "root=UUID=6a8c ro",
        ),
    ]
    assert (found.default, found.problems) == ("Arch Linux>linux", ())
    assert found.reason == "default_entry=2 in limine.conf"


def test_the_old_form() -> None:
    found = parse_limine(LIMINE_CFG, "limine.cfg", around())
    linux, hurd = found.entries
    assert (linux.kernel, linux.initrds, linux.cmdline) == (
        "/vmlinuz",
        ("/initramfs.img",),
        "root=/dev/sda2 ro",
    )
    assert (hurd.kernel, hurd.multiboot, hurd.cmdline) == (
        "(hdd:1:2)/boot/gnumach",
        1,
        "gnumach root=hd0s2",
    )
    assert hurd.modules == (EntryModule("/ext2fs.static", "ext2fs --readonly", is_unpacked=False),)
    assert found.default == "Linux"


@pytest.mark.parametrize(
    ("default", "expected", "reason"),
    [
        ("3", "Arch Linux>linux-lts", "default_entry=3 in c"),
        ("Arch Linux/linux-lts", "Arch Linux>linux-lts", "Arch Linux/linux-lts in c"),
        ("1", None, "default_entry=1 in c: 'Arch Linux' is a directory of entries"),
        ("4", None, "'Windows' starts by the protocol 'efi', and is no Linux kernel"),
        ("9", None, "which is none of the 4 entries that the menu shows"),
    ],
)
def test_defaults(default: str, expected: str | None, reason: str) -> None:
    text = LIMINE_CONF.replace("default_entry: 2", f"default_entry: {default}")
    found = parse_limine(text, "c", around())
    assert found.default == expected
    assert found.reason.endswith(reason)


def test_a_closed_directory_hides_its_entries() -> None:
    found = parse_limine(LIMINE_CONF.replace("/+Arch", "/Arch"), "c", around())
    assert found.default is None
    assert found.reason == (
        "default_entry=2 in c: 'Windows' starts by the protocol 'efi', and is no Linux kernel"
    )


def test_what_was_started_last() -> None:
    text = LIMINE_CONF.replace("remember_last_entry: no", "remember_last_entry: yes")
    found = parse_limine(text, "c", around())
    assert (found.default, found.reason) == (
        None,
        "c has Limine start what it started last (remember_last_entry)",
    )


def test_macros_and_lines_that_are_none() -> None:
    text = "${A}=x${A}\n${A}\nwhat\n/a\nprotocol: linux\npath: /k\ncmdline: ${ARCH} ${B}\n/b\n"
    found = parse_limine(text, "c", around())
    (entry,) = found.entries
    assert entry.obstacle == "it has the macro ${ARCH}, which only Limine knows"
    assert found.problems == (
        "c, line 2: '/NAME' or 'KEY: VALUE' is needed",
        "c, line 3: '/NAME' or 'KEY: VALUE' is needed",
    )


def test_macros() -> None:
    """All count for the whole file, the last of a name, and one that is not there is nothing."""
    text = "/a\nprotocol: linux\npath: ${K}\ncmdline: a${NONE}b ${M}\n${K}=/old\n${K}=/k\n${M}=${K}"
    (entry,) = parse_limine(text, "c", around()).entries
    assert (entry.kernel, entry.cmdline, entry.obstacle) == ("/k", "ab ${K}", "it has the macro "
        "${K}, which only Limine knows")  # fmt: skip


def test_the_first_of_a_key_counts() -> None:
    text = (
        "default_entry: 1\ndefault_entry: 2\n/a\nprotocol: linux\npath: /k\npath: /x\ncmdline: 1\n"
        "cmdline: 2\n default_entry : 2\nmodule_path: /i\nmodule_path: /j\n/b\nprotocol: linux\n"
        "path: /b\nkernel_path: /c\n"
    )
    found = parse_limine(text, "c", around())
    first, second = found.entries
    assert (found.default, first.kernel, first.cmdline, first.initrds) == (
        "a", "/k", "1", ("/i", "/j"),
    )  # fmt: skip
    assert second.obstacle == "it has path and kernel_path, and Limines differ in which counts"


def test_an_entry_that_is_in_nothing() -> None:
    found = parse_limine("/a\n///b\nprotocol: linux\npath: /k\n", "c", around())
    assert found.problems == ("c, line 2: 'b' is in nothing: Limine gives up at it",)
    assert (found.default, found.reason) == (
        None, "c has entries that are in nothing: Limine gives up at them",
    )  # fmt: skip


def test_hashes_that_do_not_count() -> None:
    text = f"hash_mismatch_panic: no\n/a\nprotocol: linux\npath: boot():/k#{'0' * 128}\n"
    (entry,) = parse_limine(text, "c", around()).entries
    assert (entry.kernel, entry.notes) == (
        "/k", ("hash_mismatch_panic is off: the hashes of its files are not checked",),
    )  # fmt: skip


def test_what_macros_expand_to_is_bounded() -> None:
    text = f"${{A}}={'x' * 1000}\nbranding: {'${A}' * 1000}\n"
    assert parse_limine(text, "c", around()).problems == (
        "c, line 2: left out, with its macros the line has 1004010 characters",
    )
