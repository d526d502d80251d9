"""EFI zboot: its header, its names for compressions, and its padding."""

from __future__ import annotations

import struct

import pytest

from pykexec.errors import ImageError
from pykexec.formats import identify
from pykexec.formats.compression import Codec
from tests.builders.images import ZBOOT_NAMES, build_image, build_zboot
from tests.builders.pe_files import signed

IMAGE = build_image()


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *((name, codec) for codec, name in ZBOOT_NAMES.items()),
        ("xz", Codec.XZ),
        ("zstd", Codec.ZSTD),
    ],
)
def test_every_name_that_linux_writes(name: str, codec: Codec) -> None:
    found = identify(build_zboot(IMAGE, codec, name=name))
    assert bytes(found.file) == IMAGE
    assert found.wrappings[0].name == f"EFI zboot ({codec})"


def test_the_padding_up_to_the_size_in_memory_is_cut_off() -> None:
    for size in (len(IMAGE), 0x7000, 0x100000):
        found = identify(build_zboot(IMAGE, Codec.GZIP, pad_to=size))
        assert bytes(found.file) == bytes(found.image.payload) == IMAGE


def test_a_kernel_that_is_no_pe_file_keeps_its_padding() -> None:
    """Nothing tells how long it is; the zeros lie where it has its BSS."""
    from tests.builders.images import ImageSpec

    kernel = build_image(ImageSpec(efi=False))
    assert bytes(identify(build_zboot(kernel, Codec.GZIP)).file) == kernel.ljust(0x7000, b"\0")


def test_a_signed_zboot_is_known_as_one() -> None:
    assert identify(signed(build_zboot(IMAGE, Codec.GZIP))).wrappings[0].signed
    assert not identify(build_zboot(IMAGE, Codec.GZIP)).wrappings[0].signed


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (8, 0x10, "its header says that the kernel takes the bytes from 0x10 to"),
        (8, 0xFFFFFFF0, "takes the bytes from 0xfffffff0"),
        (12, 0x7FFFFFFF, "the EFI zboot is truncated or malformed"),
        (
            24,
            0x006F7A6D,
            "'mzo'; known are gzip, xz, xzkern, lzma, zstd, zstd22, lzo, lz4",
        ),
        (24, 0x00007A78, "the kernel in the EFI zboot is damaged: xz:"),
    ],
)
def test_refuses(offset: int, value: int, words: str) -> None:
    data = bytearray(build_zboot(IMAGE, Codec.ZSTD))
    struct.pack_into("<I", data, offset, value)
    with pytest.raises(ImageError) as caught:
        identify(bytes(data))
    assert words in caught.value.message


def test_a_payload_that_is_too_short_by_one() -> None:
    data = bytearray(build_zboot(IMAGE, Codec.ZSTD))
    struct.pack_into("<I", data, 12, struct.unpack_from("<I", data, 12)[0] - 1)
    with pytest.raises(ImageError, match="the kernel in the EFI zboot is truncated: the zstd data"):
        identify(bytes(data))
