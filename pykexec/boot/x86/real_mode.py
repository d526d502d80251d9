"""The real-mode boot protocol: the kernel's own setup code asks the BIOS. Pure.

Linux Documentation/arch/x86/boot.rst, "Memory Layout", "Sample Boot Configuration" and "Running
the Kernel". Everything that :mod:`pykexec.boot.x86.linux` tells a kernel, this one finds out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.load_space import free_for, load_limits
from pykexec.boot.x86.boot_params import build_header
from pykexec.boot.x86.finish import Told, finish_plan
from pykexec.boot.x86.kernels import BzImageKernel
from pykexec.boot.x86.linux import check_cmdline, initrd_bytes, want_initrd
from pykexec.formats.bzimage import CMD_LINE_PTR_SINCE, SETUP_HEADER_OFFSET, LoadFlags
from pykexec.planning.plan_builder import PlanBuilder
from pykexec.planning.plans import BootProtocol, SegmentPlan
from pykexec.purgatory_objects.x86 import Entry16Registers
from pykexec.values.calls import Target
from pykexec.values.errors import ImageError, OptionError
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import ADDRESS_MAX_32, KIB, counted
from pykexec.values.wishes import Prefer, aligned, at_most, inside

if TYPE_CHECKING:
    from pykexec.formats.bzimage import BzImage
    from pykexec.planning.plans import LoadRequest
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.values.facts import MachineFacts

_HEAP_END = 0xE000
"""From the setup code on; stack and heap lie below."""
_SETUP_MAX = 0x8000
_LOW_MEMORY = Range(64 * KIB, 640 * KIB)
_ENTRY = 0x200


def plan_real_mode(
    facts: MachineFacts, request: LoadRequest, image: BzImage, purgatory: PurgatoryObject
) -> SegmentPlan:
    """Lay out a bzImage for its real-mode entry point.

    Raises :class:`ImageError` for a kernel older than boot protocol 2.02,
    :class:`CommandLineError`, :class:`NoRoomError`, and :class:`OptionError` where there is no
    BIOS to ask, or no time for it.
    """
    _check(facts, request, image)
    cmdline = check_cmdline(request.cmdline, image.header)
    builder = PlanBuilder(free_for(facts, request), facts.page_size, load_limits(facts, request))
    low = inside(_LOW_MEMORY, "real mode")
    segment = (*low, aligned(16, "real-mode segment"))
    builder.want(Role.SETUP, _HEAP_END + len(cmdline) + 1, *segment, prefer=Prefer.BOTTOM)
    builder.want(Role.PURGATORY, purgatory.memsz, *low, checked=False)
    kernel = BzImageKernel(image, 16)
    kernel.want(builder, (at_most(ADDRESS_MAX_32, "the 32-bit entry point"),))
    want_initrd(builder, request, kernel)
    builder.settle()
    setup = builder.place_of(Role.SETUP)
    kernel_start, _ = kernel.enter(builder)
    data = _setup_code(image, setup, kernel_start, initrd_bytes(builder, request))
    builder.fill(Role.SETUP, data.ljust(_HEAP_END, b"\0") + cmdline + b"\0")
    base = setup.start >> 4
    registers = Entry16Registers(
        ds=base, es=base, fs=base, gs=base, ss=base, esp=_HEAP_END, cs=base + (_ENTRY >> 4), ip=0
    )
    note = "entered in real mode: the kernel asks the BIOS for the memory map and all else"
    told = Told(cmdline, (note,), protocol=BootProtocol.REAL_MODE, kernel_start=kernel_start)
    return finish_plan(facts, request, builder, purgatory, registers, told)


def _check(facts: MachineFacts, request: LoadRequest, image: BzImage) -> None:
    if facts.efi is not None:
        raise OptionError(
            "--real-mode: the machine was booted through EFI, so there is no BIOS to ask",
            hint="leave the option out",
        )
    if request.target is Target.CRASH:
        raise OptionError(
            "--real-mode: a crash kernel cannot ask the BIOS, which knows nothing of the crash",
            hint="leave the option out",
        )
    header = image.header
    if header.version < CMD_LINE_PTR_SINCE:
        raise ImageError(
            f"--real-mode: boot protocol {header.protocol} is older than 2.02",
            offset=0x206,
            field="version",
            hint="leave the option out: the kernel is entered in 32 bits then",
        )
    if len(image.setup) > _SETUP_MAX:
        raise ImageError(
            f"the real-mode code has {counted(len(image.setup), 'byte')}, at most {_SETUP_MAX} fit",
            offset=0x1F1,
            field="setup_sects",
        )


def _setup_code(image: BzImage, place: Range, kernel_start: int, initrd: Range | None) -> bytes:
    """Return the setup code with the loader's fields filled in; the code around them stays."""
    header = build_header(
        image.raw_header,
        loadflags=image.header.loadflags | LoadFlags.CAN_USE_HEAP,
        heap_end_ptr=_HEAP_END - 0x200,
        code32_start=kernel_start,
        ramdisk_image=initrd.start if initrd else 0,
        ramdisk_size=initrd.size if initrd else 0,
        cmd_line_ptr=place.start + _HEAP_END,
    )
    length = len(image.raw_header)
    code = bytearray(image.setup)
    code[SETUP_HEADER_OFFSET : SETUP_HEADER_OFFSET + length] = header[:length]
    return bytes(code)
