"""What must hold for a plan that enters an s390x kernel. Pure.

Judged from what the purgatory was told and from the parameter area, as the kernel will read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.s390x.protocol import PURGATORY_END
from pykexec.formats.ipl_image import (
    CMDLINE,
    ENTRY,
    KDUMP_ENTRY,
    OLD_CMDLINE_MAX,
    PARAMETERS,
    read_command_line,
    read_parameters,
)
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import read_parameters as read_purgatory
from pykexec.purgatory_objects.s390x import S390xRegisters
from pykexec.values.calls import Target
from pykexec.values.errors import Violation
from pykexec.values.memory import crash_region
from pykexec.values.ranges import Range
from pykexec.values.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats.ipl_image import ParameterArea
    from pykexec.planning.plans import SegmentPlan
    from pykexec.values.facts import MachineFacts

INVARIANTS = (
    "image-placement",
    "initrd-is-told",
    "command-line",
    "entry-in-31-bits",
    "crash-memory",
)


def verify_protocol(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Violation]:
    """Judge the protocol's part of ``plan``."""
    kernel = plan.segment(Role.KERNEL)
    if kernel is None:
        yield Violation("image-placement", "the plan has no kernel")
        return
    crash = plan.target is Target.CRASH
    region = crash_region(facts.iomem) if crash else None
    base = region.start if region is not None else 0
    expected = base + (KDUMP_ENTRY if crash else ENTRY)
    if plan.kernel_entry != expected or kernel.dest.start != base + ENTRY:
        yield Violation(
            "image-placement",
            f"the kernel {kernel.dest} is entered at {plan.kernel_entry:#x}, needed {expected:#x}",
        )
    if len(kernel.data) < CMDLINE - ENTRY:
        yield Violation("image-placement", f"the kernel {kernel.dest} has no parameter area")
        return
    told = memoryview(kernel.data)[PARAMETERS - ENTRY :]
    area = read_parameters(told)
    cmdline = read_command_line(told)
    room = area.max_command_line_size or OLD_CMDLINE_MAX
    if cmdline != plan.cmdline or len(cmdline) >= room:
        yield Violation("command-line", "what the parameter area has differs from the plan's")
    if not crash and plan.entry >= PURGATORY_END:
        yield Violation("entry-in-31-bits", f"{plan.entry:#x} is not below {PURGATORY_END:#x}")
    yield from _verify_initrd(plan, area, base)
    yield from _verify_crash(plan, area, region)


def _verify_initrd(plan: SegmentPlan, area: ParameterArea, base: int) -> Iterator[Violation]:
    segment = plan.segment(Role.INITRD)
    told = Range.sized(base + area.initrd_start, area.initrd_size) if area.initrd_size else None
    where = Range.sized(segment.dest.start, len(segment.data)) if segment is not None else None
    if told != where:
        yield Violation("initrd-is-told", f"told an initrd {told}, it is {where}")


def _verify_crash(
    plan: SegmentPlan, area: ParameterArea, region: Range | None
) -> Iterator[Violation]:
    """A capture kernel is told of its region, and the purgatory exchanges just that."""
    told = (area.oldmem_base, area.oldmem_size)
    wanted = (region.start, region.size) if region is not None else (0, 0)
    if told != wanted:
        yield Violation("crash-memory", f"told a region {told}, it is {wanted}")
    purgatory = plan.segment(Role.PURGATORY)
    if purgatory is None:
        return
    registers = read_purgatory(load(plan.arch), bytes(purgatory.data)).registers
    assert isinstance(registers, S390xRegisters)  # the object is of this architecture
    if (registers.crash_base, registers.crash_size) != wanted:
        yield Violation("crash-memory", f"the purgatory exchanges another region than {wanted}")
    if region is None:
        return
    end = region.end - purgatory.dest.size
    for segment in plan.segments:
        if segment.dest.end > end:
            yield Violation(
                "crash-memory", f"{segment.role} {segment.dest} ends above {end:#x}, what is saved"
            )
