"""The ELF vmlinux of arm64 becomes the Image that it is built into."""

from __future__ import annotations

import struct

import pytest

from pykexec.errors import ImageError
from pykexec.formats import elf_vmlinux, identify
from pykexec.formats.vmlinux_efi import VmlinuxEfi
from tests.builders import loongarch, riscv64
from tests.builders.elf import ElfSpec, Load, build_elf
from tests.builders.images import KERNEL_VADDR, build_image, build_vmlinux

IMAGE = build_image()
VMLINUX = build_vmlinux(IMAGE)
PHDR, PHDR_SIZE = 64, 56
VMLINUX32 = build_elf(ElfSpec(machine=183, bits=32))


def changed(offset: int, form: str, value: int) -> bytes:
    data = bytearray(VMLINUX)
    struct.pack_into(form, data, offset, value)
    return bytes(data)


def phdr(index: int, offset: int, value: int) -> bytes:
    return changed(PHDR + index * PHDR_SIZE + offset, "<Q", value)


def test_big_endian_where_kernels_are_little_endian_alone() -> None:
    with pytest.raises(ImageError, match="a big-endian ELF file for the processors of x86_64"):
        identify(build_elf(ElfSpec(big_endian=True)))


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("paddr", [None, 0, 0x40200000])
def test_gives_what_objcopy_would(big: bool, paddr: int | None) -> None:
    found = identify(build_vmlinux(IMAGE, big=big, paddr=paddr), "aarch64")
    assert bytes(found.file) == IMAGE
    assert [wrapping.name for wrapping in found.wrappings] == ["ELF vmlinux"]


def test_a_gap_between_segments_is_zeros() -> None:
    """The second segment lies a page further than the first one ends."""
    flat = elf_vmlinux.unwrap(phdr(1, 24, KERNEL_VADDR + 0x3000)).inner
    assert bytes(flat) == IMAGE[:0x2000] + bytes(0x1000) + IMAGE[0x2000:]


def test_what_lies_below_the_entry_point_is_left_out() -> None:
    data = bytearray(changed(24, "<Q", KERNEL_VADDR + 0x1234))
    assert bytes(elf_vmlinux.unwrap(bytes(data)).inner) == IMAGE[0x1234:]
    struct.pack_into("<Q", data, 24, KERNEL_VADDR + 0x2001)
    assert bytes(elf_vmlinux.unwrap(bytes(data)).inner) == IMAGE[0x2001:]


def test_one_segment_is_not_copied() -> None:
    data = memoryview(changed(56, "<H", 1))
    flat = elf_vmlinux.unwrap(data).inner
    assert isinstance(flat, memoryview)
    assert flat.obj is data.obj
    assert bytes(flat) == IMAGE[:0x2000]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (VMLINUX[:5], "of no known class and byte order (e_ident 7f 45 4c 46 02)"),
        (changed(4, "B", 3), "of no known class and byte order"),
        (changed(5, "B", 3), "of no known class and byte order"),
        (VMLINUX32, "the ELF file for aarch64 is not of 64 bits"),
        (
            VMLINUX[:60],
            "the ELF file is truncated: its header should take the bytes from 0x0 to 0x40",
        ),
        (changed(16, "<H", 4), "an ELF file of type 4; a kernel is of type 2"),
        (
            changed(18, "<H", 22),
            "an ELF file for s390x; of ELF kernels, those for x86_64, aarch64, riscv64, i386, "
            "ppc64le, loongarch64 and m68k can be started",
        ),
        (changed(18, "<H", 8), "an ELF file for mips; of"),
        (changed(18, "<H", 9), "an ELF file for machine 9; of"),
        (changed(18, "<H", 40), "an ELF file for arm; of ELF kernels, those for x86_64, aarch64"),
        (phdr(0, 40, 1), "its segment 0 has 0x2000 bytes for 0x1 bytes of memory at"),
        (phdr(0, 24, 2**64 - 1), "of memory at 0xffffffffffffffff"),
        (phdr(0, 48, 3), "p_align of its segment 0 is 0x3, no power of two"),
        (changed(54, "<H", 32), "e_phentsize is 32, not 56"),
        (changed(32, "<Q", 1 << 40), "the ELF file is truncated: its program headers should take"),
        (VMLINUX[:-1], "the ELF file is truncated: its section headers should take the bytes from"),
        (
            phdr(1, 32, 1 << 30),
            "the ELF file is truncated: its segment 1 should take the bytes from",
        ),
        (changed(24, "<Q", 0x1000), "no segment has its entry point 0x1000"),
        (phdr(1, 24, 0xFFFF800080001000), "two segments overlap at 0xffff800080001000"),
        (phdr(1, 24, 0xFFFF8000C0000000), "segments spread over 1.0 GiB; at most 512 MiB are"),
    ],
)
def test_refuses(data: bytes, words: str) -> None:
    with pytest.raises(ImageError) as caught:
        identify(data)
    assert words in caught.value.message


