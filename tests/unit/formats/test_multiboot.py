"""Multiboot headers of both versions, and what is refused."""

from __future__ import annotations

import struct

import pytest

from pykexec.errors import ImageError
from pykexec.formats import identify
from pykexec.formats.bzimage import BzImage
from pykexec.formats.elf_program import ElfProgram
from pykexec.formats.multiboot import Multiboot, probe_1, probe_2
from tests.builders.bzimage import build_bzimage
from tests.builders.multiboot import (
    BASE,
    MultibootSpec,
    addresses,
    build_flat,
    build_multiboot,
    header_1,
    header_2,
    tag,
    words,
)

ONE = build_multiboot(MultibootSpec(header_1(3)))
TWO = build_multiboot(MultibootSpec(header_2()))


def parsed(data: bytes) -> Multiboot:
    image = identify(data, "x86_64").image
    assert isinstance(image, Multiboot)
    return image


@pytest.mark.parametrize(("data", "version"), [(ONE, 1), (TWO, 2)])
def test_an_elf_file_with_a_header(data: bytes, version: int) -> None:
    image = parsed(data)
    assert image.version == version
    assert image.format_name == ("multiboot" if version == 1 else "multiboot2")
    assert image.entry_addr == BASE + 0x20
    assert (image.start, image.end) == (BASE, BASE + 0x7000)
    assert len(image.segments) == 2
    assert image.relocation is None


def test_64_bit_elf_files_too() -> None:
    assert parsed(build_multiboot(MultibootSpec(header_2(), bits=64))).version == 2


@pytest.mark.parametrize("at", [0x0, 0x40, 0x1F00])
def test_a_flat_file_of_version_1(at: int) -> None:
    size = 0x2800
    header = header_1(1 << 16, *addresses(at, size), BASE + 0x24)
    data = build_flat(header, at=at, size=size)
    image = parsed(data)
    (segment,) = image.segments
    assert (segment.paddr, segment.memsz) == (BASE, size + 0x2000)
    assert bytes(segment.data) == data
    assert image.entry_addr == BASE + 0x24


def test_a_flat_file_whose_code_starts_later_and_goes_to_its_end() -> None:
    header = header_1(1 << 16, BASE + 0x40, BASE + 0x10, 0, 0, BASE + 0x20)
    data = build_flat(header)
    (segment,) = parsed(data).segments
    assert bytes(segment.data) == data[0x10:]
    assert segment.memsz == len(data) - 0x10


def test_a_flat_file_of_version_2() -> None:
    header = header_2(tag(2, words(*addresses())), tag(3, words(BASE + 0x44)))
    image = parsed(build_flat(header))
    assert image.entry_addr == BASE + 0x44
    assert image.segments[0].memsz == 0x1800 + 0x2000


def test_tags_of_version_2() -> None:
    header = header_2(
        tag(1, words(3, 6, 8)),
        tag(3, words(BASE + 0x30)),
        tag(4, words(3), optional=True),
        tag(5, words(1024, 768, 32)),
        tag(6),
        tag(10, words(0x100000, 0x7FFFFFFF, 0x200000, 2)),
        tag(99, b"who knows", optional=True),
    )
    image = parsed(build_multiboot(MultibootSpec(header)))
    assert image.required == {3, 6, 8}
    assert image.entry_addr == BASE + 0x30
    assert image.wants_video
    assert image.relocation is not None
    assert (image.relocation.lowest, image.relocation.last) == (0x100000, 0x7FFFFFFF)
    assert (image.relocation.align, image.relocation.high) == (0x200000, True)


def test_an_optional_request_is_not_insisted_on() -> None:
    header = header_2(tag(1, words(14, 15), optional=True))
    assert parsed(build_multiboot(MultibootSpec(header))).required == frozenset()


@pytest.mark.parametrize(
    ("data", "words_"),
    [
        (
            build_multiboot(MultibootSpec(header_1(1 << 5))),
            "asks for features that are not known: flags 0x20",
        ),
        (build_flat(header_1(3)), "has no addresses, and the file is no ELF file"),
        (
            build_flat(header_1(1 << 16, BASE + 0x40, BASE + 0x80, 0, 0, BASE)),
            "is malformed: header_addr 0x200040, load_addr 0x200080",
        ),
        (
            build_flat(header_1(1 << 16, BASE + 0x40, BASE, BASE + 0x9000, 0, BASE)),
            "is truncated: its code should take the bytes from 0x0 to 0x9000",
        ),
        (
            build_flat(header_1(1 << 16, BASE + 0x40, BASE, BASE + 0x800, BASE + 0x400, BASE)),
            "is malformed: header_addr",
        ),
        (
            build_flat(header_1(1 << 16, BASE + 0x40, BASE, 0, BASE + (1 << 30), BASE)),
            "takes more than 512 MiB",
        ),
        (
            build_flat(header_1(1 << 16, *addresses(), BASE + 0x1800)),
            "has nothing at its entry point 0x201800",
        ),
        (build_flat(header_1(1 << 16), at=0x17F0), "is truncated: its addresses"),
        (build_multiboot(MultibootSpec(header_2(architecture=4))), "for architecture 4, and not"),
        (build_multiboot(MultibootSpec(header_2(tag(7)))), "a feature that is not known: tag 7"),
        (build_multiboot(MultibootSpec(header_2(tag(42)))), "a feature that is not known: tag 42"),
        (
            build_multiboot(MultibootSpec(header_2(length=8))),
            "the multiboot2 header has 8 bytes, 16 to 4096",
        ),
        (
            build_multiboot(MultibootSpec(header_2(length=5000))),
            "the multiboot2 header has 5000 bytes, 16 to 4096",
        ),
        (
            build_multiboot(MultibootSpec(header_2(tag(10, words(1, 2))))),
            "is malformed: tag 10 has 16 bytes",
        ),
        (
            build_multiboot(MultibootSpec(header_2(struct.pack("<HHI", 4, 0, 400)))),
            "is malformed: tag 4 has 400 bytes of the 16 that are left",
        ),
        (
            build_multiboot(MultibootSpec(header_2(tag(6), length=24))),
            "the multiboot2 header has no end tag",
        ),
        (
            build_multiboot(MultibootSpec(header_2(tag(10, words(0, 1 << 30, 3, 0))))),
            "relocatable from 0x0 to 0x40000000, aligned to 0x3",
        ),
        (build_flat(header_2(tag(2, words(*addresses())))), "has addresses but no entry point"),
        (
            build_multiboot(MultibootSpec(header_2(tag(3, words(0x77))))),
            "has nothing at its entry point 0x77",
        ),
    ],
)
def test_refuses(data: bytes, words_: str) -> None:
    with pytest.raises(ImageError) as caught:
        identify(data, "x86_64")
    assert words_ in caught.value.message


