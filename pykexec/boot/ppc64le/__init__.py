"""The boot protocol of ppc64le: the functions of :class:`~pykexec.planning.rooms.BootRoom`. Pure.

Each imports what it needs when it is called: a load by the file call lays out no segments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.ppc64le.file_placement import file_placement as file_placement
from pykexec.boot.tree import room as tree_room
from pykexec.boot.tree.room import keeps_firmware_display as keeps_firmware_display
from pykexec.boot.tree.room import told_changes as told_changes
from pykexec.formats.elf_program import ElfProgram
from pykexec.values.calls import Target
from pykexec.values.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest, SegmentPlan
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.values.errors import Violation
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import RangeSet


def plan(
    facts: MachineFacts, request: LoadRequest, image: KernelImage, purgatory: PurgatoryObject
) -> SegmentPlan:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.ppc64le.protocol import plan_elf_kernel

    assert isinstance(image, ElfProgram)  # formats.identify has asked whom the image is for
    return plan_elf_kernel(facts, request, image, purgatory)


def invariants_of(plan: SegmentPlan) -> tuple[str, ...]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.ppc64le.invariants import INVARIANTS

    del plan
    return INVARIANTS


def verify(plan: SegmentPlan, facts: MachineFacts, usable: RangeSet) -> Iterator[Violation]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.ppc64le.invariants import verify_protocol

    del usable
    return verify_protocol(plan, facts)


def file_obstacle(image: KernelImage, facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`: of ELF files it takes any.

    But it hands a tree on that tells of what is no more: of memory, of a hashed page table, of a
    dump by firmware. That stays in it after the release, and the next kernel takes memory for a
    dump's that is not, or for free that is not: one was seen to panic over its own device tree.
    """
    from pykexec.boot.ppc64le.next_tree import tells_of_dump
    from pykexec.boot.ppc64le.page_table import table_obstacle
    from pykexec.boot.ppc64le.platform import memory_since_boot

    del image
    if facts.device_tree is not None and tells_of_dump(facts.device_tree):
        return (
            "the running kernel's device tree has the ibm,kernel-dump of a dump that was released "
            "or refused, that call hands it on, and the next kernel would take it for its own"
        )
    _, gone = memory_since_boot(facts)
    if not gone:
        return table_obstacle(facts)
    return f"the next one would take {format_size(gone)} for its own that have gone since the boot"


def file_cmdline_obstacle(request: LoadRequest, image: KernelImage) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`.

    Raises :class:`ImageError` for a crash kernel that would have no dump by either call.
    """
    from pykexec.boot.ppc64le.kernel import refuse_big_endian

    assert isinstance(image, ElfProgram)  # formats.identify has asked whom the image is for
    if request.target is Target.CRASH:
        refuse_big_endian(image)
    return tree_room.file_cmdline_obstacle(request, image)


def file_dump_fault(facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.ppc64le.page_table import is_resizable

    if not is_resizable(facts):
        return None
    return (
        "when memory comes, the kernel resizes its hashed page table, and does not tell the crash "
        "kernel of it"
    )


def file_shortfall(facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`.

    That loader starts from the tree of the boot, and brings only its processors up to date: Linux
    arch/powerpc/kexec/file_load_64.c, "setup_new_fdt_ppc64".
    """
    from pykexec.boot.ppc64le.platform import memory_since_boot

    came, _ = memory_since_boot(facts)
    return f"{format_size(came)} of memory that came since the boot" if came else None
