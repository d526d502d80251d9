"""What is different with each architecture in making and judging a plan. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from pykexec.architectures import room_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest, PlacementRule, SegmentPlan
    from pykexec.planning.told import Told
    from pykexec.purgatory_objects.parameters import PurgatoryObject
    from pykexec.values.errors import Violation
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import RangeSet


class BootRoom(Protocol):
    """The functions of each architecture's package ``boot/ROOM``."""

    def plan(
        self,
        facts: MachineFacts,
        request: LoadRequest,
        image: KernelImage,
        purgatory: PurgatoryObject,
    ) -> SegmentPlan:
        """Lay out a kernel that is for it; see :func:`pykexec.planning.planner.plan`."""

    def invariants_of(self, plan: SegmentPlan) -> tuple[str, ...]:
        """Return the names of what :meth:`verify` judges ``plan`` by."""

    def verify(
        self, plan: SegmentPlan, facts: MachineFacts, usable: RangeSet
    ) -> Iterable[Violation]:
        """Judge the protocol's part of ``plan``; ``usable`` is the memory that it may occupy."""

    def told_changes(self, plan: SegmentPlan, facts: MachineFacts) -> Iterator[Told]:
        """Yield what the next kernel is told otherwise than the running one was."""

    def keeps_firmware_display(self, facts: MachineFacts) -> bool | None:
        """Tell whether firmware's framebuffer is handed on; None: not by the loader."""

    def file_obstacle(self, image: KernelImage, facts: MachineFacts) -> str | None:
        """Return why the running kernel's own loader would not take ``image``; None: it may."""

    def file_cmdline_obstacle(self, request: LoadRequest, image: KernelImage) -> str | None:
        """Return why it would not take the command line; None: it does."""

    def file_dump_fault(self, facts: MachineFacts) -> str | None:
        """Return what is wrong with the core header that it makes itself; None: not known."""

    def file_shortfall(self, facts: MachineFacts) -> str | None:
        """Return what of the machine it would not tell the next kernel; None: not known."""

    def file_placement(
        self,
        request: LoadRequest,
        image: KernelImage,
        version: tuple[int, int] | None,
        *,
        crash: bool,
    ) -> Iterator[PlacementRule]:
        """Yield by which rules that loader places; ``version`` is the running kernel's."""


class ReturningRoom(Protocol):
    """What the package ``boot/ROOM`` also has where kernels can be returned to."""

    def plan_way_back(
        self,
        facts: MachineFacts,
        request: LoadRequest,
        address: int,
        purgatory: PurgatoryObject,
    ) -> SegmentPlan:
        """Lay out a return; see :func:`pykexec.planning.planner.plan_way_back`."""


def returning_room(arch: str) -> ReturningRoom:
    """Return that of an architecture whose kernels can be returned to."""
    return cast("ReturningRoom", room_of("boot", arch))


def boot_room(arch: str) -> BootRoom:
    """Return that of an architecture that there are plans for."""
    return cast("BootRoom", room_of("boot", arch))