def test_a_program_for_efi_is_told_of_the_other_file() -> None:
    """Debian has both of Xen in /boot."""
    with pytest.raises(ImageError) as caught:
        identify(build_flat(header_1(3)))
    assert "xen.gz, and not xen.efi" in (caught.value.hint or "")


def test_a_kernel_above_4_gib() -> None:
    data = bytearray(build_multiboot(MultibootSpec(header_2(), bits=64)))
    struct.pack_into("<Q", data, 64 + 56 + 24, 1 << 32)
    with pytest.raises(ImageError, match="entered in 32 bits, which reach up to 4 GiB"):
        identify(bytes(data))


def test_a_wrong_checksum_or_place_is_no_header() -> None:
    wrong = bytearray(header_1(3))
    wrong[8] ^= 1
    for data in (
        build_flat(bytes(wrong)),
        build_flat(header_1(3), at=0x42),
        build_flat(header_1(3), at=8192 + 16, size=9000),
        build_flat(header_1(3), at=8188, size=8196),
    ):
        assert probe_1(data) == "no magic 0x1badb002 with a right checksum in the first 8192 bytes"
    assert probe_1(build_flat(bytes(wrong) + header_1(0), at=0x40)) is None
    assert probe_2(build_flat(header_2(), at=0x44)) is not None
    assert probe_2(build_flat(header_2(), at=0x8000 - 8, size=0x9000)) is not None
    assert probe_2(build_flat(header_2(), at=0x7F00, size=0x9000)) is None


def test_a_file_of_several_formats() -> None:
    """Like Xen, which has both headers, and like iPXE, which is a bzImage too."""
    both = build_multiboot(MultibootSpec(header_1(3).ljust(16, b"\0") + header_2()))
    assert parsed(both).version == 2
    for wanted, kind in (("multiboot", 1), ("multiboot2", 2)):
        image = identify(both, "x86_64", wanted).image
        assert isinstance(image, Multiboot)
        assert image.version == kind
    assert isinstance(identify(both, "x86_64", "ELF32").image, ElfProgram)

    data = bytearray(build_bzimage())
    header = header_1(1 << 16, BASE + 0x800, BASE, 0, 0, BASE)
    data[0x800 : 0x800 + len(header)] = header
    assert isinstance(identify(bytes(data)).image, BzImage)
    assert isinstance(identify(bytes(data), None, "multiboot").image, Multiboot)


@pytest.mark.parametrize(
    ("data", "words_"),
    [
        (b"\x36\x13\x03\x1b" + bytes(508), "an NBI image, whose program calls a network boot ROM"),
    ],
)
def test_what_nothing_starts_any_more(data: bytes, words_: str) -> None:
    with pytest.raises(ImageError) as caught:
        identify(data)
    assert words_ in caught.value.message
    assert caught.value.message.endswith(", which is not loaded here")
    assert caught.value.hint is not None


def test_an_unknown_file_is_told_what_was_tried_for_x86() -> None:
    with pytest.raises(ImageError) as caught:
        identify(b"what is it" * 100)
    for part in (
        "multiboot2: no magic 0xe85250d6",
        "multiboot: no magic 0x1badb002",
        "ELF program: no ELF magic",
        "FIT image: the magic is 0x77686174, not 0xd00dfeed",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("short", [0, 4])
def test_a_header_in_the_last_bytes_of_its_area(short: int) -> None:
    """Its first three words, in version 2 four, have to be within the area; no more of it."""
    at = 8192 - 12 + short
    data = build_flat(header_1(1 << 16, *addresses(at, 0x3000), BASE + 0x24), at=at, size=0x3000)
    assert (probe_1(data) is None) == (not short)
    at = 32768 - 16 + 2 * short
    data = build_flat(header_2(tag(3, words(BASE))), at=at, size=0x9000)
    assert (probe_2(data) is None) == (not short)
