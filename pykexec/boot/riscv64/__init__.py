"""The boot protocol of riscv64: the functions of :class:`~pykexec.planning.rooms.BootRoom`. Pure.

Each imports what it needs when it is called: a load by the file call lays out no segments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures.riscv64 import RISCV64
from pykexec.boot.riscv64.file_placement import file_placement as file_placement
from pykexec.boot.tree.limits import cmdline_excess
from pykexec.formats.linux_image import LinuxImage
from pykexec.planning.file_placement import release_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest, SegmentPlan
    from pykexec.planning.told import Told
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.values.errors import Violation
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import RangeSet


_LAST_WITHOUT_IMAGE = (6, 12)
"""Of the releases that are known to lack arch/riscv/kernel/kexec_image.c."""


def plan(
    facts: MachineFacts, request: LoadRequest, image: KernelImage, purgatory: PurgatoryObject
) -> SegmentPlan:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.riscv64.protocol import PROTOCOL
    from pykexec.boot.tree.linux import plan_linux_image

    assert isinstance(image, LinuxImage)  # formats.identify has asked whom the image is for
    return plan_linux_image(facts, request, image, purgatory, PROTOCOL)


def invariants_of(plan: SegmentPlan) -> tuple[str, ...]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.riscv64.protocol import PROTOCOL
    from pykexec.boot.tree import invariants

    del plan
    return invariants.invariants_of(PROTOCOL)


def verify(plan: SegmentPlan, facts: MachineFacts, usable: RangeSet) -> Iterable[Violation]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.riscv64.protocol import PROTOCOL
    from pykexec.boot.tree.invariants import verify_protocol

    return verify_protocol(plan, facts, usable, PROTOCOL)


def told_changes(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Told]:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    from pykexec.boot.tree import told

    return told.told_changes(plan, facts)


def keeps_firmware_display(facts: MachineFacts) -> bool | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`: the kernel finds it by what EFI left."""
    del facts
    return None


def file_obstacle(image: KernelImage, facts: MachineFacts) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del image
    version = release_version(facts.kernel.release)
    if version is None or version > _LAST_WITHOUT_IMAGE:
        return None
    return "an Image: the running kernel's own loader knows ELF files alone"


def file_cmdline_obstacle(request: LoadRequest, image: KernelImage) -> str | None:
    """See :class:`~pykexec.planning.rooms.BootRoom`."""
    del image
    return cmdline_excess(request.cmdline, RISCV64.name)
