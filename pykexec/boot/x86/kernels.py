"""What the Linux protocol of x86 needs to know of a kernel, whatever file it came in. Pure.

A bzImage has a setup header; a ``vmlinux`` has none, and one is made up for it that says what
the kernel without its decompressor can do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from pykexec.formats._structures import SETUP_HEADER
from pykexec.formats.bzimage import (
    MAGIC,
    SETUP_HEADER_OFFSET,
    LoadFlags,
    XLoadFlags,
    decode_setup_header,
)
from pykexec.planning.wanted import Option
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import MIB, align_down, align_up
from pykexec.values.wishes import Origin, Prefer, aligned, at_least, at_most, inside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.formats.bzimage import BzImage, SetupHeader
    from pykexec.formats.elf_file import LoadSegment
    from pykexec.formats.elf_program import ElfProgram
    from pykexec.planning.plan_builder import PlanBuilder
    from pykexec.values.buffers import Buffer
    from pykexec.values.wishes import Limit

ENTRY_64_OFFSET = 0x200
"""The 64-bit entry point, from the load address of the protected-mode kernel."""
LOWEST_PLACE = MIB
"""The first MiB is left to firmware and to the next kernel's real-mode trampoline."""
ISA_DMA_END = 16 * MIB
"""Below, the next kernel has memory for ISA DMA, and the place where it is linked to run."""

_PAGE = 4096
_VMLINUX_PROTOCOL = 0x020F
_VMLINUX_ALIGNMENT = 2 * MIB
"""startup_64 maps the kernel where it finds itself, in pages of 2 MiB (Linux
arch/x86/kernel/head64.c, "__startup_64")."""
_VMLINUX_CMDLINE_SIZE = 2047
"""Linux arch/x86/include/asm/setup.h, "COMMAND_LINE_SIZE"."""
_LOWMEM_LAST = 0x35FFFFFF
"""The last byte that a 32-bit kernel surely maps for good. That ends at 896 MiB (Linux
Documentation/arch/x86/boot.rst, "initrd_addr_max") less the fixed mappings, 21 MiB with Debian's
6.1; a kernel that lies across that end faults when it sets its page tables up."""
_INITRD_ADDR_MAX_64 = 0x7FFFFFFF
_INITRD_ADDR_MAX_32 = 0x37FFFFFF
_EFI_KEXEC_SINCE = (3, 14)


class X86Kernel(Protocol):
    """A kernel that the Linux protocol can start."""

    header: SetupHeader
    raw_header: bytes
    """What the zero page gets, from 0x1f1 on."""
    bits: int
    """Of the mode that it is entered in: 64, 32 or 16."""
    notes: tuple[str, ...]

    def want(self, builder: PlanBuilder, limits: Sequence[Limit]) -> None:
        """Ask for the kernel's place within ``limits``."""

    def enter(self, builder: PlanBuilder) -> tuple[int, int]:
        """Return the first byte of the placed kernel, and its entry point."""


class BzImageKernel:
    """A bzImage."""

    def __init__(self, image: BzImage, bits: int) -> None:
        """Take a parsed bzImage, to be entered at its entry point of so many bits."""
        self.bits = bits
        self.header = image.header
        self.raw_header = image.raw_header
        self.notes: tuple[str, ...] = ()
        self._payload = image.payload
        self._memory_needed = image.memory_needed

    def want(self, builder: PlanBuilder, limits: Sequence[Limit]) -> None:
        """See :class:`X86Kernel`: the kernel decompresses in place over ``init_size`` bytes."""
        size = align_up(self._memory_needed, builder.page_size)
        own = _kernel_limits(self.header, size)
        prefer = Prefer.TOP
        if not self.header.wide:
            own += (at_most(_LOWMEM_LAST, "a 32-bit kernel runs in memory that it always maps"),)
            prefer = Prefer.BOTTOM
        builder.want(Role.KERNEL, size, *own, *limits, data=self._payload, prefer=prefer)

    def enter(self, builder: PlanBuilder) -> tuple[int, int]:
        """See :class:`X86Kernel`."""
        start = builder.place_of(Role.KERNEL).start
        return start, start + (ENTRY_64_OFFSET if self.bits == 64 else 0)


