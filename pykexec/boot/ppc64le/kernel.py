"""What a 64-bit POWER kernel demands, as its first bytes say it. Pure.

Linux arch/powerpc/kernel/head_64.S: an instruction that switches the byte order where it is the
wrong one, at 0x5c the word by which a relocatable kernel is told to stay where it is, at 0x60 where
the other processors wait.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.formats.elf_file import flat_memory, refuse_spread
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.large_values import reduce_to_copies, short_repr
from pykexec.values.units import KIB
from pykexec.values.wishes import Origin, aligned, at_least

if TYPE_CHECKING:
    from pykexec.formats.elf_program import ElfProgram
    from pykexec.values.wishes import Limit

HEAD_SIZE = 0x100
RUN_AT_LOAD = 0x5C
RELOCATABLE = b"0nur"
""""run0" as a number of 32 bits."""
_BEGIN = bytes.fromhex("48000008")
"""A branch over the next instruction in big endian, none at all in little endian."""
_BIG_BEGIN = _BEGIN[::-1]
"""That the other way round, as a big-endian kernel begins: it runs on in big endian, in which any
kernel is entered (Linux arch/powerpc/include/asm/ppc_asm.h, "FIXUP_ENDIAN")."""
_ALIGN = 64 * KIB
_FINDS_CORE_HEADER = (5, 15)
"""Linux drivers/of/fdt.c, "early_init_dt_check_for_elfcorehdr"."""


@dataclass(frozen=True, slots=True)
class PowerKernel:
    """A kernel as it is to lie in memory."""

    data: memoryview
    memsz: int
    """Bytes of memory from its start on, its BSS included."""
    limits: tuple[Limit, ...]
    """On its place."""
    finds_core_header: bool
    """By ``linux,elfcorehdr`` in /chosen; Linux before 5.15 knows ``elfcorehdr=`` alone."""

    __repr__ = short_repr
    __reduce__ = reduce_to_copies


def power_kernel(image: ElfProgram, *, crash: bool) -> PowerKernel:
    """Return what is loaded of ``image``.

    Raises :class:`ImageError` for what is no kernel, and for one that cannot stay where a crash
    kernel has to.
    """
    if image.bits != 64 or not image.is_linux:
        raise ImageError(
            "the ELF file is no Linux kernel: nothing in it says 'Linux version'",
            hint="give vmlinux, not what wraps it for Open Firmware (zImage)",
        )
    start = image.start
    refuse_spread(image.end - start)
    data = flat_memory(image.segments, start)
    head = bytes(data[:HEAD_SIZE])
    begin = _BIG_BEGIN if image.is_big_endian else _BEGIN
    if image.entry_addr != start or len(head) < HEAD_SIZE or head[:4] != begin:
        raise ImageError(
            f"not a kernel that can be entered at its first byte: that is {head[:4].hex(' ')} and "
            f"not {begin.hex(' ')}, and its entry point lies {image.entry_addr - start:#x} behind",
            field="e_entry",
            hint="give vmlinux of a kernel for servers (CONFIG_PPC_BOOK3S_64)",
        )
    if crash:
        refuse_big_endian(image)
    if crash and head[RUN_AT_LOAD : RUN_AT_LOAD + 4] != RELOCATABLE:
        raise ImageError(
            "this kernel cannot be a crash kernel: it is not relocatable (no 'run0' at offset "
            f"{RUN_AT_LOAD:#x}), and would copy itself over the crashed one",
            hint="give a kernel with CONFIG_RELOCATABLE",
        )
    align = max(_ALIGN, *(segment.align for segment in image.segments))
    limits = (
        aligned(align, "64 KiB (p_align) of a ppc64le kernel", Origin.HEADER),
        *((at_least(start, "p_paddr", Origin.HEADER),) if start else ()),
    )
    version = re.match(r"(\d{1,4})\.(\d{1,4})", image.release)
    finds = version is not None and (int(version[1]), int(version[2])) >= _FINDS_CORE_HEADER
    return PowerKernel(data, image.end - start, limits, finds)


def refuse_big_endian(image: ElfProgram) -> None:
    """Raise :class:`ImageError` for a big-endian kernel that is to be the crash kernel.

    Linux fs/proc/vmcore.c, "parse_crash_elf64_headers": it reads the core header in its own byte
    order, whichever call loaded it, and the notes that the crashed kernel writes.
    """
    if image.is_big_endian:
        raise ImageError(
            "a big-endian kernel cannot be the crash kernel of a little-endian one: the core "
            "header and its notes are little-endian, and it would have no /proc/vmcore",
            offset=5,
            field="e_ident",
            hint="give a little-endian kernel",
        )
