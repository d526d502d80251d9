"""The 64-bit and 32-bit boot protocols: from a kernel to a plan. Pure.

Linux Documentation/arch/x86/boot.rst, "64-bit Boot Protocol" and "32-bit Boot Protocol".
The order in which places are taken is from the most demanding neighbour of the top of
memory downwards; all segments go as high as they can, so that the new kernel finds its low
memory free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures.x86 import I386
from pykexec.boot.ima import plan_ima
from pykexec.boot.load_space import free_for, load_limits
from pykexec.boot.x86 import preserved
from pykexec.boot.x86._structures import EFI_MEMORY_DESCRIPTOR
from pykexec.boot.x86.boot_params import (
    BOOT_PARAMS_SIZE,
    BootParams,
    BootParamsInput,
    EfiInfo,
    build_boot_params,
    parse_boot_params,
)
from pykexec.boot.x86.crash import CrashPlan, CrashSegments
from pykexec.boot.x86.display import keeps_firmware_display
from pykexec.boot.x86.e820 import E820_MAX_ENTRIES_ZEROPAGE, build_e820, e820_from_memory_map
from pykexec.boot.x86.finish import Told, finish_plan
from pykexec.boot.x86.ima import ima_node, want_ima, without_ima
from pykexec.boot.x86.kernels import (
    ISA_DMA_END,
    LOWEST_PLACE,
    BzImageKernel,
    VmlinuxKernel,
    X86Kernel,
)
from pykexec.boot.x86.setup_data import (
    SetupNode,
    SetupType,
    build_efi_memmap,
    build_nodes,
    dtb_node,
    efi_node,
    nodes_size,
)
from pykexec.formats.bzimage import CMD_LINE_PTR_SINCE, BzImage, XLoadFlags
from pykexec.formats.ikconfig import unpacked
from pykexec.planning.plan_builder import PlanBuilder
from pykexec.planning.plans import SegmentPlan
from pykexec.purgatory_objects.parameters import WayBack
from pykexec.purgatory_objects.x86 import Entry32Registers, Entry64Registers
from pykexec.values.calls import Target
from pykexec.values.command_line import add_words
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import CommandLineError, ImageError, NoRoomError
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import ADDRESS_MAX_32, counted, format_size
from pykexec.values.wishes import Origin, at_least, at_most, inside

if TYPE_CHECKING:
    from pykexec.boot.ima import ImaPlan
    from pykexec.boot.x86.e820 import E820Entry
    from pykexec.formats.bzimage import SetupHeader
    from pykexec.formats.elf_program import ElfProgram
    from pykexec.planning.plans import LoadRequest
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.purgatory_objects.registers import Registers
    from pykexec.values.facts import MachineFacts
    from pykexec.values.memory import MemoryMap
    from pykexec.values.ranges import RangeSet
    from pykexec.values.wishes import Limit

_OLD_PARAMETERS = Range.sized(0x90000, 2 * BOOT_PARAMS_SIZE)


@dataclass(frozen=True, slots=True)
class _Handover:
    """What goes into boot_params and the setup_data list besides addresses of segments."""

    efi_nodes: tuple[SetupNode, ...]
    nodes: tuple[SetupNode, ...]
    """Those behind the memory map's."""
    efi: EfiInfo
    efi_memmap: bytes
    acpi_rsdp: int
    """Physical address, 0 when it is not known."""
    running: BootParams | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Load:
    """All that a plan is made of before its places are known."""

    facts: MachineFacts
    request: LoadRequest
    free: RangeSet
    kernel: X86Kernel
    handover: _Handover
    crash: CrashSegments | None
    ima: ImaPlan
    notes: tuple[str, ...] = ()

    @property
    def reach(self) -> tuple[Limit, ...]:
        return _reach(self.kernel)


@dataclass(frozen=True, slots=True)
class _Message:
    """What the next kernel is told that depends on places."""

    cmdline: bytes
    e820: tuple[E820Entry, ...]
    nodes: tuple[SetupNode, ...]
    """Of the setup_data list, with what of the map has no room in the zero page."""


def plan_x86_linux(
    facts: MachineFacts,
    request: LoadRequest,
    image: BzImage | ElfProgram,
    purgatory: PurgatoryObject,
) -> SegmentPlan:
    """Lay out a kernel for its entry point of 64 or 32 bits.

    Raises :class:`ImageError` when the kernel cannot be entered there, :class:`CommandLineError`
    when the command line is too long for it, :class:`NoRoomError` when a segment has no place.
    """
    kernel = x86_kernel(facts, request, image)
    for_crash = request.target is Target.CRASH
    free = free_for(facts, request)
    notes: tuple[str, ...] = ()
    if request.preserve_context:
        preserved.check_kernel(facts, kernel)
        free, notes = preserved.memory_to_exchange(facts, request, free)
    load = _Load(
        facts=facts,
        request=request,
        free=free,
        kernel=kernel,
        handover=_plan_handover(facts, request, kernel.header),
        crash=CrashSegments(facts, request, kernel.header) if for_crash else None,
        ima=plan_ima(facts, request, lambda: unpacked(image)),
        notes=notes,
    )
    try:
        return _lay_out(load, purgatory)
    except NoRoomError as refusal:
        if load.ima.data is None or request.ima is True:
            raise
        load = replace(load, ima=without_ima(load.ima.data, refusal))
    return _lay_out(load, purgatory)


