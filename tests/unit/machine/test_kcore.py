"""What an ELF core header is made from."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykexec.errors import MachineError
from pykexec.machine.crash_facts import read_crash_facts
from pykexec.machine.description import Description, KcoreLoad
from pykexec.machine.files import MachineFiles
from pykexec.machine.kcore import (
    read_kcore_loads,
)
from pykexec.machine.x86.mapping import find_i386_mapping, find_page_offset
from pykexec.values.facts import CrashFacts
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from tests.builders.machines import MachineDirectory, build_kcore

CODE = IomemEntry(Range(0x4B600000, 0x4C800000), "Kernel code")
IOMEM = (IomemEntry(Range(0x100000, 0x80000000), "System RAM", (CODE,)),)
TEXT = KcoreLoad(0xFFFFFFFF9B600000, 0x2C00123)
LOADS = (
    KcoreLoad(0xFFFFC90000000000, 0x1FFFFFFFFFFF),
    TEXT,
    KcoreLoad(0xFFFFFFFFC0000000, 0x3F000000),
    KcoreLoad(0xFFFF9E4000001000, 0x9E000),
    KcoreLoad(0xFFFF9E4000100000, 0x7FF00000),
)
LOWMEM = (KcoreLoad(0xF77FE000, 0x77E0000), KcoreLoad(0xC0000000, 0x36FFE000))
"""What Debian's 6.1 for i386 shows with more memory than it maps for good."""


def read(
    path: Path,
    *,
    loads: tuple[KcoreLoad, ...] | None = LOADS,
    iomem: tuple[IomemEntry, ...] = IOMEM,
    arch: str = "x86_64",
    xen: bool = False,
) -> CrashFacts:
    return read_crash_facts(MachineFiles(path), Description(arch, kcore=loads), iomem, xen=xen)


