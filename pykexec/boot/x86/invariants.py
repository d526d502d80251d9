"""What must hold for a plan that enters a kernel by a boot protocol of x86. Pure.

Judged from the zero page that the purgatory hands over, as the new kernel will read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.ima import check_ima_buffer
from pykexec.boot.x86.boot_params import BOOT_PARAMS_SIZE, BootParams, parse_boot_params
from pykexec.boot.x86.crash import LOW_MEMORY
from pykexec.boot.x86.e820 import E820Type, parse_e820
from pykexec.boot.x86.ima import parse_ima_node
from pykexec.boot.x86.setup_data import PlacedNode, SetupType, walk_nodes
from pykexec.formats._structures import SETUP_HEADER
from pykexec.formats.bzimage import SETUP_HEADER_OFFSET
from pykexec.planning.plans import BootProtocol
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import read_parameters
from pykexec.purgatory_objects.registers import Registers
from pykexec.purgatory_objects.x86 import Entry64Registers
from pykexec.values.calls import KexecFlags, Target
from pykexec.values.command_line import kernel_words
from pykexec.values.errors import Violation
from pykexec.values.memory import crash_regions
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import GIB, KIB, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pykexec.planning.plans import SegmentPlan
    from pykexec.values.facts import MachineFacts

X86_LINUX_INVARIANTS = (
    "boot-params",
    "kernel-init-size",
    "initrd-limits",
    "command-line",
    "setup-data",
    "memory-is-told",
    "crash-memory",
    "ima-buffer",
    "exchanged-memory",
)


_REAL_MODE_INVARIANTS = ("boot-params", "kernel-init-size", "initrd-limits", "command-line")
_MULTIBOOT_INVARIANTS = ("multiboot-registers", "multiboot-info", "multiboot-reach")
INVARIANTS = {
    BootProtocol.LINUX: X86_LINUX_INVARIANTS,
    BootProtocol.REAL_MODE: _REAL_MODE_INVARIANTS,
    BootProtocol.ELF: (),
    BootProtocol.MULTIBOOT: _MULTIBOOT_INVARIANTS,
    BootProtocol.MULTIBOOT2: _MULTIBOOT_INVARIANTS,
    BootProtocol.RETURN: ("way-back",),
}
"""By protocol. What an ELF program that is not Linux wants, it does not say."""

_HEADER_END = SETUP_HEADER_OFFSET + SETUP_HEADER.size
_HIDDEN = (Role.ELFCOREHDR, Role.BACKUP)
"""Segments of a crash load that the capture kernel must not take for free memory."""


def verify_protocol(
    plan: SegmentPlan, facts: MachineFacts, usable: RangeSet
) -> Iterator[Violation]:
    """Judge the protocol's part of ``plan``; ``usable`` is the memory it may occupy."""
    if plan.protocol is BootProtocol.ELF:
        return
    if plan.protocol is BootProtocol.RETURN:
        from pykexec.boot.x86.way_back import verify_way_back

        yield from verify_way_back(plan, facts)
        return
    if plan.protocol in (BootProtocol.MULTIBOOT, BootProtocol.MULTIBOOT2):
        from pykexec.boot.x86.multiboot_invariants import verify_multiboot

        yield from verify_multiboot(plan)
        return
    registers = _registers(plan)
    params = _handed_over(plan, registers)
    if isinstance(params, Violation):
        yield params
        return
    # Whether the kernel sees all memory when it is entered.
    above_4g = params.header.above_4g and isinstance(registers, Entry64Registers)
    yield from _verify_kernel(plan, params, usable, above_4g=above_4g)
    yield from _verify_initrd(plan, params, above_4g=above_4g)
    yield from _verify_cmdline(plan, params)
    if plan.protocol is BootProtocol.REAL_MODE:
        return
    yield from _verify_told(plan, facts, params)
    if plan.target is Target.CRASH:
        yield from _verify_elfcorehdr_word(plan)


