"""extlinux.conf, as U-Boot's and Syslinux's are written."""

from __future__ import annotations

import pytest

from pykexec.entries import BootEntry, Source
from pykexec.entries.extlinux import parse_extlinux
from pykexec.errors import MachineError
from tests.builders.boot_configs import EXTLINUX


def test_u_boots() -> None:
    found = parse_extlinux(EXTLINUX, "e.conf")
    assert found.default == "l1"
    assert found.entries == (
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
    )


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
    found = parse_extlinux(SYSLINUX, "s.cfg")
    assert found.default == "plain"
    assert [(e.id, e.cmdline, e.initrds) for e in found.entries] == [
        ("live", "boot=live", ("/live/a", "/live/b")),
        ("plain", "quiet", ()),
        ("bare", "", ()),
    ]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("", "live"),
        ("default bare quiet", "bare"),
        ("default nothing", "live"),
        ("default live\nontimeout bare", "bare"),
        ("ontimeout hdt", "live"),
    ],
)
def test_defaults(head: str, expected: str) -> None:
    text = SYSLINUX.replace("DEFAULT vesamenu.c32", head).replace("  MENU DEFAULT\n", "")
    assert parse_extlinux(text, "").default == expected


def test_nothing() -> None:
    found = parse_extlinux("# only this\n", "")
    assert (found.entries, found.default) == ((), None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nlabel\n", "e.conf, line 2: 'label' without a value"),
        ("label a\nlinux", "e.conf, line 2: 'linux' without a value"),
        ("# x\nKernel /a", "e.conf, line 2: 'Kernel' before the first label"),
    ],
)
def test_what_is_malformed(text: str, message: str) -> None:
    with pytest.raises(MachineError) as caught:
        parse_extlinux(text, "e.conf")
    assert caught.value.message == message
