"""Multiboot kernels: from the image and its modules to a plan. Pure.

"Multiboot Specification version 0.6.96", section 3.2, and "The Multiboot2 Specification version
2.0", section 3.3: the state in which such a kernel is entered, in 32-bit protected mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.load_space import free_for, load_limits
from pykexec.boot.multiboot_info import (
    MAGIC_1,
    MAGIC_2,
    PROVIDED,
    TAG_FRAMEBUFFER,
    TAG_LOAD_BASE,
    Framebuffer,
    Information,
    PlacedModule,
    build_information,
)
from pykexec.boot.x86_boot_params import parse_boot_params
from pykexec.boot.x86_e820 import e820_from_memory_map
from pykexec.boot.x86_kernels import LOWEST_PLACE, flat_image
from pykexec.boot.x86_linux import keeps_firmware_display
from pykexec.boot.x86_plan import Told, finish_plan
from pykexec.boot.x86_program import place_program
from pykexec.errors import ImageError, OptionError
from pykexec.placement import Prefer, aligned, at_least, at_most, inside
from pykexec.plans import BootProtocol, PlanBuilder, Role, SegmentPlan, Target
from pykexec.purgatory import Entry32Registers
from pykexec.ranges import Range
from pykexec.units import ADDRESS_MAX_32, align_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.facts import MachineFacts
    from pykexec.formats.multiboot import Multiboot
    from pykexec.placement import Limit
    from pykexec.plans import LoadRequest, Module
    from pykexec.purgatory import PurgatoryObject

_TEXT_ADDRESS = 0xB8000
_VESA, _EFI = 0x23, 0x70
"""orig_video_isVGA of a linear framebuffer (Linux include/uapi/linux/screen_info.h)."""
_VGA = 0x01


def plan_multiboot(
    facts: MachineFacts, request: LoadRequest, image: Multiboot, purgatory: PurgatoryObject
) -> SegmentPlan:
    """Lay out a multiboot kernel with its modules.

    Raises :class:`NoRoomError`, :class:`ImageError` for a kernel that insists on information
    that there is none of, and :class:`OptionError` for what it cannot be given.
    """
    _check_request(request)
    framebuffer = _framebuffer(facts)
    _check_required(image, framebuffer)
    reach = at_most(ADDRESS_MAX_32, "a multiboot kernel is entered in 32 bits")
    low = at_least(LOWEST_PLACE, "the first MiB is firmware's")
    builder = PlanBuilder(free_for(facts, request), facts.page_size, load_limits(facts, request))
    moved = _place_image(builder, image)
    builder.place(Role.PURGATORY, purgatory.memsz, low, reach, checked=False)
    modules = _place_modules(builder, request.modules, (low, reach))
    told = Information(
        cmdline=b" ".join(filter(None, (request.kernel_name, request.cmdline))),
        loader_name=b"pykexec",
        modules=modules,
        e820=e820_from_memory_map(facts.memory_map),
        framebuffer=framebuffer,
        load_base=image.start + moved if image.relocation else None,
    )
    size = len(build_information(image.version, told, 0))
    info = builder.place(Role.MULTIBOOT_INFO, size, low, reach, prefer=Prefer.BOTTOM)
    builder.fill(Role.MULTIBOOT_INFO, build_information(image.version, told, info.start))
    magic = MAGIC_1 if image.version == 1 else MAGIC_2
    registers = Entry32Registers(eax=magic, ebx=info.start, eip=image.entry_addr + moved)
    shown = Told(
        cmdline=told.cmdline,
        notes=_notes(image, framebuffer, moved),
        memory_map=facts.memory_map,
        protocol=BootProtocol.MULTIBOOT if image.version == 1 else BootProtocol.MULTIBOOT2,
    )
    return finish_plan(facts, request, builder, purgatory, registers, shown)


def _check_request(request: LoadRequest) -> None:
    if request.initrd is not None:
        raise OptionError(
            "a multiboot kernel takes modules and no initrd",
            hint='give the file with --module "FILE WORDS..."',
        )
    if request.elf_args is not None:
        raise OptionError(
            f"--args-{request.elf_args} is for ELF programs without a multiboot header",
            hint="leave the option out, or insist on the ELF file in it: -t elf-x86",
        )
    if request.target is Target.CRASH:
        raise OptionError("a multiboot kernel cannot be a crash kernel")
    if request.entry_bits not in (None, 32):
        raise OptionError(
            "a multiboot kernel is entered in 32 bits only", hint="leave out --real-mode"
        )


def _check_required(image: Multiboot, framebuffer: Framebuffer | None) -> None:
    provided = PROVIDED | ({TAG_FRAMEBUFFER} if framebuffer else set())
    provided |= {TAG_LOAD_BASE} if image.relocation else set()
    missing = sorted(image.required - provided)
    if missing:
        raise ImageError(
            "the multiboot2 kernel does not want to be started without information of type "
            f"{', '.join(map(str, missing))}, which there is none of",
            field="mbi_tag_types",
        )


def _notes(image: Multiboot, framebuffer: Framebuffer | None, moved: int) -> tuple[str, ...]:
    notes = [f"a kernel by the rules of {image.format_name}"]
    if moved:
        notes.append(f"moved to {image.start + moved:#x}, since its own place is not free")
    if image.wants_video and framebuffer is None:
        notes.append("the kernel asks for a video mode, and there is none to hand over")
    return tuple(notes)


def _place_image(builder: PlanBuilder, image: Multiboot) -> int:
    """Place the image; return by how much it was moved."""
    reach = at_most(ADDRESS_MAX_32, "a multiboot kernel is entered in 32 bits")
    relocation = image.relocation
    if relocation is None:
        return place_program(builder, image.segments, reach, relocatable=False)
    source = "relocatable tag of the multiboot2 header"
    page = builder.page_size
    base, data, size = flat_image(image.segments, page)
    whole = Range.sized(base, size)
    offset = image.start - base
    limits: tuple[Limit, ...] = (
        at_least(max(relocation.lowest - offset, 0), source),
        at_most(relocation.last, source),
    )
    if not image.start % relocation.align and builder.has_room(whole, *limits):
        limits = inside(whole, source)
    else:
        if offset % relocation.align:
            # In front of it nothing is left that shares its first page, so that it is aligned.
            base, data, size = image.start, data[offset:], align_up(size - offset, page)
        limits = (*limits, aligned(relocation.align, source))
    prefer = Prefer.TOP if relocation.high else Prefer.BOTTOM
    place = builder.place(Role.KERNEL, size, *limits, reach, data=data, prefer=prefer)
    return place.start - base


def _place_modules(
    builder: PlanBuilder, modules: Sequence[Module], limits: Sequence[Limit]
) -> tuple[PlacedModule, ...]:
    """Place all modules as one segment, each from a page of its own on."""
    if not modules:
        return ()
    page = builder.page_size
    sizes = [align_up(max(len(module.data), 1), page) for module in modules]
    place = builder.place(Role.MODULES, sum(sizes), *limits, prefer=Prefer.BOTTOM)
    data = bytearray(sum(sizes))
    placed = []
    at = 0
    for module, size in zip(modules, sizes, strict=True):
        data[at : at + len(module.data)] = module.data
        placed.append(PlacedModule(Range.sized(place.start + at, len(module.data)), module.cmdline))
        at += size
    builder.fill(Role.MODULES, memoryview(data).toreadonly())
    return tuple(placed)


def _framebuffer(facts: MachineFacts) -> Framebuffer | None:
    """Return the display that firmware set up, if it still is as the running kernel found it."""
    if facts.boot_params is None or not keeps_firmware_display(facts):
        return None
    screen = parse_boot_params(facts.boot_params).screen_info

    def field(at: int, size: int) -> int:
        return int.from_bytes(screen[at : at + size], "little")

    if screen[0x0F] in (_VESA, _EFI):
        positions = [(screen[at + 1], screen[at]) for at in (0x26, 0x28, 0x2A)]
        return Framebuffer(
            addr=field(0x18, 4) | field(0x3A, 4) << 32,
            pitch=field(0x24, 2),
            width=field(0x12, 2),
            height=field(0x14, 2),
            bits_per_pixel=field(0x16, 2) & 0xFF,
            text=False,
            colours=bytes(byte for pair in positions for byte in pair),
        )
    if screen[0x0F] == _VGA:
        columns, rows = screen[0x07], screen[0x0E]
        return Framebuffer(_TEXT_ADDRESS, 2 * columns, columns, rows, 16, text=True)
    return None
