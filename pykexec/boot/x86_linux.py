"""The 64-bit and 32-bit boot protocols: from a kernel to a plan. Pure.

Linux Documentation/arch/x86/boot.rst, "64-bit Boot Protocol" and "32-bit Boot Protocol".
The order in which places are taken is from the most demanding neighbour of the top of
memory downwards; all segments go as high as they can, so that the new kernel finds its low
memory free.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pykexec.architectures import I386
from pykexec.boot.load_space import free_for, load_limits
from pykexec.boot.x86_boot_params import (
    BOOT_PARAMS_SIZE,
    BootParams,
    BootParamsInput,
    EfiInfo,
    build_boot_params,
    parse_boot_params,
)
from pykexec.boot.x86_crash import CrashPlan, place_crash_segments
from pykexec.boot.x86_e820 import E820_MAX_ENTRIES_ZEROPAGE, build_e820, e820_from_memory_map
from pykexec.boot.x86_ima import place_ima
from pykexec.boot.x86_kernels import (
    ISA_DMA_END,
    LOWEST_PLACE,
    BzImageKernel,
    VmlinuxKernel,
    X86Kernel,
)
from pykexec.boot.x86_plan import Told, finish_plan
from pykexec.boot.x86_setup_data import (
    EFI_MEMORY_DESCRIPTOR,
    SetupNode,
    SetupType,
    build_efi_memmap,
    build_nodes,
    dtb_node,
    efi_node,
    nodes_size,
)
from pykexec.command_line import add_words
from pykexec.errors import CommandLineError, ImageError
from pykexec.formats.bzimage import CMD_LINE_PTR_SINCE, BzImage, XLoadFlags
from pykexec.placement import Origin, at_least, at_most, inside
from pykexec.plans import (
    PlanBuilder,
    Role,
    SegmentPlan,
    Target,
)
from pykexec.purgatory import Entry32Registers, Entry64Registers
from pykexec.ranges import Range
from pykexec.units import ADDRESS_MAX_32, format_size

if TYPE_CHECKING:
    from pykexec.boot.x86_e820 import E820Entry
    from pykexec.facts import MachineFacts
    from pykexec.formats.bzimage import SetupHeader
    from pykexec.formats.x86_elf import X86Elf
    from pykexec.memory import MemoryMap
    from pykexec.placement import Limit
    from pykexec.plans import LoadRequest
    from pykexec.purgatory import PurgatoryObject, Registers

_OLD_PARAMETERS = Range.sized(0x90000, 2 * BOOT_PARAMS_SIZE)

_FIRMWARE_DISPLAYS = ("EFI VGA", "VESA VGA", "simple", "efidrm", "vesadrm")
"""Beginnings of names in /proc/fb."""


@dataclass(frozen=True, slots=True)
class _Handover:
    """What goes into boot_params and the setup_data list besides addresses of segments."""

    nodes: tuple[SetupNode, ...]
    efi: EfiInfo
    efi_memmap: bytes
    memory_map: MemoryMap
    e820: tuple[E820Entry, ...]
    """The first 128 entries of that map, which the page itself has room for."""
    acpi_rsdp: int
    """Physical address, 0 when it is not known."""
    running: BootParams | None
    notes: tuple[str, ...]

    @property
    def size(self) -> int:
        return nodes_size(self.nodes) + len(self.efi_memmap)


def plan_x86_linux(
    facts: MachineFacts, request: LoadRequest, image: BzImage | X86Elf, purgatory: PurgatoryObject
) -> SegmentPlan:
    """Lay out a kernel for its entry point of 64 or 32 bits.

    Raises :class:`ImageError` when the kernel cannot be entered there, :class:`CommandLineError`
    when the command line is too long for it, :class:`NoRoomError` when a segment has no place.
    """
    kernel = x86_kernel(facts, request, image)
    header = kernel.header
    limits = load_limits(facts, request)
    builder = PlanBuilder(free_for(facts, request), facts.page_size, limits)
    for_crash = request.target is Target.CRASH
    crash = place_crash_segments(facts, request, header, builder) if for_crash else None
    handover = _plan_handover(facts, request, header, crash)
    cmdline = check_cmdline(_with_crash_words(request.cmdline, crash, handover), header)

    low = at_least(LOWEST_PLACE, "the first MiB is the next kernel's")
    reach = _reach(kernel)
    code_reach = reach if kernel.bits == 32 else ()
    builder.place(Role.PURGATORY, purgatory.memsz, low, *code_reach, checked=False)
    cmdline_offset = BOOT_PARAMS_SIZE
    parameters = builder.place(
        Role.PARAMETERS, cmdline_offset + len(cmdline) + 1, *_parameters_limits(header, low), *reach
    )
    kernel_start, kernel_entry = kernel.place(builder, reach)
    initrd = place_initrd(builder, request, kernel)
    ima_nodes, ima_notes = place_ima(builder, facts, request, image)
    handover = replace(handover, nodes=handover.nodes + ima_nodes, notes=handover.notes + ima_notes)
    setup_data = _place_setup_data(builder, handover, low, *reach)
    page = _boot_params(
        facts, kernel, handover, parameters.start + cmdline_offset, initrd, setup_data
    )
    builder.fill(Role.PARAMETERS, page + cmdline + b"\0")
    told = Told(
        cmdline=cmdline,
        notes=(
            *_entry_notes(facts, kernel),
            *kernel.notes,
            *handover.notes,
            *(crash.notes if crash else ()),
        ),
        memory_map=handover.memory_map,
        kernel_start=kernel_start,
    )
    registers = _registers(kernel, parameters.start, kernel_entry)
    copy = crash.copy if crash else None
    return finish_plan(facts, request, builder, purgatory, registers, told, copy)


def _place_setup_data(builder: PlanBuilder, handover: _Handover, *limits: Limit) -> Range | None:
    if not handover.size:
        return None
    dest = builder.place(Role.SETUP_DATA, handover.size, *limits)
    builder.fill(Role.SETUP_DATA, build_nodes(handover.nodes, dest.start) + handover.efi_memmap)
    return dest


def _registers(kernel: X86Kernel, parameters: int, entry: int) -> Registers:
    if kernel.bits == 64:
        return Entry64Registers(rsi=parameters, rip=entry)
    return Entry32Registers(esi=parameters, eip=entry)


def x86_kernel(facts: MachineFacts, request: LoadRequest, image: BzImage | X86Elf) -> X86Kernel:
    """Return what the protocol needs to know of ``image``, and the mode that it is entered in.

    A running kernel of 64 bits can enter one of 32 bits and the other way round: each bzImage
    has a 32-bit entry point. Raises :class:`ImageError` where there is no way.
    """
    if isinstance(image, BzImage):
        header = image.header
        wide = facts.arch != I386 and header.wide and _levels_fit(facts, header)
        return BzImageKernel(image, request.entry_bits or (64 if wide else 32))
    if request.entry_bits not in (None, image.bits):
        raise ImageError(
            f"a vmlinux of {image.bits} bits has no entry point of {request.entry_bits} bits",
            hint="give the bzImage that was built with it",
        )
    if facts.arch == I386 and image.bits == 64:
        raise ImageError(
            "a 64-bit vmlinux cannot be entered from a 32-bit kernel",
            hint="give the bzImage that was built with it, which has a 32-bit entry point",
        )
    return VmlinuxKernel(image)


def _parameters_limits(header: SetupHeader, low: Limit) -> tuple[Limit, ...]:
    """Return where the zero page and the command line may lie.

    Kernels before 2.02 look for the command line at a fixed address (boot.rst, "The Kernel
    Command Line").
    """
    if header.version >= CMD_LINE_PTR_SINCE:
        return (low,)
    return inside(_OLD_PARAMETERS, "boot protocol before 2.02")


def _reach(kernel: X86Kernel) -> tuple[Limit, ...]:
    """Return where all that the new kernel is handed must lie."""
    if kernel.bits == 32:
        return (at_most(ADDRESS_MAX_32, "the 32-bit entry point"),)
    if kernel.header.above_4g:
        return ()
    return (at_most(ADDRESS_MAX_32, "XLF_CAN_BE_LOADED_ABOVE_4G unset", Origin.HEADER),)


def _levels_fit(facts: MachineFacts, header: SetupHeader) -> bool:
    """Tell whether the kernel can be entered with the running kernel's page tables."""
    return not facts.la57 or XLoadFlags.XLF_5LEVEL in header.xloadflags


def _with_crash_words(cmdline: bytes, crash: CrashPlan | None, handover: _Handover) -> bytes:
    """Add what a capture kernel must find on its command line."""
    if crash is None:
        return cmdline
    words = []
    if not handover.efi.memmap_size and handover.acpi_rsdp:
        words.append(f"acpi_rsdp={handover.acpi_rsdp:#x}".encode())
    return add_words(cmdline, (*words, crash.extra_words))


def _entry_notes(facts: MachineFacts, kernel: X86Kernel) -> tuple[str, ...]:
    if facts.la57 and kernel.bits == 64 and isinstance(kernel, VmlinuxKernel):
        return (
            "the running kernel uses five-level page tables; whether a vmlinux can be entered with "
            "them, it does not say",
        )
    if kernel.bits == 64:
        return ()
    if kernel.header.wide and not _levels_fit(facts, kernel.header):
        return (
            "entered in 32 bits: the running kernel uses five-level page tables, with which this "
            "kernel cannot be entered (no XLF_5LEVEL)",
        )
    return ("entered in 32 bits",)


def check_cmdline(cmdline: bytes, header: SetupHeader) -> bytes:
    """Return ``cmdline`` if the kernel can take it."""
    if len(cmdline) > header.cmdline_size:
        raise CommandLineError(
            f"the command line is {len(cmdline)} bytes long, this kernel takes at most "
            f"{header.cmdline_size} (cmdline_size)",
            hint=f"shorten it by {format_size(len(cmdline) - header.cmdline_size)}",
        )
    return cmdline


def place_initrd(builder: PlanBuilder, request: LoadRequest, kernel: X86Kernel) -> Range | None:
    """Place the initrd; returns its exact bytes, without the rest of its last page."""
    if request.initrd is None:
        return None
    limits = [at_least(ISA_DMA_END, "initrd above ISA DMA memory")]
    if kernel.bits != 64 or not kernel.header.above_4g:
        limits.append(at_most(kernel.header.initrd_addr_max, "initrd_addr_max", Origin.HEADER))
    size = len(request.initrd)
    dest = builder.place(Role.INITRD, size, *limits, data=request.initrd)
    return Range.sized(dest.start, size)


def _plan_handover(
    facts: MachineFacts, request: LoadRequest, header: SetupHeader, crash: CrashPlan | None
) -> _Handover:
    """Decide what is handed over of EFI, of the memory map and of entropy."""
    nodes: list[SetupNode] = []
    notes: list[str] = []
    running = parse_boot_params(facts.boot_params) if facts.boot_params is not None else None
    info, efi_memmap = EfiInfo(), b""
    efi = _plan_efi(facts, request, header, running)
    if not isinstance(efi, str):
        nodes.append(efi.node)
        info, efi_memmap = efi.info, efi.memmap
    elif facts.efi is not None:
        notes.append(f"EFI runtime services are not handed over: {efi}")
    memory_map = crash.memory_map if crash is not None else facts.memory_map
    e820 = e820_from_memory_map(memory_map)
    here, more = e820[:E820_MAX_ENTRIES_ZEROPAGE], e820[E820_MAX_ENTRIES_ZEROPAGE:]
    if more:
        nodes.append(SetupNode(SetupType.SETUP_E820_EXT, build_e820(more)))
    tree = _device_tree(facts, request, notes)
    if tree is not None:
        nodes.append(tree)
        notes.append("the device tree is read by kernels that are built with CONFIG_OF")
    if request.rng_seed is not None:
        nodes.append(SetupNode(SetupType.SETUP_RNG_SEED, request.rng_seed))
    else:
        notes.append("no RNG seed is handed over")
    if not keeps_firmware_display(facts):
        notes.append(
            f"the display is driven by {facts.framebuffer_driver}: firmware's framebuffer is not "
            "handed over, expect no picture until the new kernel's driver loads"
        )
    if not len(facts.firmware_map):
        notes.append("memory map from /proc/iomem: the firmware's own is not available")
    rsdp = running.acpi_rsdp if running is not None else 0
    if not rsdp and facts.efi is not None:
        rsdp = facts.efi.acpi_rsdp or 0
    return _Handover(tuple(nodes), info, efi_memmap, memory_map, here, rsdp, running, tuple(notes))


def _device_tree(facts: MachineFacts, request: LoadRequest, notes: list[str]) -> SetupNode | None:
    """Return the tree to hand over, if any: the user's, the running one, or one brought along."""
    tree = facts.device_tree if request.dtb is None and request.force_dtb else request.dtb
    if tree is not None:
        return dtb_node(tree)
    brought = request.brought
    if brought is None or request.force_dtb:
        return None
    from pykexec.boot.given_tree import tree_brought

    tree = tree_brought(brought, facts.device_tree)
    if tree is None:
        return None
    notes.append(f"the device tree is {brought.container}'s")
    try:
        return dtb_node(tree)
    except ImageError as error:
        error.message = f"{brought.container}'s device tree: {error.message}"
        error.hint = "use kexec_file_load (-s), which hands none over"
        raise


@dataclass(frozen=True, slots=True)
class _Efi:
    """EFI's hand-over; the address of the memory map in ``info`` is not known yet."""

    node: SetupNode
    info: EfiInfo
    memmap: bytes


def _plan_efi(
    facts: MachineFacts, request: LoadRequest, header: SetupHeader, running: BootParams | None
) -> _Efi | str:
    """Plan EFI's hand-over, or say why it cannot be handed over whole: half of it would crash."""
    efi = facts.efi
    if efi is None:
        return "the machine was not booted through EFI"
    if request.no_efi:
        return "as asked for"
    if XLoadFlags.XLF_EFI_KEXEC not in header.xloadflags:
        return "the new kernel lacks XLF_EFI_KEXEC"
    if efi.platform_bits == 32:
        return "the firmware is 32-bit"
    if not efi.runtime_map:
        return "no /sys/firmware/efi/runtime-map"
    if running is None:
        return "no /sys/kernel/boot_params/data"
    if not running.efi.memmap_size or running.efi.memdesc_version != 1:
        return "the running kernel's efi_info has no memory map of version 1"
    node = efi_node(efi)
    if node is None:
        return "fw_vendor or config_table is missing in /sys/firmware/efi"
    memmap = build_efi_memmap(efi.runtime_map)
    info = EfiInfo(
        loader_signature=running.efi.loader_signature,
        systab=running.efi.systab,
        memdesc_size=EFI_MEMORY_DESCRIPTOR.sizeof(),
        memdesc_version=running.efi.memdesc_version,
        memmap_size=len(memmap),
    )
    return _Efi(node, info, memmap)


def keeps_firmware_display(facts: MachineFacts) -> bool:
    """Tell whether the display still is as firmware left it, and ``screen_info`` true.

    These drivers draw into firmware's framebuffer; any other has reprogrammed the hardware.
    """
    driver = facts.framebuffer_driver
    return driver is None or driver.startswith(_FIRMWARE_DISPLAYS)


def _boot_params(
    facts: MachineFacts,
    kernel: X86Kernel,
    handover: _Handover,
    cmdline: int,
    initrd: Range | None,
    setup_data: Range | None,
) -> bytes:
    running = handover.running
    efi = handover.efi
    if setup_data is not None and efi.memmap_size:
        efi = replace(efi, memmap=setup_data.start + nodes_size(handover.nodes))
    screen_info = b""
    if running is not None and keeps_firmware_display(facts):
        screen_info = running.screen_info
    return build_boot_params(
        BootParamsInput(
            raw_header=kernel.raw_header,
            e820=handover.e820,
            cmdline=cmdline,
            cmdline_offset=BOOT_PARAMS_SIZE if kernel.header.version < CMD_LINE_PTR_SINCE else 0,
            initrd=initrd,
            setup_data=setup_data.start if setup_data is not None and handover.nodes else 0,
            screen_info=screen_info,
            acpi_rsdp=handover.acpi_rsdp,
            hardware_subarch=running.hardware_subarch if running is not None else 0,
            efi=efi,
            secure_boot=running.secure_boot if running is not None and efi.memmap_size else 0,
            edd=facts.edd,
        )
    )
