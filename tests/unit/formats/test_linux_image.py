"""The arm64 Image: what its header says, and what cannot be one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pykexec.errors import ImageError
from pykexec.formats import identify
from pykexec.formats.linux_image import parse_linux_image
from pykexec.values.units import KIB, MIB
from tests.builders.images import ImageSpec, build_image
from tests.builders.pe_files import signed

SPEC = ImageSpec()
IMAGE = build_image(SPEC)
FILE_SIZE = 0x4000


def test_reads_the_header() -> None:
    image = parse_linux_image(IMAGE)
    assert bytes(image.payload) == IMAGE
    assert len(IMAGE) == FILE_SIZE
    assert (image.text_offset, image.image_size) == (0, 0x7000)
    assert image.image_size_given
    assert (image.arch, image.format_name) == ("aarch64", "Image")
    assert image.release == "6.99.0-synthetic"
    assert not image.signed


@pytest.mark.parametrize(
    ("flags", "big_endian", "page_size", "placed_anywhere"),
    [
        (0b0000, False, None, False),
        (0b0010, False, 4 * KIB, False),
        (0b1100, False, 16 * KIB, True),
        (0b1110, False, 64 * KIB, True),
        (0b1011, True, 4 * KIB, True),
        (1 << 63 | 0b0011, True, 4 * KIB, False),
    ],
)
def test_decodes_the_flags(
    flags: int, big_endian: bool, page_size: int | None, placed_anywhere: bool
) -> None:
    image = parse_linux_image(build_image(replace(SPEC, flags=flags)))
    assert image.flags == flags
    assert image.big_endian is big_endian
    assert image.page_size == page_size
    assert image.placed_anywhere is placed_anywhere


def test_the_payload_is_a_view_not_a_copy() -> None:
    data = bytearray(IMAGE)
    image = parse_linux_image(memoryview(data).toreadonly())
    data[-1] ^= 0xFF
    assert image.payload[-1] == data[-1]


def test_a_kernel_without_efi_is_the_whole_file() -> None:
    data = build_image(replace(SPEC, efi=False))
    assert bytes(parse_linux_image(data).payload) == data
    assert not parse_linux_image(data).signed


def test_signature_and_padding_are_no_part_of_the_kernel() -> None:
    assert bytes(parse_linux_image(IMAGE + bytes(0x3000)).payload) == IMAGE
    image = parse_linux_image(signed(IMAGE))
    assert bytes(image.payload)[0x200:] == IMAGE[0x200:]
    assert len(image.payload) == FILE_SIZE
    assert image.signed
    assert identify(signed(IMAGE)).file == signed(IMAGE)


def test_before_linux_3_17_the_need_is_guessed() -> None:
    image = parse_linux_image(build_image(replace(SPEC, image_size=0, text_offset=0, flags=0xFF)))
    assert (image.text_offset, image.flags) == (0x80000, 0)
    assert image.image_size == FILE_SIZE + 16 * MIB
    assert not image.image_size_given


def test_a_kernel_without_a_banner_has_no_release() -> None:
    assert parse_linux_image(build_image(replace(SPEC, release="with blank"))).release == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_size": 0x3FFF}, r"asks for 16.0 KiB of memory \(image_size 0x3fff\), its kernel"),
        ({"text_offset": 2 * MIB}, "text_offset is 0x200000; needed is a multiple of 4 KiB below"),
        ({"text_offset": 0x80800}, "text_offset is 0x80800; needed"),
        (
            {"magic": b"ARM\x65", "efi": False},
            r"Image: no 41 52 4d 64 or 52 53 43 05 at offset 0x38 \(found 41 52 4d 65\)",
        ),
    ],
)
def test_refuses(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ImageError, match=words):
        identify(build_image(replace(SPEC, **change)))


def test_an_image_for_an_unknown_architecture_is_named() -> None:
    data = bytearray(build_image(replace(SPEC, magic=b"\xcd\x23\x82\x81")))
    data[0x44:0x46] = b"\x32\x50"
    with pytest.raises(ImageError, match=r"^an Image for riscv32, which is not loaded here$"):
        identify(bytes(data))


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (63, "Image: the header needs 64 bytes, there are 63"),
        (64, "the Image is no PE file: no 'PE' header at offset 0x40 (found nothing)"),
        (0x50, "truncated: the Image: the COFF header needs 24 bytes at offset 0x40, the file ha"),
        (0x100, "truncated: the Image: a PE section header needs 40 bytes"),
        (0x1000, "the Image is truncated: the PE section .text takes the bytes from 0x1000"),
        (FILE_SIZE - 1, "the PE section .data takes the bytes from 0x3000 to 0x4000, there are"),
    ],
)
def test_says_where_a_truncated_image_ends(size: int, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        identify(IMAGE[:size])
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("arch", "name"), [("x86_64", "x86_64"), ("i386", "i386"), ("riscv64", "riscv64")]
)
def test_a_kernel_for_another_machine_is_refused_with_both_names(arch: str, name: str) -> None:
    assert identify(IMAGE, "aarch64").image == parse_linux_image(IMAGE)
    words = rf"a kernel for aarch64 \(Image\) cannot be started by .* architecture {name}"
    with pytest.raises(ImageError, match=words) as caught:
        identify(IMAGE, arch)
    assert caught.value.hint == f"give a kernel for {name}"
