"""PE headers: sections, the certificate table, and what can be wrong with them."""

from __future__ import annotations

import struct

import pytest

from pykexec.errors import ImageError
from pykexec.formats.pe import machine_of, parse_pe, probe
from tests.builders.pe_files import (
    CERTIFICATE_ENTRY,
    MACHINE_ARM64,
    PE32_PLUS,
    build_pe,
    signed,
)

FILE = build_pe(MACHINE_ARM64, [(".one", b"1" * 600), (".two", b"2" * 512)])
PE = 0x40
OPTIONAL = PE + 24


def changed(offset: int, form: str, value: int) -> bytes:
    data = bytearray(FILE)
    struct.pack_into(form, data, offset, value)
    return bytes(data)


def test_reads_sections() -> None:
    file = parse_pe(FILE, "it")
    assert machine_of(FILE) == "aarch64"
    assert [section.name for section in file.sections] == [".one", ".two"]
    assert [bytes(section.data) for section in file.sections] == [b"1" * 600, b"2" * 512]
    assert file.sections_end == file.end == len(FILE)
    assert file.certificates is None
    assert [len(section.data) for section in file.named(".two")] == [512]


def test_reads_the_certificate_table() -> None:
    file = parse_pe(signed(FILE) + bytes(100), "it")
    assert file.certificates == (len(FILE), 32)
    assert file.end == len(signed(FILE))
    assert file.sections_end == len(FILE)


def test_32_bit_files_have_their_directories_elsewhere() -> None:
    data = bytearray(FILE + bytes(64))
    struct.pack_into("<H", data, OPTIONAL, 0x10B)
    struct.pack_into("<I", data, OPTIONAL + 92, 6)
    struct.pack_into("<II", data, OPTIONAL + 96 + 32, len(FILE), 64)
    assert parse_pe(bytes(data), "it").certificates == (len(FILE), 64)


def test_a_file_may_have_fewer_directories() -> None:
    data = bytearray(signed(FILE))
    struct.pack_into("<I", data, OPTIONAL + 108, 4)
    assert parse_pe(bytes(data), "it").certificates is None


def test_a_section_without_data_takes_nothing() -> None:
    data = bytearray(FILE)
    struct.pack_into("<II", data, OPTIONAL + 160 + 40 + 16, 0, 0xFFFFFFFF)
    assert bytes(parse_pe(bytes(data), "it").sections[1].data) == b""


def test_an_unknown_machine_is_a_number() -> None:
    assert machine_of(changed(PE + 4, "<H", 0x1234)) == "machine 0x1234"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"MZ" + bytes(61), "the header needs 64 bytes, there are 63"),
        (b"ELF?" + bytes(100), "no 'MZ' at offset 0 (found 45 4c)"),
        (changed(0x3C, "<I", 1 << 31), "no 'PE' header at offset 0x80000000 (found nothing)"),
        (changed(PE, "<I", 0x4550AA), "no 'PE' header at offset 0x40 (found aa 50 45 00)"),
    ],
)
def test_what_is_no_pe_file(data: bytes, words: str) -> None:
    assert probe(data) == words
    with pytest.raises(ImageError) as caught:
        parse_pe(data, "it")
    assert caught.value.message == f"it is no PE file: {words}"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (changed(PE + 6, "<H", 97), "it is malformed: 97 PE sections, at most 96 make sense"),
        (changed(OPTIONAL, "<H", 0x107), "optional header's magic is 0x107, not 0x10b or 0x20b"),
        (
            changed(OPTIONAL + 160 + 20, "<I", 0x10000),
            "it is truncated: the PE section .one takes the bytes from 0x10000 to 0x10400, there",
        ),
        (
            signed(FILE)[:-1],
            f"it is truncated: its signature takes the bytes from {len(FILE):#x} to "
            f"{len(FILE) + 32:#x}, there are {len(FILE) + 31:#x}",
        ),
        (FILE[: PE + 23], "truncated: it: the COFF header needs 24 bytes at offset 0x40"),
    ],
)
def test_refuses(data: bytes, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        parse_pe(data, "it")
    assert words in caught.value.message


def test_the_builder_writes_what_the_specification_says() -> None:
    assert struct.unpack_from("<H", FILE, OPTIONAL)[0] == PE32_PLUS
    assert PE + CERTIFICATE_ENTRY == OPTIONAL + 112 + 32