def _handed_over(plan: SegmentPlan, registers: Registers | None) -> BootParams | Violation:
    """Decode the zero page that rsi points at when the kernel is entered."""
    if registers is None:
        return Violation("boot-params", "the plan has no purgatory to pass them in rsi")
    rsi = registers.argument
    where = Range.fitting(rsi, BOOT_PARAMS_SIZE)
    page = None if where is None else plan.bytes_at(where)
    if page is None:
        return Violation("boot-params", f"rsi is {rsi:#x}, where no segment has 4096 bytes")
    if plan.protocol is BootProtocol.REAL_MODE:
        # All around the header is code.
        page = bytes(SETUP_HEADER_OFFSET) + page[SETUP_HEADER_OFFSET:_HEADER_END]
        page = page.ljust(BOOT_PARAMS_SIZE, b"\0")
    params = parse_boot_params(page)
    if not params.has_header:
        return Violation("boot-params", f"no setup header in the page at {rsi:#x}")
    return params


def _registers(plan: SegmentPlan) -> Registers | None:
    """Return what the purgatory leaves with."""
    purgatory = plan.segment(Role.PURGATORY)
    if purgatory is None:
        return None
    return read_parameters(load(plan.arch), bytes(purgatory.data)).registers


def _verify_kernel(
    plan: SegmentPlan, params: BootParams, usable: RangeSet, *, above_4g: bool
) -> Iterator[Violation]:
    """The kernel unpacks in place over ``init_size`` bytes from its run-time start."""
    header = params.header
    start = plan.kernel_entry if plan.kernel_start is None else plan.kernel_start
    align = max(header.kernel_alignment, 1)
    segment = plan.segment_at(start)
    if segment is None:
        return  # entry-in-segment has said so
    needed = Range.sized(start, header.init_size)
    if not segment.dest.contains(needed):
        yield Violation(
            "kernel-init-size",
            f"the kernel needs {counted(header.init_size, 'byte')} from {start:#x}, "
            f"its segment {segment.dest} has {segment.dest.end - start}",
        )
    if usable.covering(needed) is None:
        yield Violation("kernel-init-size", f"{needed} is not all free RAM")
    if header.relocatable_kernel:
        if start % align:
            yield Violation(
                "kernel-init-size", f"{start:#x} is not a multiple of kernel_alignment {align:#x}"
            )
    elif start != header.pref_address:
        yield Violation(
            "kernel-init-size",
            f"the kernel is at {start:#x} but is bound to pref_address {header.pref_address:#x}",
        )
    if not above_4g and segment.dest.end > 4 * GIB:
        yield Violation("kernel-init-size", f"{segment.dest} reaches above 4 GiB")


def _verify_initrd(plan: SegmentPlan, params: BootParams, *, above_4g: bool) -> Iterator[Violation]:
    segment = plan.segment(Role.INITRD)
    if segment is None:
        if params.initrd is not None:
            yield Violation("initrd-limits", f"{params.initrd} is told, but there is no initrd")
        return
    told = params.initrd
    if told != Range.sized(segment.dest.start, len(segment.data)):
        yield Violation(
            "initrd-limits",
            f"told {told}, but {counted(len(segment.data), 'byte')} lie at {segment.dest.start:#x}",
        )
    limit = params.header.initrd_addr_max
    if not above_4g and segment.dest.last > limit:
        yield Violation(
            "initrd-limits",
            f"{segment.dest} ends above initrd_addr_max {limit:#x}",
        )


def _verify_cmdline(plan: SegmentPlan, params: BootParams) -> Iterator[Violation]:
    limit = params.header.cmdline_size
    segment = plan.segment_at(params.cmdline)
    if segment is None:
        yield Violation("command-line", f"cmd_line_ptr {params.cmdline:#x} lies in no segment")
        return
    offset = params.cmdline - segment.dest.start
    data = bytes(segment.data[offset : offset + limit + 1])
    length = data.find(b"\0")
    if length < 0:
        yield Violation(
            "command-line",
            f"at {params.cmdline:#x} no NUL within {counted(len(data), 'byte')}, cmdline_size "
            f"is {limit}",
        )
    elif data[:length] != plan.cmdline:
        yield Violation("command-line", f"{counted(length, 'byte')} told differ from the plan's")


