"""zImages of 32-bit ARM: Linux arch/arm/boot/compressed/head.S, vmlinux.lds.S."""

from __future__ import annotations

import struct

import pytest

from pykexec.errors import ImageError
from pykexec.formats import identify
from pykexec.formats.zimage import ZImage, parse_zimage, probe, probe_appended
from tests.builders.arm import BSS, IMAGE, INFLATED, MALLOC, TEXT_OFFSET, build_tree, build_zimage


def changed(at: int, *words: int) -> bytes:
    data = bytearray(IMAGE)
    struct.pack_into(f"<{len(words)}I", data, at, *words)
    return bytes(data)


def test_what_the_table_says() -> None:
    image = parse_zimage(IMAGE)
    assert (image.text_offset, image.inflated_size, image.size_given) == (
        TEXT_OFFSET,
        INFLATED,
        True,
    )
    assert (image.bss_size, image.malloc_size) == (BSS, MALLOC)
    assert image.text_offsets == (TEXT_OFFSET, TEXT_OFFSET)
    assert bytes(image.payload) == IMAGE
    assert image.release == "6.12.0-arm"
    assert (image.arch, image.format_name, image.signed) == ("arm", "zImage", False)


def test_other_tags_are_passed_over() -> None:
    other = struct.pack("<4I", 4, 0x12345678, 1, 2)
    assert parse_zimage(build_zimage(other_tags=other)).bss_size == BSS
    assert not parse_zimage(changed(0x40, 0)).size_given


def test_a_short_tag_of_older_kernels() -> None:
    image = parse_zimage(build_zimage(words=(BSS,)))
    assert image.text_offset is None
    assert image.text_offsets == (0x8000, 0x308000)
    assert (image.inflated_size, image.malloc_size) == (INFLATED, 0x10000)


def test_without_a_table_five_times_the_file_is_left() -> None:
    image = parse_zimage(build_zimage(words=None))
    assert not image.size_given
    assert image.inflated_size == 5 * len(IMAGE)


def test_what_is_padding_is_cut_off() -> None:
    image = parse_zimage(IMAGE + bytes(4096))
    assert len(image.payload) == len(IMAGE)


def test_one_that_is_linked_to_an_address() -> None:
    image = parse_zimage(build_zimage(start=0x80008000))
    assert len(image.payload) == len(IMAGE)


def test_a_device_tree_behind_it() -> None:
    tree = build_tree()
    data = build_zimage(behind=tree)
    assert probe(data) == "a device tree is behind it"
    assert probe_appended(data) is None
    found = identify(data, "arm")
    assert isinstance(found.image, ZImage)
    assert [item.name for item in found.wrappings] == ["zImage with a device tree behind it"]
    assert found.brought is not None
    assert bytes(found.brought.device_tree or b"") == tree
    assert bytes(found.image.payload) == IMAGE
    assert probe_appended(IMAGE) == "no device tree is behind it"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (IMAGE[:-4], "truncated: its header announces"),
        (build_zimage(order=0x01020304), "big-endian"),
        (changed(0x24, 0x18286F01), "big-endian"),
        (changed(0x28, 0x1000, 0x1010), "malformed zImage: it starts at"),
        (changed(0x38, len(IMAGE) - 2), "leaves the file"),
        (changed(0x40, 1), "a tag of 1 word"),
        (changed(0x40, 0x10000000), "a tag of"),
        (changed(0x48, 0x10), "the kernel's size is at"),
        (changed(0x48, len(IMAGE)), "the kernel's size is at"),
        (changed(0x4C, 1 << 30), "of BSS"),
        (changed(0x50, 0x8100), "TEXT_OFFSET is 0x8100"),
        (changed(0x50, 0), "TEXT_OFFSET is 0x0"),
        (changed(0x54, 1 << 30), "MALLOC_SIZE"),
        (build_zimage(inflated=4096), "the kernel has 4096 bytes"),
        (build_zimage(words=(), size=1 << 20), "has 1 word, not 2"),
    ],
)
def test_refusals(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        identify(data, "arm")


def test_a_table_that_never_ends() -> None:
    tags = struct.pack("<2I", 2, 1) * 100
    with pytest.raises(ImageError, match="more than 64 tags"):
        parse_zimage(build_zimage(other_tags=tags))


def test_another_machine() -> None:
    with pytest.raises(ImageError, match=r"a kernel for arm \(zImage\) cannot be started"):
        identify(IMAGE, "x86_64")


def test_what_is_none() -> None:
    assert probe(bytes(16)) == "the header needs 52 bytes, there are 16"
    assert "found 00 00 00 00" in str(probe(bytes(64)))


def test_a_kernel_that_cannot_be_unpacked_has_no_release() -> None:
    assert parse_zimage(changed(len(IMAGE) - 40, 0, 0, 0)).release == ""
