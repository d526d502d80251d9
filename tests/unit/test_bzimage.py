"""The bzImage parser: what it reads, and where it notices that something is missing."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import Any

import pytest

from pykexec.errors import ImageError
from pykexec.formats import identify
from pykexec.formats.bzimage import XLoadFlags, parse_bzimage
from tests.builders.bzimage import SECTOR, KernelSpec, build_bzimage

SPEC = KernelSpec(payload_size=8192)
IMAGE = build_bzimage(SPEC)
SETUP_SIZE = (SPEC.setup_sects + 1) * SECTOR


def test_reads_every_field_that_a_loader_needs() -> None:
    image = parse_bzimage(IMAGE)
    header = image.header
    assert (header.version, header.protocol) == (0x020F, "2.15")
    assert (header.setup_sects, header.syssize) == (27, 8192 // 16)
    assert header.initrd_addr_max == 0x7FFFFFFF
    assert header.kernel_alignment == 0x200000
    assert header.relocatable_kernel
    assert header.cmdline_size == 2047
    assert (header.pref_address, header.init_size) == (0x1000000, 0x2000000)
    assert XLoadFlags.XLF_EFI_KEXEC in header.xloadflags
    assert header.above_4g
    assert bytes(image.payload) == SPEC.payload
    assert image.raw_header == IMAGE[0x1F1:0x26C]
    assert image.release == "6.99.0-synthetic"


def test_the_payload_is_a_view_not_a_copy() -> None:
    data = bytearray(IMAGE)
    image = parse_bzimage(memoryview(data).toreadonly())
    data[SETUP_SIZE] ^= 0xFF
    assert image.payload[0] == data[SETUP_SIZE]


def test_zero_setup_sects_means_four() -> None:
    image = parse_bzimage(build_bzimage(replace(SPEC, setup_sects=0)))
    assert image.header.setup_sects == 4
    assert bytes(image.payload) == SPEC.payload


@pytest.mark.parametrize(
    ("version", "field", "value"),
    [
        (0x0202, "initrd_addr_max", 0x37FFFFFF),
        (0x0204, "relocatable_kernel", False),
        (0x0205, "cmdline_size", 255),
        (0x0209, "init_size", 0),
        (0x020B, "xloadflags", 0),
    ],
)
def test_a_field_younger_than_the_protocol_has_its_default(
    version: int, field: str, value: int
) -> None:
    image = parse_bzimage(build_bzimage(replace(SPEC, version=version)))
    assert getattr(image.header, field) == value


def test_before_2_04_syssize_has_two_bytes() -> None:
    """The other two are another field's, and a kernel of whole MiB announces nothing."""
    image = parse_bzimage(build_bzimage(replace(SPEC, version=0x0203, syssize=0x1230000)))
    assert image.header.syssize == 0
    assert bytes(image.payload) == SPEC.payload
    with pytest.raises(ImageError, match="truncated in the setup sectors"):
        parse_bzimage(build_bzimage(replace(SPEC, version=0x0203, syssize=0))[:SETUP_SIZE])


def test_what_follows_the_kernel_is_kept() -> None:
    """A signed kernel has its certificates behind what syssize announces."""
    image = parse_bzimage(IMAGE + b"certificate")
    assert bytes(image.payload) == SPEC.payload + b"certificate"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "empty (0 bytes)"),
        (2, "the header needs 520 bytes, the file has 2"),
        (0x1F1, "the header needs 520 bytes, the file has 497"),
        (0x202, "the header needs 520 bytes, the file has 514"),
        (0x207, "the header needs 520 bytes, the file has 519"),
        (0x208, "truncated in the setup header: it ends at 0x26c, the file at 0x208"),
        (0x26B, "truncated in the setup header: it ends at 0x26c, the file at 0x26b"),
        (0x26C, "truncated in the setup sectors: the header announces 14336 + 8192 = 22528"),
        (SETUP_SIZE - 1, "truncated in the setup sectors"),
        (SETUP_SIZE, "truncated in the setup sectors"),
        (SETUP_SIZE + 1, "truncated in the protected-mode code"),
        (len(IMAGE) - 1, "22528 bytes, the file has 22527"),
    ],
)
def test_says_where_a_truncated_file_ends(size: int, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        identify(IMAGE[:size])
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"magic": b"HdrX"}, "no 'HdrS' at offset 0x202 (found 48 64 72 58)"),
        ({"boot_flag": 0x1234}, "boot_flag at offset 0x1fe is 0x1234, not 0xaa55"),
        ({"version": 0x01FF}, "boot protocol 1.255 is older than 2.00"),
        ({"loadflags": 0}, "a zImage, not a bzImage: loadflags 0x00"),
        ({"kernel_alignment": 0x300000}, "kernel_alignment 0x300000 is not a power of two"),
        ({"pref_address": 1 << 52}, "pref_address 0x10000000000000 has more than the 52 bits"),
        ({"payload_length": 1 << 20}, "the compressed payload ends at 1048640, outside the 8192"),
        ({"syssize": 0}, "truncated in the protected-mode code"),
    ],
)
def test_refuses(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ImageError) as caught:
        identify(build_bzimage(replace(SPEC, **change)))
    assert words in str(caught.value)


def test_an_unknown_file_is_told_what_was_tried() -> None:
    with pytest.raises(ImageError) as caught:
        identify(b"what is it" * 100)
    assert caught.value.message == "not a kernel image that can be loaded (1000 bytes)"
    assert caught.value.details[0] == "bzImage: no 'HdrS' at offset 0x202 (found 20 69 73 20)"
    assert all(len(line) <= 78 for line in caught.value.details)
    assert str(caught.value).splitlines()[1] == f"  {caught.value.details[0]}"
    assert caught.value.hint


def test_an_empty_file_is_named_in_its_wrapping() -> None:
    with pytest.raises(ImageError) as caught:
        identify(gzip.compress(b""))
    assert caught.value.message == "in gzip: the kernel file is empty (0 bytes)"


def test_a_file_that_is_not_padded_to_its_paragraphs() -> None:
    """memtest86+ announces whole paragraphs, ends before, and has no compressed payload."""
    whole = build_bzimage(KernelSpec(payload_length=0, payload_offset=0))
    assert len(parse_bzimage(whole[:-15]).payload) == len(parse_bzimage(whole).payload) - 15
    with pytest.raises(ImageError, match="truncated in the protected-mode code"):
        parse_bzimage(whole[:-16])
    with pytest.raises(ImageError, match="truncated in the protected-mode code"):
        parse_bzimage(build_bzimage()[:-1])
