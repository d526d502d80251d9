"""From an s390x kernel to a plan. Pure.

Linux arch/s390/boot/head.S, arch/s390/kernel/machine_kexec.c. A kernel runs at address 0. Below its
entry point at 0x10000 it has nothing that it needs, and the running kernel writes there at the
jump: so the first 64 KiB of an image are left out. All that it is told stands in its parameter
area.

A capture kernel is loaded into the crash region and runs at 0 as well: the purgatory exchanges the
two, and every address that the kernel is told is one after that. It finds out by itself what memory
is to be dumped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.boot.load_space import free_for, load_limits
from pykexec.boot.purgatory_segment import fill_purgatory
from pykexec.boot.s390x.file_placement import foreign_byte
from pykexec.formats.ipl_image import (
    ENTRY,
    KDUMP_ENTRY,
    PARAMETERS,
    ParameterArea,
    read_parameters,
    with_parameters,
)
from pykexec.planning.plan_builder import PlanBuilder
from pykexec.planning.plans import SegmentPlan
from pykexec.planning.wanted import Option
from pykexec.purgatory_objects.s390x import S390xRegisters
from pykexec.values.calls import KexecFlags, Target
from pykexec.values.errors import CommandLineError, OptionError
from pykexec.values.memory import MemoryKind, MemoryMap, MemoryRegion, crash_region
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB, align_up, counted, format_size
from pykexec.values.wishes import Origin, Prefer, aligned, at_least, at_most, inside

if TYPE_CHECKING:
    from pykexec.formats.ipl_image import IplImage
    from pykexec.planning.plans import LoadRequest
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.values.facts import MachineFacts
    from pykexec.values.wishes import Limit

PURGATORY_END = 2 * GIB
"""The running kernel leaves by a PSW of 31 bits: Linux arch/s390/kernel/relocate_kernel.S."""
_INITRD_MIN = 8 * MIB
"""Kernels that unpack themselves to the beginning of memory have it below that."""
_INITRD_ALIGN = MIB


def plan_kernel(
    facts: MachineFacts, request: LoadRequest, image: IplImage, purgatory: PurgatoryObject
) -> SegmentPlan:
    """Lay out a kernel.

    Raises :class:`CommandLineError` when the command line is too long, :class:`OptionError` for
    what such kernels take from nobody, :class:`NoCrashRegionError`, and :class:`NoRoomError` when a
    segment has no place.
    """
    crash = request.target is Target.CRASH
    _check_cmdline(request.cmdline, image)
    if request.ima:
        raise OptionError(
            "--ima: s390x kernels look for no measurement list from the kernel before",
            hint="leave out --ima",
        )
    if request.dtb is not None:
        raise OptionError("--dtb: s390x has no device trees", hint="leave the option out")
    free = free_for(facts, request)
    region = crash_region(facts.iomem) if crash else None
    base = region.start if region is not None else 0
    limits = (*load_limits(facts, request), *_behind(region, purgatory))
    builder = PlanBuilder(free, facts.page_size, limits)
    size = align_up(image.memsz, facts.page_size)
    place = Range(base + ENTRY, base + size)
    builder.want_one_of(
        Role.KERNEL,
        Option(place.size, inside(place, "where the kernel runs", Origin.HEADER), Prefer.BOTTOM),
    )
    if request.initrd is not None:
        lowest = at_least(base + max(_INITRD_MIN, size), "above the kernel, and 8 MiB")
        builder.want(
            Role.INITRD,
            len(request.initrd),
            aligned(_INITRD_ALIGN, "1 MiB"),
            lowest,
            data=request.initrd,
            prefer=Prefer.BOTTOM,
        )
    low = () if crash else (at_most(PURGATORY_END - 1, "below 2 GiB: it is entered in 31 bits"),)
    builder.want(Role.PURGATORY, purgatory.memsz, *low, checked=False)
    builder.settle()
    builder.fill(Role.KERNEL, _kernel_data(request, image, builder, region))
    entry = base + (KDUMP_ENTRY if crash else ENTRY)
    registers = S390xRegisters(base, region.size if region is not None else 0, entry)
    fill_purgatory(builder, purgatory, request, registers)
    return SegmentPlan(
        arch=facts.arch,
        page_size=facts.page_size,
        target=request.target,
        entry=builder.place_of(Role.PURGATORY).start + purgatory.entry,
        kernel_entry=entry,
        flags=architecture_of(facts.arch).kexec_flag | (KexecFlags.KEXEC_ON_CRASH if crash else 0),
        segments=builder.segments,
        cmdline=request.cmdline,
        memory_map=_memory_map(facts, region),
        notes=request.notes,
    )


def _check_cmdline(cmdline: bytes, image: IplImage) -> None:
    foreign = foreign_byte(cmdline)
    if foreign is not None:
        raise CommandLineError(foreign, hint="write it in ASCII")
    longest = image.cmdline_size - 1
    if len(cmdline) <= longest:
        return
    raise CommandLineError(
        f"the command line has {counted(len(cmdline), 'byte')}, this kernel takes at most "
        f"{longest} (max_command_line_size {image.cmdline_size}, with a NUL)",
        hint=f"shorten it by {format_size(len(cmdline) - longest)}",
    )


def _behind(region: Range | None, purgatory: PurgatoryObject) -> tuple[Limit, ...]:
    """Keep the end of a crash region free: what the purgatory's copy lies on is saved there."""
    if region is None:
        return ()
    last = region.end - purgatory.memsz - 1
    return (at_most(last, "the region's end, where the purgatory saves what it takes"),)


def _kernel_data(
    request: LoadRequest, image: IplImage, builder: PlanBuilder, region: Range | None
) -> bytes:
    """Return the image from its entry point on, with all that the kernel is told."""
    base = region.start if region is not None else 0
    own = read_parameters(memoryview(image.payload)[PARAMETERS:])
    area = ParameterArea(
        initrd_start=builder.place_of(Role.INITRD).start - base if request.initrd else 0,
        initrd_size=len(request.initrd) if request.initrd is not None else 0,
        oldmem_base=base,
        oldmem_size=region.size if region is not None else 0,
        kernel_version=own.kernel_version,
        max_command_line_size=own.max_command_line_size,
    )
    return with_parameters(image.payload, ENTRY, area, request.cmdline, image.cmdline_size)


def _memory_map(facts: MachineFacts, region: Range | None) -> MemoryMap:
    """Return the memory that the new kernel uses; a capture kernel the first of the old one's."""
    if region is None:
        return facts.memory_map
    own = MemoryRegion(Range(0, region.size), MemoryKind.RAM, MemoryKind.RAM.value)
    return MemoryMap((own,))