def test_kaslr_moves_text_and_direct_map(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write_kcore(LOADS, stext=TEXT.vaddr)
    for loads in (LOADS, None):
        facts = read(tmp_path, loads=loads)
        assert facts.kernel_text == Range(0x4B600000, 0x4B600000 + 0x2C01000)
        assert facts.kernel_text_vaddr == TEXT.vaddr
        assert facts.page_offset_vaddr == 0xFFFF9E4000000000


def test_text_by_its_window_when_the_symbol_is_hidden(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write("proc/kallsyms", "0000000000000000 T _stext\n")
    assert read(tmp_path, loads=(KcoreLoad(0, 4096), *LOADS)).kernel_text_vaddr == TEXT.vaddr


def test_the_symbol_decides_among_candidates(tmp_path: Path) -> None:
    other = KcoreLoad(0xFFFFFFFF81000000, 0x1000)
    machine = MachineDirectory(tmp_path)
    machine.write_kcore((other, *LOADS), stext=TEXT.vaddr + 0x40)
    assert read(tmp_path, loads=None).kernel_text_vaddr == TEXT.vaddr
    (tmp_path / "proc/kallsyms").unlink()
    assert read(tmp_path, loads=None).kernel_text_vaddr == other.vaddr


def test_old_kernels_map_from_a_little_behind_the_start(tmp_path: Path) -> None:
    facts = read(tmp_path, loads=(KcoreLoad(0xFFFFFFFF81000190, 0x1000),))
    assert facts.kernel_text_vaddr == 0xFFFFFFFF81000000
    assert facts.kernel_text == Range(0x4B600000, 0x4B600000 + 0x2000)


def test_modules_are_no_text(tmp_path: Path) -> None:
    assert read(tmp_path, loads=(KcoreLoad(0xFFFFFFFFA0000000, 0x5F000000),)).kernel_text is None


@pytest.mark.parametrize("iomem", [(), (IomemEntry(Range(0, 0x1000), "System RAM", (CODE, CODE)),)])
def test_kernel_code_must_be_there_once(tmp_path: Path, iomem: tuple[IomemEntry, ...]) -> None:
    facts = read(tmp_path, iomem=iomem)
    assert (facts.kernel_text, facts.kernel_text_vaddr) == (None, None)
    assert facts.page_offset_vaddr is not None


def test_unknown_for_xen_and_other_architectures(tmp_path: Path) -> None:
    assert read(tmp_path, xen=True) == CrashFacts()
    assert read(tmp_path, arch="aarch64") == CrashFacts()


def test_a_kernel_without_kcore(tmp_path: Path) -> None:
    assert read(tmp_path, loads=None) == CrashFacts()
    assert find_page_offset(()) is None


def test_a_32_bit_kernel_maps_its_low_memory(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write_kcore(LOWMEM, bits=32, stext=0xC1000000)
    for loads in (LOWMEM, None):
        facts = read(tmp_path, loads=loads, arch="i386")
        assert facts == CrashFacts(page_offset_vaddr=0xC0000000, direct_map_end=0x36FFE000)
    assert read(tmp_path, arch="i386", xen=True) == CrashFacts()
    assert read(tmp_path, loads=None).direct_map_end is None


@pytest.mark.parametrize(
    ("direct", "page_offset", "end"),
    [
        ([(0xB0000000, 0x40000000)], 0xB0000000, 0x40000000),
        ([(0x80000000, 0x70000000)], 0x80000000, 0x70000000),
        ([(0x78000000, 0x78000000)], 0x78000000, 0x78000000),
        ([(0x40000000, 0xB0000000)], 0x40000000, 0xB0000000),
        # Without CONFIG_HIGHMEM: each range of RAM by itself.
        ([(0xC0100000, 0x1FEE0000), (0xC0001000, 0x9E000)], 0xC0000000, 0x1FFE0000),
    ],
)
def test_the_split_of_a_32_bit_address_space(
    direct: list[tuple[int, int]], page_offset: int, end: int
) -> None:
    vmalloc = KcoreLoad(page_offset + end + 0x800000, 0x100000)
    loads = (vmalloc, *(KcoreLoad(*item) for item in direct))
    assert find_i386_mapping(loads) == (page_offset, end)


@pytest.mark.parametrize("loads", [(), LOWMEM[:1]])
def test_a_32_bit_kernel_that_does_not_show_its_mapping(loads: tuple[KcoreLoad, ...]) -> None:
    assert find_i386_mapping(loads) == (None, None)


def test_more_program_headers_than_64_kib(tmp_path: Path) -> None:
    loads = tuple(KcoreLoad((n + 1) << 30, 4096) for n in range(3000))
    MachineDirectory(tmp_path).write_kcore(loads)
    assert read_kcore_loads(MachineFiles(tmp_path)) == loads


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an ELF header has 64 bytes, found 0"),
        (b"\x7fELF" + bytes(60), "is not an ELF file: 7f454c460000"),
        (b"\x7fELF\2\3\1" + bytes(57), "is not an ELF file: 7f454c460203"),
        (b"\x7fELF\2\2\1" + bytes(57), "program headers of 0 bytes, not 56"),
        (build_kcore((), bits=32)[:51], "an ELF header has 52 bytes, found 51"),
        (build_kcore(LOWMEM, bits=32)[:-1], "3 program headers have 96 bytes, found 95"),
        (build_kcore((), bits=32)[:42] + b"\x38\0" + bytes(20), "of 56 bytes, not 32"),
        (build_kcore(LOADS)[:-1], "6 program headers have 336 bytes, found 335"),
        (build_kcore(LOADS)[:32] + b"\xff" * 8 + build_kcore(LOADS)[40:], "beyond any file's end"),
        (build_kcore(LOADS)[:54] + b"\x20\0" + build_kcore(LOADS)[56:], "of 32 bytes, not 56"),
    ],
)
def test_a_malformed_kcore(tmp_path: Path, data: bytes, message: str) -> None:
    MachineDirectory(tmp_path).write("proc/kcore", data)
    with pytest.raises(MachineError) as caught:
        read_kcore_loads(MachineFiles(tmp_path))
    assert message in caught.value.message
    assert "proc/kcore" in caught.value.message


def test_an_unreadable_kcore(tmp_path: Path) -> None:
    (tmp_path / "proc/kcore").mkdir(parents=True)
    with pytest.raises(MachineError, match="Is a directory"):
        read_kcore_loads(MachineFiles(tmp_path))


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-kcore"
    MachineDirectory(path).write("proc/kcore", build_kcore(())[: len(data) % 121] + data)
    with contextlib.suppress(MachineError):
        read_kcore_loads(MachineFiles(path))


def test_crash_notes_in_order_of_the_cpus(tmp_path: Path) -> None:
    machine = MachineDirectory(tmp_path)
    notes = tuple((cpu, Range.sized(0x17FC00000 + (cpu << 20), 368)) for cpu in range(12))
    machine.write_crash_files(CrashFacts(crash_notes=notes))
    machine.write("sys/devices/system/cpu/cpufreq/x", "")
    (tmp_path / "sys/devices/system/cpu/cpu12").mkdir()
    assert read(tmp_path).crash_notes == notes


def test_crash_notes_without_their_size_have_1024_bytes(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write("sys/devices/system/cpu/cpu0/crash_notes", "17fc00000\n")
    assert read(tmp_path).crash_notes == ((0, Range.sized(0x17FC00000, 1024)),)


def test_vmcoreinfo_counts_in_hexadecimal(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write("sys/kernel/vmcoreinfo", "0x0000000100c66000 1024\n")
    assert read(tmp_path).vmcoreinfo == Range.sized(0x100C66000, 0x1024)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("sys/kernel/vmcoreinfo", "0x1000\n", "address and size are needed: '0x1000'"),
        ("sys/kernel/vmcoreinfo", "x y\n", "'x' is not a hexadecimal number"),
        ("sys/kernel/vmcoreinfo", "ffffffffffffffff 2\n", "reach beyond 64 bits"),
        ("sys/devices/system/cpu/cpu0/crash_notes", "-1\n", "'-1' is not a hexadecimal number"),
        ("sys/devices/system/cpu/cpu0/crash_notes_size", "1k\n", "'1k' is not a decimal number"),
        ("proc/kallsyms", "here T _stext\n", "'here' is not a hexadecimal number"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    machine = MachineDirectory(tmp_path)
    machine.write("sys/devices/system/cpu/cpu0/crash_notes", "1000\n")
    machine.write(name, content)
    with pytest.raises(MachineError) as caught:
        read(tmp_path)
    assert message in caught.value.message
    assert name.removesuffix("_size") in caught.value.message