class VmlinuxKernel:
    """A kernel without its decompressor."""

    def __init__(self, image: ElfProgram) -> None:
        """Take a parsed ELF file with Linux in it."""
        self._image = image
        self.bits = image.bits
        self.raw_header = _made_up_header(image)
        self.header = decode_setup_header(
            bytes(SETUP_HEADER_OFFSET) + self.raw_header, SETUP_HEADER_OFFSET, len(self.raw_header)
        )
        self.notes: tuple[str, ...] = (
            "the kernel is entered without its decompressor, which chooses a random address",
        )

    def want(self, builder: PlanBuilder, limits: Sequence[Limit]) -> None:
        """See :class:`X86Kernel`: where it is linked to run, or else anywhere if it can."""
        base, data, size = flat_image(self._image.segments, builder.page_size)
        linked = inside(
            Range.sized(base, size), "where the vmlinux is linked to run (p_paddr)", Origin.HEADER
        )
        options = [Option(size, (*linked, *limits))]
        if self.header.relocatable_kernel:
            source = "vmlinux away from the place that it is linked to run at"
            moved = (
                aligned(self.header.kernel_alignment, source, Origin.HEADER),
                at_least(LOWEST_PLACE, source),
            )
            options.append(Option(size, (*moved, *limits)))
        builder.want_one_of(Role.KERNEL, *options, data=data)

    def enter(self, builder: PlanBuilder) -> tuple[int, int]:
        """See :class:`X86Kernel`."""
        start = builder.place_of(Role.KERNEL).start
        base = align_down(self._image.segments[0].paddr, builder.page_size)
        return start, start + self._image.entry_addr - base


def flat_image(
    segments: Sequence[LoadSegment], page_size: int, align: int = 1
) -> tuple[int, Buffer, int]:
    """Lay segments that lie close together out as one; returns address, data and size in memory.

    Address and size are whole pages, and the address is a multiple of ``align``, a power of two;
    the data are :func:`flat_memory`. Raises :class:`ImageError` when they lie too far apart.
    """
    from pykexec.formats.elf_file import flat_memory, refuse_spread

    base = align_down(segments[0].paddr, max(page_size, align))
    last = segments[-1]
    size = align_up(last.paddr + last.memsz - base, page_size)
    refuse_spread(size)
    return base, flat_memory(segments, base), size


def _kernel_limits(header: SetupHeader, size: int) -> tuple[Limit, ...]:
    """Return where a bzImage may lie (boot.rst, "pref_address")."""
    if not header.relocatable_kernel:
        fixed = "pref_address of a kernel that is not relocatable"
        return inside(Range.sized(header.pref_address, size), fixed, Origin.HEADER)
    return (
        aligned(max(header.kernel_alignment, 1), "kernel_alignment", Origin.HEADER),
        at_least(max(header.pref_address, LOWEST_PLACE), "pref_address", Origin.HEADER),
    )


def _made_up_header(image: ElfProgram) -> bytes:
    """Return a setup header with what holds for every ``vmlinux`` of that kind."""
    fields = SETUP_HEADER.parse(bytes(SETUP_HEADER.size))
    wide = image.bits == 64
    start = align_down(image.start, _PAGE)
    flags = XLoadFlags(0)
    if wide:
        flags = XLoadFlags.XLF_KERNEL_64 | XLoadFlags.XLF_CAN_BE_LOADED_ABOVE_4G
        # It finds out by itself how many levels the page tables have that it is entered with.
        flags |= XLoadFlags.XLF_5LEVEL
        if _version(image.release) >= _EFI_KEXEC_SINCE:
            flags |= XLoadFlags.XLF_EFI_KEXEC
    fields.boot_flag = 0xAA55
    fields.header = MAGIC
    fields.version = _VMLINUX_PROTOCOL
    fields.loadflags = LoadFlags.LOADED_HIGH
    fields.initrd_addr_max = _INITRD_ADDR_MAX_64 if wide else _INITRD_ADDR_MAX_32
    fields.kernel_alignment = _VMLINUX_ALIGNMENT if wide else 1
    fields.relocatable_kernel = wide and not image.start % _VMLINUX_ALIGNMENT
    fields.xloadflags = flags
    fields.cmdline_size = _VMLINUX_CMDLINE_SIZE
    fields.pref_address = start
    fields.init_size = min(image.end - start, 0xFFFFFFFF)
    return SETUP_HEADER.build(vars(fields))


def _version(release: str) -> tuple[int, int]:
    """Return the first two numbers of a release."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)
