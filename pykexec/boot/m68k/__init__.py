"""The boot protocol of m68k: functions of :class:`~pykexec.planning.rooms.BootRoom`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.tree.room import file_dump_fault as file_dump_fault
from pykexec.boot.tree.room import file_shortfall as file_shortfall
from pykexec.boot.tree.room import keeps_firmware_display as keeps_firmware_display
from pykexec.formats.elf_program import ElfProgram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest, PlacementRule, SegmentPlan
    from pykexec.planning.told import Told
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.values.errors import Violation
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import RangeSet

_NO_CALL = "m68k kernels have no kexec_file_load"
"""Linux arch/m68k/Kconfig selects no ARCH_SUPPORTS_KEXEC_FILE."""


def plan(
    facts: MachineFacts, request: LoadRequest, image: KernelImage, purgatory: PurgatoryObject
) -> SegmentPlan:
    """See :class:`~pykexec.planning.rooms.BootRoom`. There is no purgatory."""
    from pykexec.boot.m68k.protocol import plan_vmlinux

    del purgatory
    assert isinstance(image, ElfProgram)  # formats.identify has asked whom the image is for
    return plan_vmlinux(facts, request, image)


def invariants_of(plan: SegmentPlan) -> tuple[str, ...]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.m68k.invariants import INVARIANTS

    del plan
    return INVARIANTS


def verify(plan: SegmentPlan, facts: MachineFacts, usable: RangeSet) -> Iterator[Violation]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.m68k.invariants import verify_protocol

    del usable
    return verify_protocol(plan, facts)


def told_changes(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Told]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.m68k.told import told

    return told(plan, facts)


def file_obstacle(image: KernelImage, facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del image, facts
    return _NO_CALL


def file_cmdline_obstacle(request: LoadRequest, image: KernelImage) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`: there is no such loader."""
    del request, image
    return None


def file_placement(
    request: LoadRequest,
    image: KernelImage,
    version: tuple[int, int] | None,
    *,
    crash: bool,
) -> Iterator[PlacementRule]:
    """See :class:`~pykexec.planning.rooms.BootRoom`: there is no such loader."""
    del request, image, version, crash
    yield from ()
