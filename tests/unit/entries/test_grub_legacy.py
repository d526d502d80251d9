"""menu.lst and grub.conf of GRUB legacy."""

from __future__ import annotations

import pytest

from pykexec.entries import EntryModule
from pykexec.entries.grub_legacy import parse_grub_legacy
from tests.builders.plain_configs import GRUB_CONF, MENU_LST, around


def test_debians() -> None:
    found = parse_grub_legacy(MENU_LST, "menu.lst", around())
    first, second = found.entries
    assert (first.kernel, first.initrds, first.cmdline) == (
        "(hd0,1)/vmlinuz-2.6.32-5-686",
        ("(hd0,1)/initrd.img-2.6.32-5-686",),
        "root=UUID=6a8c ro quiet",
    )
    assert first.where == "menu.lst, line 9"
    assert (found.default, found.reason) == (second.id, "default=1 in menu.lst")
    assert found.problems == ()


@pytest.mark.parametrize(
    ("saved", "expected", "reason"),
    [
        ("0\n#\n#\n", 0, "default=saved in grub.conf, which is 0 in default"),
        ("1\n", 1, "default=saved in grub.conf, which is 1 in default"),
        (None, None, "default=saved in grub.conf, and the file 'default' cannot be read: there is"),
        ("", None, "default=saved in grub.conf, which is empty in default: it is no number"),
    ],
)
def test_a_saved_default(saved: str | None, expected: int | None, reason: str) -> None:
    files = {} if saved is None else {"default": saved}
    found = parse_grub_legacy(GRUB_CONF, "grub.conf", around(files))
    assert found.default == (None if expected is None else found.entries[expected].id)
    assert found.reason.startswith(reason)


def test_xen() -> None:
    entry = parse_grub_legacy(GRUB_CONF, "grub.conf", around()).entries[1]
    assert (entry.kernel, entry.multiboot) == ("(hd0,1)/xen.gz", 1)
    assert entry.cmdline == "/xen.gz dom0_mem=1024M"
    assert entry.modules == (
        EntryModule("(hd0,1)/vmlinuz-2.6.32-xen", "/vmlinuz-2.6.32-xen ro root=/dev/vg/root"),
        EntryModule("(hd0,1)/initrd-xen.img", "/initrd-xen.img", is_unpacked=False),
    )


@pytest.mark.parametrize(
    ("default", "reason"),
    [
        ("2", "default=2 in m: it chainloads +1, and is no kernel"),
        ("3", "default=3 in m: there are 3 titles, counted from 0"),
        ("x", "default=x in m: it is no number"),
    ],
)
def test_a_default_that_is_none(default: str, reason: str) -> None:
    text = MENU_LST.replace("default\t\t1", f"default {default}")
    found = parse_grub_legacy(text, "m", around())
    assert (found.default, found.reason) == (None, reason)


def test_devices_and_bad_titles() -> None:
    text = """title a
uuid 6a8c-11
kernel /vmlinuz
title b
kernel (hd1,4)/vmlinuz ro
title b
kernel=/vmlinuz ro
title
initrd /x
"""
    found = parse_grub_legacy(text, "m", around())
    assert [(e.id, e.kernel, e.cmdline) for e in found.entries] == [
        ("a", "(uuid:6a8c-11)/vmlinuz", ""),
        ("b", "(hd1,5)/vmlinuz", "ro"),
        ("b#2", "/vmlinuz", "ro"),
    ]
    assert found.problems == ("m, line 8: '' has no kernel",)
    assert parse_grub_legacy("", "m", around()).reason == "m has no title"
