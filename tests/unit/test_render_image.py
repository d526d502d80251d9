"""``pykexec inspect``: what an image says, for people and for programs."""

from __future__ import annotations

import json

import pytest

from pykexec.formats import identify
from pykexec.formats.compression import Codec
from pykexec.render.image import image_text, image_value
from tests.builders.bzimage import build_bzimage
from tests.builders.compressed import compress
from tests.builders.images import WRAPPERS, ImageSpec, build_image, build_uki, build_zboot
from tests.builders.pe_files import MACHINE_ARM64, build_pe, signed

IMAGE = build_image()
FULL_UKI = build_pe(
    MACHINE_ARM64,
    [
        (".linux", build_zboot(IMAGE, Codec.ZSTD)),
        (".osrel", b'PRETTY_NAME="An OS \x1b[31m"'),
        (".uname", b"6.99.0-synthetic" + b"x" * 99),
        (".initrd", b"i" * 2048),
        (".dtb", b"d" * 1024),
        (".dtbauto", b"a" * 1024),
        (".dtbauto", b"a" * 3072),
        (".profile", b"ID=main"),
        (".cmdline", b"ro " + b"word " * 40 + b"\x1b[31m"),
    ],
)


def test_an_image_in_words() -> None:
    assert image_text(identify(IMAGE)).splitlines() == [
        "format:            Image for aarch64",
        "release:           6.99.0-synthetic",
        "kernel:            16 KiB",
        "memory to start:   28 KiB (image_size)",
        "place:             anywhere, at a multiple of 2 MiB",
        "page size:         4 KiB",
        "byte order:        little",
        "signature:         none",
    ]


def test_what_is_particular_about_an_image() -> None:
    spec = ImageSpec(image_size=0, flags=0, release="")
    text = image_text(identify(build_image(spec)))
    assert "16.0 MiB (a guess: the header has no image_size)" in text
    assert "close to the start of RAM, 0x80000 behind a multiple of 2 MiB" in text
    assert "release:           not given" in text
    assert "page size:         not given" in text
    text = image_text(identify(build_image(ImageSpec(flags=0b1111))))
    assert "page size:         64 KiB\nbyte order:        big\n" in text


def test_an_image_for_programs() -> None:
    value = image_value(identify(signed(build_zboot(IMAGE, Codec.XZ)), "aarch64"))
    assert value == {
        "schema": "pykexec.image/1",
        "format": "Image",
        "arch": "aarch64",
        "release": "6.99.0-synthetic",
        "signed": False,
        "wrappings": [{"name": "EFI zboot (xz)", "signed": True}],
        "signature_lost": True,
        "kernel_size": 0x4000,
        "text_offset": "0x0",
        "image_size": 0x7000,
        "image_size_given": True,
        "flags": "0xa",
        "endianness": "little",
        "page_size": 4096,
        "placed_anywhere": True,
        "uki": None,
        "fit": None,
        "elf": None,
    }


def test_a_uki_in_words() -> None:
    text = image_text(identify(signed(FULL_UKI)))
    assert text.splitlines()[:3] == [
        "wrapped in:        UKI, signed",
        "wrapped in:        EFI zboot (zstd)",
        "format:            Image for aarch64",
    ]
    for line in (
        r"UKI:               An OS \x1b[31m",
        "UKI's uname:       6.99.0-synthetic" + "x" * 45,
        "UKI's initrd:      2 KiB",
        "UKI's dtb:         1 KiB",
        "UKI's dtbauto:     2 (1 KiB, 3 KiB)",
        "UKI's profiles:    1, the first is used",
        "UKI's command line:",
        "signature:         of the wrapping only, lost by unpacking",
    ):
        assert line in text.splitlines()
    assert r"word \x1b[31m" in text
    assert "\x1b" not in text


def test_a_uki_for_programs() -> None:
    value = image_value(identify(FULL_UKI))["uki"]
    assert value["cmdline"].startswith("ro word")
    assert value["sections"][0] == ".linux"
    assert (value["initrd_size"], value["dtb_size"]) == (2048, 1024)
    assert (value["dtbauto_sizes"], value["profiles"]) == ([1024, 3072], 1)
    nothing = image_value(identify(build_uki(IMAGE)))["uki"]
    assert (nothing["cmdline"], nothing["initrd_size"], nothing["dtb_size"]) == (None, None, None)
    text = image_text(identify(build_uki(IMAGE, (".cmdline", b" "))))
    assert "UKI:               no PRETTY_NAME\nUKI's command line:\n  (empty)\n" in text


@pytest.mark.parametrize(
    "data",
    [build_bzimage(), FULL_UKI, *(wrap(IMAGE) for wrap in WRAPPERS.values())],
    ids=["bzImage", "full UKI", *WRAPPERS],
)
def test_every_format_can_be_shown(data: bytes) -> None:
    found = identify(data)
    assert json.loads(json.dumps(image_value(found)))["signature_lost"] is False
    assert max(map(len, image_text(found).splitlines())) <= 80


def test_a_signed_kernel_is_shown_as_one() -> None:
    assert "signature:         yes" in image_text(identify(compress(Codec.GZIP, signed(IMAGE))))
