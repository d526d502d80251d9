"""Whether a crash would leave a dump: the tool, the drivers, the room."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import pytest

from pykexec.crash_setup.dump_tool import WITHOUT_UNUSED, WITHOUT_ZEROS, choose, parse_version
from pykexec.crash_setup.readiness import Image, Seen, judge
from pykexec.doctor import Finding, Level
from pykexec.errors import ImageError
from pykexec.formats.initramfs import initramfs_names
from pykexec.values.units import GIB
from tests.vm.cpio import CpioWriter

NAMES = frozenset(
    (
        "usr/lib/pykexec/capture/save",
        "usr/lib/modules/6.12/kernel/fs/ext4/ext4.ko.xz",
        "usr/lib/modules/6.12/kernel/drivers/block/virtio-blk.ko",
    )
)
SEEN = Seen(
    release="6.12.43+deb13-amd64",
    makedumpfile="1.7.8",
    image=Image("/var/lib/pykexec/capture-6.12.img", NAMES),
    drivers=frozenset(("ext4", "virtio_blk")),
    target="/var/crash",
    free=8 * GIB,
    ram=4 * GIB,
    in_use=GIB,
)


def found(seen: Seen) -> dict[str, Finding]:
    return {item.check: item for item in judge(seen)}


def test_ready() -> None:
    levels = {item.level for item in judge(SEEN)}
    assert levels == {Level.FINE}


@pytest.mark.parametrize(
    ("version", "release", "arguments"),
    [
        ("1.7.2", "6.1.0-50-amd64", WITHOUT_ZEROS),
        ("1.7.2", "6.0.12", WITHOUT_UNUSED),
        ("1.7.2", "5.10.0-30-amd64", WITHOUT_UNUSED),
        ("1.7.7", "6.12.43+deb13-amd64", WITHOUT_UNUSED),
        ("1.7.6", "6.12.43+deb13-amd64", WITHOUT_ZEROS),
        ("1.7.9", "7.0.4", WITHOUT_UNUSED),
        ("1.7.9", "7.2.0", WITHOUT_ZEROS),
        ("1.8.0", "7.2.0", WITHOUT_ZEROS),
        ("1.8.0", "7.0.0", WITHOUT_UNUSED),
        ("1.6.9", "5.10.0", WITHOUT_ZEROS),
        ("", "6.12", ""),
    ],
)
def test_what_may_be_left_out(version: str, release: str, arguments: str) -> None:
    tool = choose(version, release)
    assert tool.arguments == arguments
    assert tool.knows_kernel == (arguments == WITHOUT_UNUSED)
    assert bool(tool.advice) != tool.knows_kernel


def test_the_version_in_what_is_printed() -> None:
    said = "makedumpfile: version 1.7.2 (released on 16 Nov 2022)\nlzo\tenabled\n"
    assert parse_version(said) == "1.7.2"
    assert parse_version("makedumpfile: command not found") == ""


def test_a_tool_older_than_the_kernel_is_told() -> None:
    item = found(replace(SEEN, makedumpfile="1.7.2"))["dump_tool"]
    assert item.level is Level.NOTE
    assert "makedumpfile 1.7.2 knows kernels up to 6.0, and this one is 6.12.43" in item.text


def test_drivers_that_are_not_in_the_image_block() -> None:
    item = found(replace(SEEN, drivers=frozenset(("ext4", "nvme"))))["dump_drivers"]
    assert (item.level, item.text) == (
        Level.BLOCKS,
        "drivers of the dump's target are not in it: nvme",
    )
    assert item.advice == "pykexec crash setup --yes"


def test_an_image_of_somebody_else_blocks() -> None:
    other = replace(SEEN, image=Image("/boot/initrd.img", frozenset(("init",))))
    assert found(other)["capture_image"].level is Level.BLOCKS
    none = replace(SEEN, image=Image("/x", problem="there is no capture initramfs"))
    assert found(none)["capture_image"].text == "there is no capture initramfs"


def test_room_is_asked_for_by_what_is_left_out() -> None:
    tight = replace(SEEN, free=2 * GIB)
    assert found(tight)["dump_space"].level is Level.FINE
    item = found(replace(tight, makedumpfile="1.7.2"))["dump_space"]
    assert (item.level, "2 GiB are free" in item.text) == (Level.RISK, True)
    assert "what fits would be saved" in item.text


def archive(*names: str) -> bytes:
    out = BytesIO()
    writer = CpioWriter(out)
    for name in names:
        writer.file(name, b"x")
    writer.close()
    return out.getvalue()


def test_names_in_archives_one_behind_the_other() -> None:
    image = archive("kernel/x86/microcode/a.bin") + bytes(512) + gzip.compress(archive("usr/save"))
    names = initramfs_names(image)
    assert {"kernel/x86/microcode/a.bin", "usr/save"} <= names


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-20],
        lambda data: b"not an archive" + data,
        lambda data: gzip.compress(b"070701" + b"x" * 200),
    ],
)
def test_an_image_that_cannot_be_read(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ImageError):
        initramfs_names(damage(gzip.compress(archive("a"))))