def _verify_told(plan: SegmentPlan, facts: MachineFacts, params: BootParams) -> Iterator[Violation]:
    """The list is whole, and the new kernel knows the memory under its segments as RAM."""
    nodes = walk_nodes(params.setup_data, plan.bytes_at)
    if nodes is None:
        yield Violation("setup-data", f"the list from {params.setup_data:#x} leads nowhere")
        return
    entries = list(params.e820)
    for node in nodes:
        if node.type == SetupType.SETUP_E820_EXT:
            entries += parse_e820(node.payload)
    yield from _verify_ima(plan, nodes)
    ram = RangeSet(item.range for item in entries if item.type == E820Type.E820_TYPE_RAM)
    if plan.target is Target.CRASH and b"memmap=exactmap" not in kernel_words(plan.cmdline):
        yield from _verify_crash_memory(plan, ram, facts)
    for segment in plan.segments:
        if segment.role not in _HIDDEN and ram.covering(segment.dest) is None:
            yield Violation(
                "memory-is-told", f"{segment.role} {segment.dest} is not RAM in the E820 map told"
            )
    if plan.flags & KexecFlags.KEXEC_PRESERVE_CONTEXT:
        for stray in ram.minus(segment.dest for segment in plan.segments):
            yield Violation(
                "exchanged-memory", f"{stray} is told as RAM, and would not be exchanged"
            )
    memmap = Range.fitting(params.efi.memmap, params.efi.memmap_size)
    if params.efi.memmap_size and (memmap is None or plan.bytes_at(memmap) is None):
        yield Violation(
            "setup-data",
            f"the EFI memory map at {params.efi.memmap:#x} lies outside the segments",
        )


def _verify_ima(plan: SegmentPlan, nodes: Iterable[PlacedNode]) -> Iterator[Violation]:
    """IMA's list is told of where it is, whole, and never to a capture kernel."""
    segment = plan.segment(Role.IMA_BUFFER)
    told = [parse_ima_node(node.payload) for node in nodes if node.type == SetupType.SETUP_IMA]
    placed = [] if segment is None else [segment.dest]
    if told != placed:
        yield Violation("ima-buffer", f"told {_listed(told)}, placed {_listed(placed)}")
    if segment is None:
        return
    wrong = check_ima_buffer(segment.data)
    if wrong is not None:
        yield Violation("ima-buffer", wrong)
    if plan.target is Target.CRASH:
        yield Violation("ima-buffer", "a capture kernel is given the crashed one's list")


def _listed(ranges: Iterable[Range | None]) -> str:
    return ", ".join(map(str, ranges)) or "none"


def _verify_crash_memory(
    plan: SegmentPlan, ram: RangeSet, facts: MachineFacts
) -> Iterator[Violation]:
    """The capture kernel may use its own regions and the first 640 KiB, and nothing else."""
    own = [*crash_regions(facts.iomem), LOW_MEMORY]
    for stray in ram.minus(own):
        yield Violation("crash-memory", f"{stray} is told as RAM but belongs to the dump")
    for segment in plan.segments:
        hidden = ram.overlapping(segment.dest)
        if segment.role in _HIDDEN and hidden is not None:
            yield Violation("crash-memory", f"{segment.role} {segment.dest} is told as RAM")


def _verify_elfcorehdr_word(plan: SegmentPlan) -> Iterator[Violation]:
    """The core header is where the command line says."""
    segment = plan.segment(Role.ELFCOREHDR)
    if segment is not None:
        word = f"elfcorehdr={segment.dest.start // KIB}K".encode()
        if word not in kernel_words(plan.cmdline):
            yield Violation("crash-memory", f"{word.decode()} is not on the command line")
