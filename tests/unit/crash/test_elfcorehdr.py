"""The ELF core header, byte for byte, and back."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from elftools.elf.elffile import ELFFile

from pykexec.crash.elfcorehdr import (
    CoreHeader,
    build_elfcorehdr,
    core_headers,
    elfcorehdr_size,
    parse_elfcorehdr,
)
from pykexec.errors import ImageError, PykexecError
from pykexec.facts import CrashFacts
from pykexec.ranges import Range

FACTS = CrashFacts(
    crash_notes=((0, Range.sized(0x7000, 368)), (2, Range.sized(0x9000, 368))),
    vmcoreinfo=Range.sized(0xB000, 0x1024),
    kernel_text=Range.sized(0x1000000, 0x2000000),
    kernel_text_vaddr=0xFFFFFFFF81000000,
    page_offset_vaddr=0xFFFF888000000000,
)
LOW = Range(0x1000, 0x9FC00)
HIGH = Range(0x100000, 0x40000000)


def test_headers_in_their_order() -> None:
    headers = core_headers(FACTS, [LOW, HIGH], [(LOW, 0x30000000)])
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
    headers = core_headers(FACTS, [LOW, HIGH], [(LOW, 0x30000000)])
    assert parse_elfcorehdr(build_elfcorehdr(headers, 62).ljust(4096, b"\0")) == headers


def test_what_the_kernel_does_not_say_is_left_out() -> None:
    bare = CrashFacts(page_offset_vaddr=0xFFFF888000000000)
    assert [item.type for item in core_headers(bare, [HIGH])] == [1]


def test_without_a_direct_map_there_is_no_core() -> None:
    with pytest.raises(PykexecError, match="direct map was not found in /proc/kcore") as caught:
        core_headers(replace(FACTS, page_offset_vaddr=None), [HIGH])
    assert caught.value.hint


def test_more_headers_than_elf_counts() -> None:
    note = CoreHeader(4, 0, 0, 0, 0)
    with pytest.raises(PykexecError, match="needs 65535 program headers, ELF counts to 65534"):
        build_elfcorehdr([note] * 65535, 62)


@pytest.mark.parametrize("size", [0, 63, 64, 119])
def test_a_truncated_header_is_refused(size: int) -> None:
    with pytest.raises(ImageError):
        parse_elfcorehdr(build_elfcorehdr(core_headers(FACTS, [HIGH]), 62)[:size])
