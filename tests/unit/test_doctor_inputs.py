"""What the doctor makes of initrds, command lines and calls that are not built in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pykexec.doctor import Asked, Finding, Level, Surroundings
from pykexec.doctor.inputs import check_calls, check_initrd, check_inputs, check_root
from pykexec.formats import identify
from pykexec.formats.compression import Codec
from pykexec.formats.ikconfig import KernelConfig
from pykexec.values.calls import Call, Target
from tests.builders.compressed import compress
from tests.builders.multiboot import MultibootSpec, build_multiboot, header_1
from tests.builders.plans import KERNEL, build_request
from tests.unit.test_initramfs import archive

NORMAL = Asked(Target.NORMAL)
BY_FILE = replace(NORMAL, call=Call.KEXEC_FILE_LOAD)
BY_SEGMENTS = replace(NORMAL, call=Call.KEXEC_LOAD)
BOTH = ("CONFIG_KEXEC", "CONFIG_KEXEC_FILE")


def config(*options: str) -> Surroundings:
    text = "CONFIG_RELOCATABLE=y\n" + "".join(f"{option}=y\n" for option in options)
    return Surroundings(config=KernelConfig(text.encode()), config_source="/proc/config.gz")


@pytest.mark.parametrize(
    ("built", "asked", "level", "words"),
    [
        (BOTH, BY_FILE, Level.FINE, "both calls"),
        ((), NORMAL, Level.BLOCKS, "kexec_load (CONFIG_KEXEC) and kexec_file_load (CONFIG_KEXEC_F"),
        ((), BY_FILE, Level.BLOCKS, "built without kexec_load"),
        (("CONFIG_KEXEC",), NORMAL, Level.NOTE, "without kexec_file_load (CONFIG_KEXEC_FILE)"),
        (("CONFIG_KEXEC",), BY_FILE, Level.BLOCKS, "only that call would do"),
        (("CONFIG_KEXEC",), replace(BY_FILE, fallback=True), Level.NOTE, "without kexec_file"),
        (("CONFIG_KEXEC",), BY_SEGMENTS, Level.NOTE, "without kexec_file_load"),
        (("CONFIG_KEXEC_FILE",), BY_SEGMENTS, Level.BLOCKS, "kexec_load (CONFIG_KEXEC), and only"),
        (("CONFIG_KEXEC_FILE",), BY_FILE, Level.NOTE, "without kexec_load (CONFIG_KEXEC)"),
    ],
)
def test_calls(built: tuple[str, ...], asked: Asked, level: Level, words: str) -> None:
    found = check_calls(config(*built), asked)
    assert (found.level, found.source) == (level, "/proc/config.gz")
    assert words in found.text
    assert bool(found.advice) == (level is Level.BLOCKS)


def test_no_configuration() -> None:
    assert check_calls(Surroundings(), BY_FILE).level is Level.NOTE


@pytest.mark.parametrize(
    ("cmdline", "initrd", "level"),
    [
        (b"", None, Level.RISK),
        (b"", b"x", Level.RISK),
        (b"  ", b"x", Level.RISK),
        (b"-- root=/dev/sda", b"x", Level.RISK),
        (b"console=ttyS0 quiet", None, Level.RISK),
        (b"boot=live", b"x", Level.FINE),
        (b"root=/dev/vda1", None, Level.FINE),
        (b"nfsroot=10.0.0.1:/srv", None, Level.FINE),
        (b"root=UUID=1 ro", b"x", Level.FINE),
    ],
)
def test_root(cmdline: bytes, initrd: bytes | None, level: Level) -> None:
    found = check_root(build_request(cmdline=cmdline, initrd=initrd))
    assert found.level is level
    assert ("--reuse-cmdline" in found.advice) == (level is Level.RISK)


def of_initrd(data: bytes, cmdline: bytes = b"root=/dev/sda") -> Finding:
    found = check_initrd(data, cmdline, 4096, "/boot/initrd.img")
    assert (found.check, found.source) == ("initrd", "/boot/initrd.img")
    return found


@pytest.mark.parametrize("codec", [None, Codec.GZIP, Codec.XZ, Codec.ZSTD, Codec.LZ4_LEGACY])
def test_a_whole_initrd_and_a_cut_one(codec: Codec | None) -> None:
    early, rest = archive(5000), archive(70000, 3)
    packed = rest if codec is None else compress(codec, rest)
    whole = early + bytes(512) + packed
    assert of_initrd(whole).level is Level.FINE
    for end in (len(whole) - 300 if codec is None else len(whole) - 3, len(early) - 2000):
        found = of_initrd(whole[:end])
        assert found.level is Level.BLOCKS, end
        assert "truncated" in found.text or "ends" in found.text


@pytest.mark.parametrize("data", [b"#!/bin/sh\n" * 500, b"\x7fELF" + bytes(4000), b"07070"])
def test_no_archive(data: bytes) -> None:
    found = of_initrd(data)
    assert found.level is Level.BLOCKS
    assert "is no initramfs" in found.text
    assert found.advice


def test_a_damaged_archive() -> None:
    data = bytearray(archive(70000, 3))
    data[0x100 + 70000 : 0x100 + 70200] = b"x" * 200
    assert of_initrd(bytes(data)).level is Level.BLOCKS


@pytest.mark.parametrize(
    ("kind", "at", "magic"),
    [
        ("ext2", 1024 + 56, b"\x53\xef"),
        ("squashfs", 0, b"hsqs"),
        ("cramfs", 0, b"\x45\x3d\xcd\x28"),
        ("romfs", 0, b"-rom1fs-"),
        ("minix", 1024 + 16, b"\x7f\x13"),
    ],
)
def test_a_ram_disk_of_old_may_be_meant(kind: str, at: int, magic: bytes) -> None:
    data = bytes(at) + magic + b"\xff" * 4096
    found = of_initrd(data)
    assert found.level is Level.RISK
    assert f"but a {kind} image" in found.text
    assert of_initrd(data, b"root=/dev/ram0").level is Level.NOTE
    assert of_initrd(compress(Codec.GZIP, data), b"root=/dev/ram0").level is Level.NOTE


def test_only_linux_is_asked_for_its_root() -> None:
    linux = identify(KERNEL).image
    checks = [item.check for item in check_inputs(build_request(), linux, 4096, "i")]
    assert checks == ["root", "initrd"]
    assert len(list(check_inputs(build_request(initrd=None), linux, 4096, "i"))) == 1
    other = identify(build_multiboot(MultibootSpec(header_1(0)))).image
    assert list(check_inputs(build_request(), other, 4096, "i")) == []
