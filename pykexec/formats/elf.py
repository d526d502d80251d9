"""The ELF ``vmlinux`` of arm64, made into the ``Image`` that it is built into. Pure.

Its loadable segments, laid out by physical address from the entry point on, are what
``objcopy -O binary`` writes: arch/arm64/boot/Makefile makes ``Image`` by that, and
arch/arm64/kernel/vmlinux.lds.S puts the Image header at the entry point. Only 64 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.errors import ImageError
from pykexec.formats.elf_file import EM_AARCH64, LoadSegment, probe, read_elf
from pykexec.formats.layers import KERNEL_LIMIT, Layer
from pykexec.units import format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.plans import Buffer

NAME = "ELF vmlinux"
__all__ = ("NAME", "probe", "unwrap")


def unwrap(data: Buffer) -> Layer:
    """Lay the segments out as the Image.

    Raises :class:`ImageError` for an ELF file that is no arm64 kernel, is cut, or whose
    segments overlap or lie too far apart.
    """
    elf = read_elf(data)
    if elf.machine != EM_AARCH64:
        raise ImageError(
            f"an ELF file for {elf.machine_name}; of ELF kernels, those for x86_64, i386 and "
            "aarch64 can be started",
            offset=18,
            field="e_machine",
        )
    if elf.bits != 64:
        raise ImageError("the ELF file for aarch64 is not of 64 bits", offset=4, field="e_ident")
    segments = [segment for segment in elf.segments if len(segment.data)]
    return Layer(NAME, _flat(segments, elf.entry))


def _flat(segments: Sequence[LoadSegment], entry_vaddr: int) -> Buffer:
    """Return memory from the entry point on; gaps between segments are zeros."""
    first = next((s for s in segments if s.vaddr <= entry_vaddr < s.vaddr + len(s.data)), None)
    if first is None:
        raise ImageError(
            f"the ELF file is malformed: no segment has its entry point {entry_vaddr:#x}",
            offset=24,
            field="e_entry",
        )
    start = first.paddr + entry_vaddr - first.vaddr
    segments = [s for s in segments if s.paddr + len(s.data) > start]
    if len(segments) == 1:
        return first.data[start - first.paddr :]
    size = segments[-1].paddr + len(segments[-1].data) - start
    if size > KERNEL_LIMIT:
        raise ImageError(
            f"the ELF file's segments spread over {format_size(size)}; at most "
            f"{format_size(KERNEL_LIMIT)} are taken",
            field="p_paddr",
        )
    flat = bytearray()
    for segment in segments:
        gap = segment.paddr - start - len(flat)
        skipped = max(start - segment.paddr, 0)
        if gap + skipped < 0:
            raise ImageError(
                f"the ELF file is malformed: two segments overlap at {segment.paddr:#x}",
                field="p_paddr",
            )
        flat += bytes(gap + skipped)
        flat += segment.data[skipped:]
    return bytes(flat)
