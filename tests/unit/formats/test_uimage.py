"""U-Boot's legacy header: both checksums, and what it may announce."""

from __future__ import annotations

from typing import Any

import pytest

from pykexec.errors import ImageError
from pykexec.formats import identify
from pykexec.formats.compression import Codec
from tests.builders.compressed import compress
from tests.builders.images import build_image, build_uimage

IMAGE = build_image()
PACKED = compress(Codec.GZIP, IMAGE)


def test_says_what_it_is_for() -> None:
    names = [
        identify(data).wrappings[0].name
        for data in (build_uimage(IMAGE), build_uimage(PACKED, compression=1, kind=14))
    ]
    assert names == ["uImage for aarch64", "uImage for aarch64 (gzip)"]
    assert identify(build_uimage(IMAGE, arch=99)).wrappings[0].name == "uImage for architecture 99"


def test_a_packed_kernel_that_is_announced_as_it_is() -> None:
    """mkimage -C none of an Image.gz: what is inside tells what it is."""
    names = [wrapping.name for wrapping in identify(build_uimage(PACKED)).wrappings]
    assert names == ["uImage for aarch64", "gzip"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"kind": 3}, "the uImage is a ramdisk; needed is a Linux kernel (type 2 or 14, system 5"),
        ({"kind": 4}, "the uImage is several files in one"),
        ({"kind": 77}, "the uImage is of type 77 for system 5"),
        ({"system": 17}, "the uImage is of type 2 for system 17"),
        (
            {"compression": 7},
            "method 7; known are gzip (1), bzip2 (2), lzma (3), lzo (4)",
        ),
        ({"compression": 9}, "the uImage is packed with method 9"),
        ({"compression": 6}, "the kernel in the uImage is damaged: zstd:"),
    ],
)
def test_refuses(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ImageError) as caught:
        identify(build_uimage(IMAGE, **more))
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("offset", "words"),
    [
        (20, "the CRC32 of its header is 0x"),
        (35, "the CRC32 of its header is 0x"),
        (64, "the CRC32 of its data is 0x"),
        (5000, "the CRC32 of its data is 0x"),
    ],
)
def test_both_checksums_are_checked(offset: int, words: str) -> None:
    data = bytearray(build_uimage(IMAGE))
    data[offset] ^= 1
    with pytest.raises(ImageError) as caught:
        identify(bytes(data))
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (63, "truncated: the uImage header needs 64 bytes"),
        (64, f"the uImage is truncated: 64 + {len(IMAGE)} bytes are needed, there are 64"),
        (64 + len(IMAGE) - 1, "the uImage is truncated"),
    ],
)
def test_says_where_a_truncated_one_ends(size: int, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        identify(build_uimage(IMAGE)[:size])
    assert words in caught.value.message
