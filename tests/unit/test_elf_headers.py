"""ELF headers of both classes: what is packed is what is found again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykexec.values.elf_headers import (
    ELF32,
    ELF32_BIG,
    ELF64,
    ELF64_BIG,
    ElfClass,
    ElfHeader,
    ProgramHeader,
    class_of,
)

BIG = {ELF32: ELF32_BIG, ELF64: ELF64_BIG}
BOTH = pytest.mark.parametrize("elf", [ELF32, ELF64], ids=["32", "64"])
HEADER = ElfHeader(4, 3, 1, 5, 64, 6, 7, 52, 32, 8, 9, 10, 11)


@BOTH
@given(words=st.lists(st.integers(0, (1 << 32) - 1), min_size=8, max_size=8))
def test_program_headers(elf: ElfClass, words: list[int]) -> None:
    header = ProgramHeader._make(words)
    data = elf.pack(header)
    assert len(data) == elf.phdr.size == {32: 32, 64: 56}[elf.bits]
    assert list(elf.unpack(data * 2)) == [header, header]
    big = BIG[elf]
    assert list(big.unpack(big.pack(header))) == [header]
    assert big.pack(header)[:4] == data[3::-1]


@BOTH
def test_the_elf_header(elf: ElfClass) -> None:
    data = elf.pack_header(HEADER)
    assert len(data) == elf.ehdr.size == {32: 52, 64: 64}[elf.bits]
    assert data[:7] == b"\x7fELF" + bytes([elf.bits // 32]) + b"\1\1"
    assert class_of(data) is elf
    big = BIG[elf].pack_header(HEADER)
    assert class_of(big) is BIG[elf]
    assert BIG[elf].unpack_header(big) == HEADER
    assert (big[5:7], big[16:20]) == (b"\2\1", b"\0\4\0\3")
    assert elf.unpack_header(data + b"more") == HEADER


@pytest.mark.parametrize(
    "data",
    [b"", b"\x7fELF\2", b"\x7fELF\2\3\1", b"\x7fELF\2\2\2", b"\x7fELF\3\1", b"\x7fELG\2\1"],
)
def test_what_is_no_elf_file(data: bytes) -> None:
    assert class_of(data) is None
