"""The ELF core header, byte for byte, and back."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from elftools.elf.elffile import ELFFile

from pykexec.crash.elfcorehdr import (
    NO_VADDR,
    CoreHeader,
    build_elfcorehdr,
    core_headers,
    elfcorehdr_machine,
    elfcorehdr_size,
    parse_elfcorehdr,
    with_copy,
)
from pykexec.errors import ImageError, PykexecError
from pykexec.values.elf_headers import ELF32, ELF64, ElfClass
from pykexec.values.facts import CrashFacts
from pykexec.values.ranges import Range

FACTS = CrashFacts(
    crash_notes=((0, Range.sized(0x7000, 368)), (2, Range.sized(0x9000, 368))),
    vmcoreinfo=Range.sized(0xB000, 0x1024),
    kernel_text=Range.sized(0x1000000, 0x2000000),
    kernel_text_vaddr=0xFFFFFFFF81000000,
    page_offset_vaddr=0xFFFF888000000000,
)
I386_FACTS = CrashFacts(
    vmcoreinfo=Range.sized(0xB000, 0x1024),
    page_offset_vaddr=0xC0000000,
    direct_map_end=0x36FFE000,
)
LOW = Range(0x1000, 0x9FC00)
HIGH = Range(0x100000, 0x40000000)


def test_headers_in_their_order() -> None:
    headers = with_copy(core_headers(FACTS, [LOW, HIGH]), LOW, 0x30000000)
    assert headers == (
        CoreHeader(4, 0x7000, 0x7000, 0, 368),
        CoreHeader(4, 0x9000, 0x9000, 0, 368),
        CoreHeader(4, 0xB000, 0xB000, 0, 0x1024),
        CoreHeader(1, 0x1000000, 0x1000000, 0xFFFFFFFF81000000, 0x2000000, 7),
        CoreHeader(1, 0x30000000, 0x1000, 0xFFFF888000001000, LOW.size, 7),
        CoreHeader(1, 0x100000, 0x100000, 0xFFFF888000100000, HIGH.size, 7),
    )


def test_a_tool_of_others_reads_the_same() -> None:
    headers = core_headers(FACTS, [LOW, HIGH])
    data = build_elfcorehdr(headers, 62)
    assert len(data) == elfcorehdr_size(len(headers))
    elf = ELFFile(io.BytesIO(data))
    assert (elf["e_type"], elf["e_machine"]) == ("ET_CORE", "EM_X86_64")
    found = [
        (s["p_type"], s["p_offset"], s["p_paddr"], s["p_vaddr"], s["p_filesz"], s["p_memsz"])
        for s in elf.iter_segments()
    ]
    names = {4: "PT_NOTE", 1: "PT_LOAD"}
    expected = [(names[h.type], h.offset, h.paddr, h.vaddr, h.size, h.size) for h in headers]
    assert found == expected


def test_parse_is_the_inverse_of_build() -> None:
    headers = with_copy(core_headers(FACTS, [LOW, HIGH]), LOW, 0x30000000)
    assert parse_elfcorehdr(build_elfcorehdr(headers, 62).ljust(4096, b"\0")) == headers


def test_what_the_kernel_does_not_say_is_left_out() -> None:
    bare = CrashFacts(page_offset_vaddr=0xFFFF888000000000)
    assert [item.type for item in core_headers(bare, [HIGH])] == [1]


def test_without_a_direct_map_there_is_no_core() -> None:
    with pytest.raises(PykexecError, match="direct map was not found in /proc/kcore") as caught:
        core_headers(replace(FACTS, page_offset_vaddr=None), [HIGH])
    assert caught.value.hint


def test_memory_that_a_32_bit_kernel_has_not_mapped_has_no_virtual_address() -> None:
    headers = with_copy(core_headers(I386_FACTS, [LOW, HIGH]), LOW, 0x30000000)
    assert headers == (
        CoreHeader(4, 0xB000, 0xB000, 0, 0x1024),
        CoreHeader(1, 0x30000000, 0x1000, 0xC0001000, LOW.size, 7),
        CoreHeader(1, 0x100000, 0x100000, 0xC0100000, 0x36EFE000, 7),
        CoreHeader(1, 0x36FFE000, 0x36FFE000, NO_VADDR, HIGH.end - 0x36FFE000, 7),
    )


@pytest.mark.parametrize(("elf", "ones"), [(ELF32, 0xFFFFFFFF), (ELF64, NO_VADDR)])
def test_a_core_header_of_i386_in_both_classes(elf: ElfClass, ones: int) -> None:
    headers = core_headers(I386_FACTS, [LOW, HIGH])
    data = build_elfcorehdr(headers, 3, elf)
    assert len(data) <= elfcorehdr_size(len(headers))
    assert elfcorehdr_machine(data) == 3
    *others, last = headers
    assert parse_elfcorehdr(data) == (*others, replace(last, vaddr=ones))
    read = ELFFile(io.BytesIO(data))
    assert (read.elfclass, read["e_machine"], read["e_type"]) == (elf.bits, "EM_386", "ET_CORE")
    found = [
        (s["p_offset"], s["p_paddr"], s["p_filesz"], s["p_memsz"], s["p_flags"], s["p_align"])
        for s in read.iter_segments()
    ]
    assert found == [(h.offset, h.paddr, h.size, h.size, h.flags, 0) for h in headers]
    assert [s["p_vaddr"] for s in read.iter_segments()][-1] == ones


def test_elf32_ends_at_4_gib() -> None:
    fits = core_headers(I386_FACTS, [LOW, Range(0xC0000000, 1 << 32)])
    assert parse_elfcorehdr(build_elfcorehdr(fits, 3, ELF32))[-1].size == 0x40000000
    above = core_headers(I386_FACTS, [LOW, Range(0xC0000000, (1 << 32) + 1)])
    with pytest.raises(PykexecError) as caught:
        build_elfcorehdr(above, 3, ELF32)
    assert caught.value.message == (
        "the core header would have 32-bit fields, and there is memory at 0xc0000000-0x100000000"
    )
    assert "leave out --elf32-core-headers" in (caught.value.hint or "")
    assert build_elfcorehdr(above, 3, ELF64)


def test_what_is_no_elf_file_has_no_machine() -> None:
    assert elfcorehdr_machine(b"nonsense") is None


def test_more_headers_than_elf_counts() -> None:
    note = CoreHeader(4, 0, 0, 0, 0)
    with pytest.raises(PykexecError, match="needs 65535 program headers, ELF counts to 65534"):
        build_elfcorehdr([note] * 65535, 62)


@pytest.mark.parametrize(
    ("elf", "size"),
    [*((ELF64, size) for size in (0, 6, 63, 64, 119)), *((ELF32, size) for size in (51, 52, 83))],
)
def test_a_truncated_header_is_refused(elf: ElfClass, size: int) -> None:
    with pytest.raises(ImageError):
        parse_elfcorehdr(build_elfcorehdr(core_headers(I386_FACTS, [HIGH]), 62, elf)[:size])