def _lay_out(load: _Load, purgatory: PurgatoryObject) -> SegmentPlan:
    """Find the places of all segments and fill them."""
    facts, request, kernel, handover = load.facts, load.request, load.kernel, load.handover
    builder = PlanBuilder(load.free, facts.page_size, load_limits(facts, request))
    _want_segments(load, purgatory, builder)
    builder.settle()
    if request.preserve_context:
        builder.take_rest(Role.EXCHANGED)
    crash = load.crash.finish(builder) if load.crash is not None else None
    message = _message(load, crash, builder.place_if_any(Role.IMA_BUFFER))
    check_cmdline(message.cmdline, kernel.header)
    _fill_setup_data(builder, message.nodes, handover.efi_memmap)
    builder.fill(Role.PARAMETERS, _boot_params(load, builder, message) + message.cmdline + b"\0")
    kernel_start, kernel_entry = kernel.enter(builder)
    parameters = builder.place_of(Role.PARAMETERS).start
    told = Told(
        cmdline=message.cmdline,
        notes=(
            *_entry_notes(facts, kernel),
            *kernel.notes,
            *load.notes,
            *handover.notes,
            *load.ima.notes,
            *(load.crash.notes if load.crash else ()),
        ),
        memory_map=_memory_told(load, crash),
        kernel_start=kernel_start,
        way_back=(
            WayBack(parameters + BOOT_PARAMS_SIZE + preserved.digits_at(message.cmdline))
            if request.preserve_context
            else None
        ),
    )
    registers = _registers(kernel, parameters, kernel_entry)
    copy = crash.copy if crash is not None else None
    return finish_plan(facts, request, builder, purgatory, registers, told, copy)


def _want_segments(load: _Load, purgatory: PurgatoryObject, builder: PlanBuilder) -> None:
    """Ask for the places of all segments, with sizes that hold wherever they lie."""
    kernel = load.kernel
    longest = load.crash.at_most() if load.crash is not None else None
    message = _message(load, longest, Range(0, 0) if load.ima.data is not None else None)
    low = at_least(LOWEST_PLACE, "the first MiB is the next kernel's")
    if load.crash is not None:
        load.crash.want(builder)
    code_reach = load.reach if kernel.bits == 32 else ()
    builder.want(Role.PURGATORY, purgatory.memsz, low, *code_reach, checked=False)
    parameters = BOOT_PARAMS_SIZE + len(message.cmdline) + 1
    builder.want(Role.PARAMETERS, parameters, *_parameters_limits(kernel.header, low), *load.reach)
    kernel.want(builder, load.reach)
    want_initrd(builder, load.request, kernel)
    if load.ima.data is not None:
        want_ima(builder, load.ima.data, decompressed=isinstance(kernel, BzImageKernel))
    setup_data = nodes_size(message.nodes) + len(load.handover.efi_memmap)
    if setup_data:
        builder.want(Role.SETUP_DATA, setup_data, low, *load.reach)


def _message(load: _Load, crash: CrashPlan | None, ima: Range | None) -> _Message:
    """Say what the next kernel is told when it has these places."""
    handover = load.handover
    e820 = e820_from_memory_map(_memory_told(load, crash))
    here, more = e820[:E820_MAX_ENTRIES_ZEROPAGE], e820[E820_MAX_ENTRIES_ZEROPAGE:]
    extended = (SetupNode(SetupType.SETUP_E820_EXT, build_e820(more)),) if more else ()
    carried = (ima_node(ima),) if ima is not None else ()
    return _Message(
        cmdline=_with_own_words(load.request, crash, handover),
        e820=here,
        nodes=(*handover.efi_nodes, *extended, *handover.nodes, *carried),
    )


def _fill_setup_data(builder: PlanBuilder, nodes: tuple[SetupNode, ...], efi_memmap: bytes) -> None:
    dest = builder.place_if_any(Role.SETUP_DATA)
    if dest is not None:
        builder.fill(Role.SETUP_DATA, build_nodes(nodes, dest.start) + efi_memmap)


def _registers(kernel: X86Kernel, parameters: int, entry: int) -> Registers:
    if kernel.bits == 64:
        return Entry64Registers(rsi=parameters, rip=entry)
    return Entry32Registers(esi=parameters, eip=entry)


def x86_kernel(facts: MachineFacts, request: LoadRequest, image: BzImage | ElfProgram) -> X86Kernel:
    """Return what the protocol needs to know of ``image``, and the mode that it is entered in.

    A running kernel of 64 bits can enter one of 32 bits and the other way round: each bzImage
    has a 32-bit entry point. Raises :class:`ImageError` where there is no way.
    """
    if isinstance(image, BzImage):
        header = image.header
        wide = facts.arch != I386.name and header.wide and _levels_fit(facts, header)
        return BzImageKernel(image, request.entry_bits or (64 if wide else 32))
    if request.entry_bits not in (None, image.bits):
        raise ImageError(
            f"a vmlinux of {image.bits} bits has no entry point of {request.entry_bits} bits",
            hint="give the bzImage that was built with it",
        )
    if facts.arch == I386.name and image.bits == 64:
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


