"""Multiboot kernels: from the image and its modules to a plan. Pure.

"Multiboot Specification version 0.6.96", section 3.2, and "The Multiboot2 Specification version
2.0", section 3.3: the state in which such a kernel is entered, in 32-bit protected mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.load_space import free_for, load_limits
from pykexec.boot.x86.boot_params import parse_boot_params
from pykexec.boot.x86.display import keeps_firmware_display
from pykexec.boot.x86.e820 import e820_from_memory_map
from pykexec.boot.x86.finish import Told, finish_plan
from pykexec.boot.x86.kernels import LOWEST_PLACE, flat_image
from pykexec.boot.x86.multiboot_info import (
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
from pykexec.boot.x86.program import want_program
from pykexec.planning.plan_builder import PlanBuilder
from pykexec.planning.plans import BootProtocol, SegmentPlan
from pykexec.planning.wanted import Option
from pykexec.purgatory_objects.x86 import Entry32Registers
from pykexec.values.calls import Target
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import ImageError, OptionError
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import ADDRESS_MAX_32, align_up
from pykexec.values.wishes import Prefer, aligned, at_least, at_most, inside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.formats.multiboot import Multiboot, Relocation
    from pykexec.planning.plans import LoadRequest, Module
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.values.buffers import Buffer
    from pykexec.values.facts import MachineFacts
    from pykexec.values.wishes import Limit

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
    told = Information(
        cmdline=b" ".join(filter(None, (request.kernel_name, request.cmdline))),
        loader_name=b"pykexec",
        modules=[PlacedModule(Range(0, 0), module.cmdline) for module in request.modules],
        e820=e820_from_memory_map(facts.memory_map),
        framebuffer=framebuffer,
        load_base=image.start if image.relocation else None,
    )
    relocatable = _want_image(builder, image)
    builder.want(Role.PURGATORY, purgatory.memsz, low, reach, checked=False)
    _want_modules(builder, request.modules, (low, reach))
    size = len(build_information(image.version, told, 0))
    builder.want(Role.MULTIBOOT_INFO, size, low, reach, prefer=Prefer.BOTTOM)
    builder.settle()

    moved = _fill_image(builder, relocatable)
    modules = _fill_modules(builder, request.modules)
    load_base = image.start + moved if image.relocation else None
    told = replace(told, modules=modules, load_base=load_base)
    info = builder.place_of(Role.MULTIBOOT_INFO)
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


@dataclass(frozen=True, slots=True)
class _Image:
    """A relocatable image, as it may be placed."""

    options: tuple[Option, ...]
    bases: tuple[int, ...]
    """For each option the address that the first byte is linked to."""
    data: tuple[Buffer, ...]


def _want_image(builder: PlanBuilder, image: Multiboot) -> _Image | None:
    """Ask for the image's place: its own, or another one where it can be moved."""
    reach = at_most(ADDRESS_MAX_32, "a multiboot kernel is entered in 32 bits")
    if image.relocation is None:
        want_program(builder, image.segments, reach)
        return None
    relocatable = _relocatable(image, image.relocation, builder.page_size, reach)
    builder.want_one_of(Role.KERNEL, *relocatable.options)
    return relocatable


def _relocatable(image: Multiboot, relocation: Relocation, page: int, reach: Limit) -> _Image:
    """Return the ways to place an image within what its relocatable tag says."""
    source = "relocatable tag of the multiboot2 header"
    base, data, size = flat_image(image.segments, page)
    offset = image.start - base
    lowest, last = max(relocation.lowest - offset, 0), relocation.last
    prefer = Prefer.TOP if relocation.high else Prefer.BOTTOM
    options, bases, contents = [], [], []
    if not image.start % relocation.align and lowest <= base and base + size - 1 <= last:
        own = inside(Range.sized(base, size), source)
        options.append(Option(size, (*own, reach), prefer))
        bases.append(base)
        contents.append(data)
    if offset % relocation.align:
        # In front of it nothing is left that shares its first page, so that it is aligned.
        base, data, size = image.start, data[offset:], align_up(size - offset, page)
    limits = (at_least(lowest, source), at_most(last, source), aligned(relocation.align, source))
    options.append(Option(size, (*limits, reach), prefer))
    return _Image(tuple(options), (*bases, base), (*contents, data))


def _fill_image(builder: PlanBuilder, relocatable: _Image | None) -> int:
    """Give a relocatable image its data; return by how much the image was moved."""
    if relocatable is None:
        return 0
    option = builder.option_of(Role.KERNEL)
    builder.fill(Role.KERNEL, relocatable.data[option])
    return builder.place_of(Role.KERNEL).start - relocatable.bases[option]


def _want_modules(builder: PlanBuilder, modules: Sequence[Module], limits: Sequence[Limit]) -> None:
    """Ask for one place for all modules, each from a page of its own on."""
    if modules:
        size = sum(_module_sizes(builder, modules))
        builder.want(Role.MODULES, size, *limits, prefer=Prefer.BOTTOM)


def _module_sizes(builder: PlanBuilder, modules: Sequence[Module]) -> list[int]:
    return [align_up(max(len(module.data), 1), builder.page_size) for module in modules]


def _fill_modules(builder: PlanBuilder, modules: Sequence[Module]) -> tuple[PlacedModule, ...]:
    """Lay the modules out in their place; returns where each lies."""
    if not modules:
        return ()
    sizes = _module_sizes(builder, modules)
    place = builder.place_of(Role.MODULES)
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
