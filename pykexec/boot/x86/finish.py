"""The end of every x86 plan: the purgatory is filled, what was placed becomes the plan. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.boot.purgatory_segment import fill_purgatory
from pykexec.planning.plans import BootProtocol, SegmentPlan
from pykexec.values.calls import KexecFlags, Target
from pykexec.values.data_classes import dataclass, field
from pykexec.values.memory import MemoryMap
from pykexec.values.roles import Role

if TYPE_CHECKING:
    from pykexec.planning.plan_builder import PlanBuilder
    from pykexec.planning.plans import LoadRequest
    from pykexec.purgatory_objects.parameters import PurgatoryObject, WayBack
    from pykexec.purgatory_objects.registers import Registers
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import Range


@dataclass(frozen=True, slots=True)
class Told:
    """What the next kernel is told, as the plan shows it."""

    cmdline: bytes
    notes: tuple[str, ...]
    """Behind those of the request."""
    memory_map: MemoryMap = field(default_factory=MemoryMap)
    """Empty where it is told none."""
    protocol: BootProtocol = BootProtocol.LINUX
    kernel_start: int | None = None
    """Physical address of the kernel's first byte, where the protocol knows such a thing."""
    way_back: WayBack | None = None


def finish_plan(
    facts: MachineFacts,
    request: LoadRequest,
    builder: PlanBuilder,
    purgatory: PurgatoryObject,
    registers: Registers,
    told: Told,
    backup: tuple[Range, Range] | None = None,
) -> SegmentPlan:
    """Make the plan of what ``builder`` has placed, the purgatory among it.

    ``backup`` is memory to copy before the kernel is entered, and its place.
    """
    fill_purgatory(builder, purgatory, request, registers, backup, told.way_back)
    return SegmentPlan(
        arch=facts.arch,
        page_size=facts.page_size,
        target=request.target,
        entry=builder.place_of(Role.PURGATORY).start + purgatory.entry,
        kernel_entry=registers.entry,
        flags=_load_flags(facts, request),
        segments=builder.segments,
        cmdline=told.cmdline,
        memory_map=told.memory_map,
        notes=(*request.notes, *told.notes),
        protocol=told.protocol,
        kernel_start=told.kernel_start,
    )


def _load_flags(facts: MachineFacts, request: LoadRequest) -> int:
    """Return the flags of kexec_load(2).

    Of the two that let the kernel update the core header x86 takes the older one: every
    kernel that has the feature knows it (Linux arch/x86/kernel/crash.c,
    "arch_crash_hotplug_support").
    """
    flags = architecture_of(facts.arch).kexec_flag
    if request.preserve_context:
        flags |= KexecFlags.KEXEC_PRESERVE_CONTEXT
    if request.target is Target.CRASH:
        flags |= KexecFlags.KEXEC_ON_CRASH
        if request.hotplug:
            flags |= KexecFlags.KEXEC_UPDATE_ELFCOREHDR
    return flags
