"""From an ELF vmlinux to a plan, for m68k. Pure.

Linux arch/m68k/kernel/head.S: a kernel may lie in any memory, and takes the byte that it was linked
to have at address 0 for the first one of the first chunk that it is told of. So it has one place on
each machine. It reads the boot information right behind itself, at ``_end``, and makes page tables
behind that before it knows of anything else. The running kernel turns the MMU and the caches off
and enters the next one itself (arch/m68k/kernel/relocate_kernel.S), so there is no purgatory, and
nothing that would check a digest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.boot.load_space import free_for, load_limits
from pykexec.boot.m68k.records import next_records, records_of
from pykexec.formats.bootinfo import SIZE_MAX, chunks_of
from pykexec.formats.elf_file import flat_memory
from pykexec.planning.plan_builder import PlanBuilder
from pykexec.planning.plans import SegmentPlan
from pykexec.values.calls import Target
from pykexec.values.errors import ImageError, OptionError
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import MIB
from pykexec.values.wishes import Origin, at_least, inside

if TYPE_CHECKING:
    from pykexec.formats.elf_program import ElfProgram
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.facts import MachineFacts

BOOTINFOV_MAGIC = 0x4249561A.to_bytes(4, "big")
_MAGIC_OFFSET = 2
"""Bytes from the start of a kernel on, behind a branch (arch/m68k/kernel/head.S, "_stext")."""
PAGE_TABLES = MIB
"""Bytes behind the boot information that are left to the kernel's first page tables: a table of a
page maps 4 MiB, of the kernel, of devices and of what is lent while the MMU is turned on."""
_NO_CHECK = (
    "nothing checks the load before the kernel is entered: there is no purgatory for m68k, where "
    "the running kernel enters the next one itself"
)


def plan_vmlinux(facts: MachineFacts, request: LoadRequest, image: ElfProgram) -> SegmentPlan:
    """Lay out a kernel.

    Raises :class:`CommandLineError` when the command line is too long, :class:`ImageError` for what
    is no such kernel, :class:`MachineError` where the machine does not say what it was told,
    :class:`NoRoomError` when a segment has no place, and :class:`OptionError` for a device tree or
    a crash kernel.
    """
    _refuse_options(request)
    records = records_of(facts)
    chunk = chunks_of(records)[0]
    kernel = _kernel_place(image, chunk, facts.page_size)
    seed = request.rng_seed
    initrd = request.initrd
    size = len(initrd) if initrd is not None else 0
    anywhere = (chunk, size) if initrd is not None else None
    sized = next_records(records, request.cmdline, initrd=anywhere, seed=seed)

    builder = PlanBuilder(free_for(facts, request), facts.page_size, load_limits(facts, request))
    linked = f"{image.start:#x} from the first chunk of memory on, as it is linked"
    builder.want(
        Role.KERNEL,
        kernel.size,
        *inside(kernel, linked, Origin.HEADER),
        data=flat_memory(image.segments, image.start),
        checked=False,
    )
    told = Range(kernel.end, kernel.end + len(sized))
    page = Range.sized(told.start, -(-told.size // facts.page_size) * facts.page_size)
    builder.want(Role.BOOTINFO, page.size, *inside(page, "right behind the kernel"), checked=False)
    if initrd is not None:
        builder.want(
            Role.INITRD,
            size,
            *inside(chunk, "the first chunk of memory, which every kernel takes"),
            at_least(page.end + PAGE_TABLES, "1 MiB for the kernel's first page tables"),
            data=initrd,
            checked=False,
        )
    builder.settle()
    placed = (builder.place_of(Role.INITRD), size) if initrd is not None else None
    builder.fill(Role.BOOTINFO, next_records(records, request.cmdline, initrd=placed, seed=seed))
    entry = chunk.start + image.entry_addr
    return SegmentPlan(
        arch=facts.arch,
        page_size=facts.page_size,
        target=request.target,
        entry=entry,
        kernel_entry=entry,
        flags=architecture_of(facts.arch).kexec_flag,
        segments=builder.segments,
        cmdline=request.cmdline,
        memory_map=facts.memory_map,
        notes=(*request.notes, _NO_CHECK, *_notes(sized)),
    )


def _notes(told: bytes) -> tuple[str, ...]:
    if len(told) <= SIZE_MAX:
        return ()
    return (
        f"the next kernel is told {len(told)} bytes of boot information and keeps {SIZE_MAX} at "
        "most: it will not be able to load another one",
    )


def _refuse_options(request: LoadRequest) -> None:
    if request.target is Target.CRASH:
        raise OptionError("m68k kernels do not start another one when they crash")
    if request.entry is not None:
        raise OptionError(
            "--entry: on m68k there is no purgatory to leave out, a kernel is entered where it says"
        )
    if request.dtb is not None:
        raise OptionError(
            "--dtb: m68k kernels are told of their machine by boot information, and take no "
            "device tree",
            hint="leave the option out",
        )


def _kernel_place(image: ElfProgram, chunk: Range, page_size: int) -> Range:
    """Return where the kernel lies on a machine whose memory begins with ``chunk``."""
    first = bytes(image.segments[0].data[_MAGIC_OFFSET : _MAGIC_OFFSET + len(BOOTINFOV_MAGIC)])
    if not image.is_linux or first != BOOTINFOV_MAGIC:
        raise ImageError(
            "the ELF file is no Linux kernel that is told of its machine by boot information: "
            f"{BOOTINFOV_MAGIC.hex()} (BOOTINFOV_MAGIC) is not {_MAGIC_OFFSET} bytes from its "
            "start, or it has no version in it",
            hint="give the vmlinux of an m68k kernel with an MMU, unpacked or packed",
        )
    if image.start % page_size or image.end % page_size:
        raise ImageError(
            f"the kernel is linked for {image.start:#x} to {image.end:#x}, which are not whole "
            f"pages of {page_size} bytes: what it reads right behind itself would share one",
            field="p_memsz",
        )
    return Range(chunk.start + image.start, chunk.start + image.end)
