"""From an ELF kernel and a device tree to a plan, for POWER machines. Pure.

Linux arch/powerpc/kernel/head_64.S. The running kernel copies the first 0x100 bytes of what it
enters to address 0, where all processors but one wait at 0x60 for the new kernel: so these bytes
are the new kernel's own, behind a branch. A kernel that is not told to stay where it is loaded
copies itself to 0, its BSS included, and what it is handed has to lie above that. In real mode a
guest with hashed page tables reaches only the first block of memory: whatever the purgatory reads
and the kernel needs before it has its tables lies there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.boot.core_header import core_header_room
from pykexec.boot.ima import plan_ima
from pykexec.boot.load_space import free_for, load_limits
from pykexec.boot.ppc64le.kernel import PowerKernel, power_kernel
from pykexec.boot.ppc64le.next_tree import (
    BACKED_UP,
    crashed_memory,
    usable_memory,
    without_running,
)
from pykexec.boot.ppc64le.page_table import is_resizable, with_table
from pykexec.boot.ppc64le.platform import (
    installed,
    kept_memory,
    opal_entry,
    real_mode_end,
    running_kernel,
)
from pykexec.boot.ppc64le.processors import processor_room
from pykexec.boot.purgatory_segment import fill_purgatory
from pykexec.boot.tree.chosen import ChosenInput, prepare_tree
from pykexec.boot.tree.linux import (
    check_cmdline,
    retained_initrd,
    settle,
    tree_source,
    with_places,
)
from pykexec.boot.tree.memory import Kept, TreeMemory
from pykexec.crash.elfcorehdr import build_elfcorehdr, core_headers, with_copy
from pykexec.formats.device_tree import RESERVATION_SIZE, parse_device_tree
from pykexec.planning.plan_builder import PlanBuilder
from pykexec.planning.plans import SegmentPlan
from pykexec.planning.wanted import Option
from pykexec.purgatory_objects.ppc64le import (
    KERNEL_HEAD_SIZE,
    KERNEL_HEAD_START,
    Ppc64leRegisters,
)
from pykexec.values.calls import KexecFlags, Target
from pykexec.values.command_line import add_words
from pykexec.values.data_classes import dataclass, replace
from pykexec.values.errors import MachineError, PykexecError
from pykexec.values.memory import MemoryMap, crash_region, dumped_ram
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import MIB
from pykexec.values.wishes import Prefer, at_least, at_most

if TYPE_CHECKING:
    from pykexec.formats.elf_program import ElfProgram
    from pykexec.planning.plans import LoadRequest
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.values.facts import MachineFacts
    from pykexec.values.wishes import Limit

_SAFE_END = 768 * MIB
"""Below it every kernel reaches what it is handed: Linux arch/powerpc/kernel/prom_init.c,
"prom_init_mem"."""


@dataclass(frozen=True, slots=True)
class _Machine:
    """What the running tree says of the machine."""

    memory: TreeMemory
    limits: tuple[Limit, ...]
    opal: tuple[int, int]


def plan_elf_kernel(
    facts: MachineFacts, request: LoadRequest, image: ElfProgram, purgatory: PurgatoryObject
) -> SegmentPlan:
    """Lay out a kernel.

    Raises :class:`CommandLineError` when the command line is too long, :class:`ImageError` for a
    kernel or a device tree that cannot be used, :class:`NoRoomError` when a segment has no place.
    """
    crash, somewhere, asked = request.target is Target.CRASH, Range(0, 0), request
    kernel = power_kernel(image, crash=crash)
    request = _with_core_header(asked, kernel, somewhere)
    check_cmdline(request.cmdline, facts.arch)
    retained = retained_initrd(facts, request)
    region = crash_region(facts.iomem) if crash else None
    free = free_for(facts, request)
    given, tree_notes = tree_source(facts, request)
    given = with_table(facts, given)
    source = without_running(given, region, *_kept(kernel, BACKED_UP, Range(0, 1)))
    machine = _machine(facts, request.target, source, retained)
    ima = plan_ima(facts, request, lambda: kernel.data)
    told = ChosenInput(
        cmdline=request.cmdline,
        initrd=somewhere if request.initrd is not None else retained,
        kaslr_seed=request.kaslr_seed,
        rng_seed=request.rng_seed,
        elfcorehdr=somewhere if crash else None,
        ima_buffer=somewhere if ima.data is not None else None,
    )
    spare = _room_for_processors(facts, source) if crash and request.hotplug else 0
    # A reservation of a place that is not known yet is not written.
    later = RESERVATION_SIZE if ima.data is not None else 0
    tree_size = len(prepare_tree(source, told, spare)[0]) + later
    everywhere = (*load_limits(facts, request), *machine.limits)
    builder = PlanBuilder(machine.memory.free(free), facts.page_size, everywhere)
    builder.want_one_of(
        Role.KERNEL, Option(kernel.memsz, kernel.limits, Prefer.BOTTOM), data=kernel.data
    )
    if crash:
        _want_crash(facts, request, builder)
    over = () if crash else (at_least(kernel.memsz, "the kernel copies itself to 0"),)
    _want_low(builder, Role.PURGATORY, purgatory.memsz, over, checked=False)
    # The kernel writes the processors that come into the tree itself.
    _want_low(builder, Role.DTB, tree_size, over, checked=not (crash and request.hotplug))
    for role, data in ((Role.IMA_BUFFER, ima.data), (Role.INITRD, request.initrd)):
        if data is not None:
            builder.want(role, len(data), *over, data=data)
    settle(builder, machine.memory, free)

    if crash:
        _fill_core_header(facts, builder)
        backup, header = builder.place_of(Role.BACKUP), builder.place_of(Role.ELFCOREHDR)
        source = without_running(given, region, *_kept(kernel, backup, header))
        request = _with_core_header(asked, kernel, header)
        told = replace(told, cmdline=request.cmdline)
    blob, more_notes = prepare_tree(source, with_places(told, builder), spare)
    builder.fill(Role.DTB, blob)
    made = _finish(facts, request, kernel, purgatory, builder, machine)
    notes = (*request.notes, *tree_notes, *more_notes, *ima.notes)
    return replace(made, notes=notes, memory_map=_memory_map(blob, facts, region))


def _machine(
    facts: MachineFacts, target: Target, source: bytes, retained: Range | None
) -> _Machine:
    tree = parse_device_tree(source)
    memory = kept_memory(tree)
    running = parse_device_tree(facts.device_tree).root if facts.device_tree is not None else None
    kept = list(memory.kept)
    if running is not None:
        kept += running_kernel(running)
    if target is Target.NORMAL and not any(item.range.start == 0 for item in kept):
        raise MachineError(
            "the running kernel does not say where it ends: there is no linux,kernel-end in "
            "/chosen of its device tree",
            hint="it has to be one with CONFIG_KEXEC, on the machine that it runs on",
        )
    if retained is not None:
        kept.append(Kept(retained, "the initrd that is kept"))
    end = real_mode_end(facts, running or tree.root)
    limits: tuple[Limit, ...] = ()
    if end is not None:
        limits = (at_most(end - 1, "the first block of memory: real mode reaches no other"),)
    return _Machine(replace(memory, kept=tuple(kept)), limits, opal_entry(running or tree.root))


def _want_low(
    builder: PlanBuilder, role: Role, size: int, over: tuple[Limit, ...], *, checked: bool = True
) -> None:
    """Ask for a place where every kernel reaches it before it has page tables, or for any."""
    low = at_most(_SAFE_END - 1, "below 768 MiB")
    options = (Option(size, (*over, low)), Option(size, over))
    builder.want_one_of(role, *options, checked=checked)


def _room_for_processors(facts: MachineFacts, source: bytes) -> int:
    return processor_room(parse_device_tree(source).root, len(facts.crash.crash_notes))


def _want_crash(facts: MachineFacts, request: LoadRequest, builder: PlanBuilder) -> None:
    if request.hotplug and is_resizable(facts):
        raise PykexecError(
            "--hotplug: when memory comes the running kernel resizes its hashed page table, and "
            "does not tell the crash kernel of it",
            hint="leave out --hotplug and reload the crash kernel when memory or CPUs change",
        )
    builder.want(Role.BACKUP, BACKED_UP.size, data=b"", checked=False, prefer=Prefer.BOTTOM)
    needed = len(_core_header(facts, 0))
    size = core_header_room(facts, request, needed)
    builder.want(
        Role.ELFCOREHDR,
        size,
        data=bytes(size),
        checked=not request.hotplug,
        prefer=Prefer.BOTTOM,
    )


def _with_core_header(request: LoadRequest, kernel: PowerKernel, header: Range) -> LoadRequest:
    """Tell a capture kernel of it on the command line, where it reads nothing else.

    In as many bytes for each address.
    """
    if request.target is Target.NORMAL or kernel.finds_core_header:
        return request
    word = b"elfcorehdr=0x%016x" % header.start
    return replace(request, cmdline=add_words(request.cmdline, (word,)))


def _kept(kernel: PowerKernel, backup: Range, header: Range) -> tuple[Range, ...]:
    """Return what a capture kernel has to be kept from; who knows the core header keeps it."""
    return (backup,) if kernel.finds_core_header else (backup, header)


def _core_header(facts: MachineFacts, backup: int) -> bytes:
    """Describe memory, with the first 64 KiB where the purgatory has copied them to."""
    ram = dumped_ram(facts.iomem).minus(facts.crash.unreadable)
    parts = (BACKED_UP, *ram.minus([BACKED_UP]))
    headers = with_copy(core_headers(facts.crash, parts), BACKED_UP, backup)
    return build_elfcorehdr(headers, architecture_of(facts.arch).elf_machine)


def _fill_core_header(facts: MachineFacts, builder: PlanBuilder) -> None:
    """Write it; what the kernel may need for a longer one is told of and follows as zeros."""
    header = _core_header(facts, builder.place_of(Role.BACKUP).start)
    builder.fill(Role.ELFCOREHDR, header.ljust(builder.data_size(Role.ELFCOREHDR), b"\0"))


def _finish(
    facts: MachineFacts,
    request: LoadRequest,
    kernel: PowerKernel,
    purgatory: PurgatoryObject,
    builder: PlanBuilder,
    machine: _Machine,
) -> SegmentPlan:
    """Fill the purgatory, and make the plan of what has been placed."""
    crash = request.target is Target.CRASH
    entry = builder.place_of(Role.KERNEL).start
    head = bytes(kernel.data[KERNEL_HEAD_START : KERNEL_HEAD_START + KERNEL_HEAD_SIZE])
    base, door = machine.opal
    registers = Ppc64leRegisters(
        kernel_head=head,
        run_at_load=1 if crash else 0,
        r3=builder.place_of(Role.DTB).start,
        r8=base,
        r9=door,
        pc=entry,
    )
    backup = (BACKED_UP, builder.place_of(Role.BACKUP)) if crash else None
    fill_purgatory(builder, purgatory, request, registers, backup)
    return SegmentPlan(
        arch=facts.arch,
        page_size=facts.page_size,
        target=request.target,
        entry=builder.place_of(Role.PURGATORY).start + purgatory.entry,
        kernel_entry=entry,
        flags=_load_flags(facts, request),
        segments=builder.segments,
        cmdline=request.cmdline,
        memory_map=facts.memory_map,
    )


def _load_flags(facts: MachineFacts, request: LoadRequest) -> int:
    """Return the flags of kexec_load(2).

    Of the two that let a kernel follow hotplug POWER's know the later one alone (Linux
    arch/powerpc/kexec/crash.c, "arch_crash_hotplug_support").
    """
    flags = architecture_of(facts.arch).kexec_flag
    if request.target is Target.CRASH:
        flags |= KexecFlags.KEXEC_ON_CRASH
        if request.hotplug:
            flags |= KexecFlags.KEXEC_CRASH_HOTPLUG_SUPPORT
    return flags


def _memory_map(blob: bytes, facts: MachineFacts, region: Range | None) -> MemoryMap:
    """Return what the new kernel makes of its tree; of a crash kernel's memory what is its own."""
    root = parse_device_tree(blob).root
    ram = installed(root)
    if region is not None:
        ram = ram.intersect(usable_memory(root, region)).minus([crashed_memory(region)])
    return TreeMemory(ram, None, ()).memory_map(facts.memory_map)