def _memory_told(load: _Load, crash: CrashPlan | None) -> MemoryMap:
    if crash is not None:
        return crash.memory_map
    if load.request.preserve_context:
        return preserved.memory_told(load.facts, load.free)
    return load.facts.memory_map


def _with_own_words(request: LoadRequest, crash: CrashPlan | None, handover: _Handover) -> bytes:
    """Add what a capture kernel, or one that is to return, must find on its command line."""
    if request.preserve_context:
        return preserved.with_way_back(request.cmdline)
    if crash is None:
        return request.cmdline
    words = []
    if not handover.efi.memmap_size and handover.acpi_rsdp:
        words.append(f"acpi_rsdp={handover.acpi_rsdp:#x}".encode())
    return add_words(request.cmdline, (*words, crash.extra_words))


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
            f"the command line is {counted(len(cmdline), 'byte')} long, this kernel takes at most "
            f"{header.cmdline_size} (cmdline_size)",
            hint=f"shorten it by {format_size(len(cmdline) - header.cmdline_size)}",
        )
    return cmdline


def want_initrd(builder: PlanBuilder, request: LoadRequest, kernel: X86Kernel) -> None:
    """Ask for a place for the initrd, if there is one."""
    if request.initrd is None:
        return
    limits = [at_least(ISA_DMA_END, "initrd above ISA DMA memory")]
    if kernel.bits != 64 or not kernel.header.above_4g:
        limits.append(at_most(kernel.header.initrd_addr_max, "initrd_addr_max", Origin.HEADER))
    builder.want(Role.INITRD, len(request.initrd), *limits, data=request.initrd)


def initrd_bytes(builder: PlanBuilder, request: LoadRequest) -> Range | None:
    """Return the exact bytes of the placed initrd, without the rest of its last page."""
    if request.initrd is None:
        return None
    return Range.sized(builder.place_of(Role.INITRD).start, len(request.initrd))


def _plan_handover(facts: MachineFacts, request: LoadRequest, header: SetupHeader) -> _Handover:
    """Decide what is handed over of EFI, of a device tree and of entropy."""
    efi_nodes: tuple[SetupNode, ...] = ()
    nodes: list[SetupNode] = []
    notes: list[str] = []
    running = parse_boot_params(facts.boot_params) if facts.boot_params is not None else None
    info, efi_memmap = EfiInfo(), b""
    efi = _plan_efi(facts, request, header, running)
    if not isinstance(efi, str):
        efi_nodes = (efi.node,)
        info, efi_memmap = efi.info, efi.memmap
    elif facts.efi is not None:
        notes.append(f"EFI runtime services are not handed over: {efi}")
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
    return _Handover(efi_nodes, tuple(nodes), info, efi_memmap, rsdp, running, tuple(notes))


def _device_tree(facts: MachineFacts, request: LoadRequest, notes: list[str]) -> SetupNode | None:
    """Return the tree to hand over, if any: the user's, the running one, or one brought along."""
    tree = facts.device_tree if request.dtb is None and request.force_dtb else request.dtb
    if tree is not None:
        return dtb_node(tree)
    brought = request.brought
    if brought is None or request.force_dtb:
        return None
    from pykexec.boot.tree.given_tree import tree_brought

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
        memdesc_size=EFI_MEMORY_DESCRIPTOR.size,
        memdesc_version=running.efi.memdesc_version,
        memmap_size=len(memmap),
    )
    return _Efi(node, info, memmap)


def _boot_params(load: _Load, builder: PlanBuilder, message: _Message) -> bytes:
    kernel, running, efi = load.kernel, load.handover.running, load.handover.efi
    setup_data = builder.place_if_any(Role.SETUP_DATA)
    if setup_data is not None and efi.memmap_size:
        efi = replace(efi, memmap=setup_data.start + nodes_size(message.nodes))
    screen_info = b""
    if running is not None and keeps_firmware_display(load.facts):
        screen_info = running.screen_info
    return build_boot_params(
        BootParamsInput(
            raw_header=kernel.raw_header,
            e820=message.e820,
            cmdline=builder.place_of(Role.PARAMETERS).start + BOOT_PARAMS_SIZE,
            cmdline_offset=BOOT_PARAMS_SIZE if kernel.header.version < CMD_LINE_PTR_SINCE else 0,
            initrd=initrd_bytes(builder, load.request),
            setup_data=setup_data.start if setup_data is not None and message.nodes else 0,
            screen_info=screen_info,
            acpi_rsdp=load.handover.acpi_rsdp,
            hardware_subarch=running.hardware_subarch if running is not None else 0,
            efi=efi,
            secure_boot=running.secure_boot if running is not None and efi.memmap_size else 0,
            edd=load.facts.edd,
        )
    )
