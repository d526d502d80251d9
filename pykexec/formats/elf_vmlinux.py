"""The ELF ``vmlinux`` of arm64, riscv and loongarch, made into the image in it, and back. Pure.

Its loadable segments, laid out by physical address, are what ``objcopy -O binary`` writes: Linux
arch/*/boot/Makefile makes ``Image`` and ``vmlinux.efi`` by that. arch/*/kernel/vmlinux.lds.S puts
the header of an Image at the entry point, and that of a vmlinux.efi in front of all. Only 64 bits.

A running kernel's own loader of ELF files takes 16 loadable segments at most, which begin and end
with pages (Linux kernel/kexec_file.c, "kexec_add_buffer"). LLVM's linker gives a vmlinux more, so
what is made for that loader has one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from pykexec.architectures import ARCHITECTURES, by_elf_machine
from pykexec.formats.budget import Budget
from pykexec.formats.elf_file import flat_memory, probe, read_elf, refuse_spread
from pykexec.formats.layers import KERNEL_LIMIT, Layer
from pykexec.values.elf_headers import ELF64, PT_LOAD, ElfHeader, ProgramHeader
from pykexec.values.errors import ImageError
from pykexec.values.units import ADDRESS_MAX, KIB, MIB, align_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.formats.elf_file import LoadSegment
    from pykexec.values.buffers import Buffer

NAME = "ELF vmlinux"
_ET_EXEC = 2
_PF_RWX = 7
_RELOCATIONS_SEEN = 64 * KIB
__all__ = ("NAME", "probe", "unwrap", "wrap")


def unwrap(data: Buffer, budget: Budget | None = None) -> Layer:
    """Lay the segments out as the image.

    Raises :class:`ImageError` for an ELF file that is no such kernel, is cut, or whose
    segments overlap or lie too far apart.
    """
    elf = read_elf(data)
    known = by_elf_machine(elf.machine)
    big = bytes(data[5:6]) == b"\2"
    if known is not None and known.elf_programs and big and not known.big_endian:
        raise ImageError(
            f"a big-endian ELF file for the processors of {known.name}; of their kernels those in "
            "little endian can be started",
            offset=5,
            field="e_ident",
        )
    if known is None or not (known.flat_image or known.image_in_elf):
        *first, last = (
            name
            for name, item in ARCHITECTURES.items()
            if item.elf_programs or item.flat_image or item.image_in_elf
        )
        raise ImageError(
            f"an ELF file for {elf.machine_name}; of ELF kernels, those for {', '.join(first)} and "
            f"{last} can be started",
            offset=18,
            field="e_machine",
        )
    if elf.bits != known.word_bits:
        raise ImageError(
            f"the ELF file for {known.name} is not of {known.word_bits} bits",
            offset=4,
            field="e_ident",
        )
    segments = [segment for segment in elf.segments if len(segment.data)]
    _check_relocations(segments, *elf.relocations)
    budget = budget or Budget(KERNEL_LIMIT)
    if known.image_in_elf:
        return Layer(NAME, _flat(segments, segments[0].paddr if segments else 0, budget))
    return Layer(NAME, _image(segments, elf.entry, budget))


def wrap(image: Buffer, size: int, machine: int) -> bytes:
    """Return an ELF file for ``machine`` that lays ``image`` out, entered where it begins.

    ``size`` is the memory that the kernel occupies, in bytes. The file is as long, up to the next
    2 MiB at least: Linux looks for a place by the length of the file, and keeps the rest of the
    load behind it (arch/riscv/kernel/kexec_elf.c, "elf_find_pbase").
    """
    header = ElfHeader(
        _ET_EXEC, machine, 1, 0, ELF64.ehdr.size, 0, 0, ELF64.ehdr.size, ELF64.phdr.size, 1, 0, 0, 0
    )
    load = ProgramHeader(PT_LOAD, _PF_RWX, 4 * KIB, 0, 0, len(image), size, 4 * KIB)
    head = (ELF64.pack_header(header) + ELF64.pack(load)).ljust(load.offset, b"\0")
    length = align_up(max(size, len(head) + len(image)), 2 * MIB)
    return b"".join((head, image)).ljust(length, b"\0")


def _check_relocations(segments: Sequence[LoadSegment], address: int, size: int) -> None:
    """Refuse a kernel that is to relocate itself, by relocations that its build has removed.

    Of riscv64 kernels with CONFIG_RELOCATABLE the build strips ``vmlinux`` when the Image is made
    (Linux arch/riscv/Makefile.postlink): its pointers are zeros then, and nothing fills them in.
    """
    end = address + min(size, _RELOCATIONS_SEEN)
    found = (
        item.data[max(address - item.vaddr, 0) : max(end - item.vaddr, 0)] for item in segments
    )
    if size and not any(any(part) for part in found):
        raise ImageError(
            f"the kernel's relocations, {size} bytes at {address:#x}, have been stripped from the "
            "ELF file: it would run with empty pointers",
            field="DT_RELA",
            hint="give the Image of the same build (arch/*/boot/Image), or vmlinux.relocs",
        )


def _image(segments: Sequence[LoadSegment], entry_vaddr: int, budget: Budget) -> Buffer:
    """Return memory from the entry point to the end of the Image that is there."""
    first = next((s for s in segments if s.vaddr <= entry_vaddr < s.vaddr + len(s.data)), None)
    if first is None:
        raise ImageError(
            f"the ELF file is malformed: no segment has its entry point {entry_vaddr:#x}",
            offset=24,
            field="e_entry",
        )
    start = first.paddr + entry_vaddr - first.vaddr
    end = start + _image_size(first.data[entry_vaddr - first.vaddr :])
    return _flat([s for s in segments if s.paddr + len(s.data) > start], start, budget, end)


def _flat(
    segments: Sequence[LoadSegment], start: int, budget: Budget, end: int = ADDRESS_MAX
) -> Buffer:
    """Return memory from ``start`` on, of segments that begin before ``end``.

    Gaps between them are zeros.
    """
    if not segments:
        raise ImageError("the ELF file has no segment to load", field="p_type")
    for lower, upper in pairwise(segments):
        if lower.paddr + len(lower.data) > upper.paddr:
            raise ImageError(
                f"the ELF file is malformed: two segments overlap at {upper.paddr:#x}",
                field="p_paddr",
            )
    size = segments[-1].paddr + len(segments[-1].data) - start
    refuse_spread(size)
    budget.copy(size, "the ELF vmlinux")
    return flat_memory([s for s in segments if s.paddr < end], start)


def _image_size(image: Buffer) -> int:
    """Return how much memory the Image that begins so occupies; what is behind is not of it.

    There LLVM's objcopy leaves what it removes from a vmlinux (``.modinfo``: Linux
    scripts/Makefile.vmlinux).
    """
    from pykexec.formats import linux_image

    if linux_image.probe(image) is not None:
        return ADDRESS_MAX
    return linux_image.read_header(image).image_size or ADDRESS_MAX