LOONGARCH = loongarch.KERNEL
CACHED = 0x9000000000000000 | loongarch.LOAD_OFFSET


def loongarch_elf(*loads: Load, entry: int = CACHED + loongarch.ENTRY) -> bytes:
    """Build a loongarch64 vmlinux, whose physical addresses are virtual ones."""
    return build_elf(ElfSpec(machine=258, entry=entry, loads=loads))


@pytest.mark.parametrize("cut", [len(LOONGARCH), 0x8000, loongarch.ENTRY + 0x100])
def test_a_vmlinux_efi_is_all_of_memory_and_not_from_the_entry_point_on(cut: int) -> None:
    parts = [(0, LOONGARCH[:cut]), (cut, LOONGARCH[cut:])]
    loads = [Load(CACHED + at, data) for at, data in parts if data]
    found = identify(loongarch_elf(*loads), "loongarch64")
    assert bytes(found.file) == LOONGARCH
    assert [wrapping.name for wrapping in found.wrappings] == ["ELF vmlinux"]
    assert isinstance(found.image, VmlinuxEfi)
    assert found.image.entry_offset == loongarch.ENTRY


@pytest.mark.parametrize(
    ("loads", "message"),
    [
        ((), "the ELF file has no segment to load"),
        # Old vendors' kernels, that unpack themselves.
        ((Load(CACHED, bytes(0x8000)),), "in ELF vmlinux: not a kernel image"),
    ],
)
def test_other_loongarch_programs_are_refused(loads: tuple[Load, ...], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        identify(loongarch_elf(*loads), "loongarch64")


LINKED = 0xFFFFFFFF80000000
RELOCATIONS = b"".join(struct.pack("<3Q", LINKED + at, 3, LINKED) for at in (0x80, 0x88))


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("behind", [0, 0x1000], ids=["with the data", "alone"])
def test_relocations_that_the_build_has_stripped(kept: bool, behind: int) -> None:
    """As ``objcopy --remove-section='.rela.*'`` leaves a file: the section's bytes are zeros."""
    image = riscv64.build_image()
    place = LINKED + len(image) + behind
    dynamic = struct.pack("<8Q", 30, 6, 7, place, 8, len(RELOCATIONS), 0, 0)
    content = RELOCATIONS if kept else bytes(len(RELOCATIONS))
    first = Load(LINKED, image + (b"" if behind else content))
    loads = (first, Load(place, content)) if behind and kept else (first,)
    data = build_elf(ElfSpec(loads, LINKED, machine=243, type=3, dynamic=dynamic))
    if kept:
        assert bytes(elf_vmlinux.unwrap(data).inner)[: len(image)] == image
        return
    with pytest.raises(
        ImageError, match=r"48 bytes at 0xffffffff8\w+, have been stripped"
    ) as caught:
        elf_vmlinux.unwrap(data)
    assert "boot/Image" in str(caught.value.hint)
