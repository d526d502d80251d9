"""ELF programs for x86: what is read of them, and what is refused."""

from __future__ import annotations

import struct

import pytest

from pykexec.errors import ImageError
from pykexec.formats import identify
from pykexec.formats.elf_program import ElfProgram, parse_elf_program, probe
from tests.builders.elf import ElfSpec, Load, build_elf, build_x86_vmlinux, noise

PLAIN = build_elf()
ENTRY = 24


def changed(offset: int, form: str, value: int) -> bytes:
    data = bytearray(PLAIN)
    struct.pack_into(form, data, offset, value)
    return bytes(data)


def parsed(data: bytes) -> ElfProgram:
    image = identify(data, "x86_64").image
    assert isinstance(image, ElfProgram)
    return image


@pytest.mark.parametrize("bits", [64, 32])
def test_a_vmlinux(bits: int) -> None:
    image = parsed(build_x86_vmlinux(bits=bits))
    assert image.is_linux
    assert image.release == "6.99.0-synthetic"
    assert image.format_name == f"ELF{bits} vmlinux"
    assert image.bits == bits
    assert image.entry_addr == 0x1000C43
    assert (image.start, image.end) == (0x1000000, 0x1240000)
    assert [(s.paddr, len(s.data), s.memsz) for s in image.segments][1] == (
        0x1200000,
        0x1234,
        0x40000,
    )
    assert not image.relocatable


def test_a_program_that_is_not_linux() -> None:
    image = parsed(build_elf(ElfSpec(type=3)))
    assert not image.is_linux
    assert image.release == ""
    assert image.format_name == "ELF64"
    assert image.relocatable
    assert bytes(image.segments[0].data) == noise(0x2800)


def test_segments_come_by_address_and_empty_ones_not_at_all() -> None:
    loads = (Load(0x300000, noise(16)), Load(0x200000, noise(32)), Load(0x100000, b""))
    image = parsed(build_elf(ElfSpec(loads=loads)))
    assert [segment.paddr for segment in image.segments] == [0x200000, 0x300000]


def test_a_virtual_entry_point_becomes_a_physical_one() -> None:
    load = Load(0x200000, noise(64), vaddr=0xFFFFFFFF80000000)
    assert parsed(build_elf(ElfSpec((load,), entry=0xFFFFFFFF80000020))).entry_addr == 0x200020
    assert parsed(build_elf(ElfSpec((load,), entry=0x200020))).entry_addr == 0x200020


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (build_elf(ElfSpec(loads=())), "the ELF file has no segment to load"),
        (build_elf(ElfSpec(entry=0x100)), "no segment has its entry point 0x100"),
        (build_elf(ElfSpec(entry=0x202800)), "no segment has its entry point 0x202800"),
        (
            build_elf(ElfSpec((Load(0x200000, noise(64)), Load(0x20003F, noise(64))))),
            "two segments overlap at 0x20003f",
        ),
        (
            build_elf(ElfSpec((Load(0x200000, noise(64), 1 << 30),))),
            "segments take 1 GiB of memory; at most 512 MiB",
        ),
        (PLAIN[:0x2000], "truncated: its segment 0"),
        (changed(56, "<H", 1025), "has 1025 program headers; at most 1024 are taken"),
        (PLAIN[:100], "truncated: its program headers"),
        (build_elf(ElfSpec(type=4)), "an ELF file of type 4"),
    ],
)
def test_refuses(data: bytes, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        identify(data, "x86_64")
    assert words in caught.value.message


@pytest.mark.parametrize("bits", [32, 64])
def test_a_program_that_needs_libraries_is_no_kernel(bits: int) -> None:
    """Unlike one that links itself, as relocatable kernels may."""
    word = "I" if bits == 32 else "Q"
    machine = 3 if bits == 32 else 62

    def program(*tags: int) -> bytes:
        dynamic = b"".join(struct.pack(f"<2{word}", tag, 7) for tag in tags)
        return build_elf(ElfSpec(bits=bits, machine=machine, type=3, dynamic=dynamic))

    assert parsed(program(7, 8, 9, 0, 1)).relocatable
    with pytest.raises(ImageError, match="a program for a running system, and no kernel"):
        identify(program(12, 1, 0))
    # A dynamic section that is not all in the file.
    cut = program(*[7] * 300)
    assert parsed(cut[:-2000]).relocatable


def test_an_arm64_machine_does_not_start_it() -> None:
    with pytest.raises(ImageError, match=r"a kernel for x86 \(ELF64\) cannot be started"):
        identify(PLAIN, "aarch64")


def test_probe_says_why_not() -> None:
    assert probe(PLAIN) is None
    assert "no ELF magic" in str(probe(b"MZ"))
    assert "its e_machine is 183" in str(probe(changed(18, "<H", 183)))


def test_the_file_is_not_copied() -> None:
    data = memoryview(PLAIN)
    assert parse_elf_program(data).segments[0].data.obj is data.obj
