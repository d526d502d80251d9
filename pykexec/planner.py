"""From facts and a request to a plan: which format, which protocol. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.errors import ImageError, UsageError

if TYPE_CHECKING:
    from pykexec.facts import MachineFacts
    from pykexec.plans import LoadRequest, SegmentPlan


def plan(facts: MachineFacts, request: LoadRequest) -> SegmentPlan:
    """Plan a load of ``request`` on the machine ``facts``, without touching any machine.

    The plan is not verified yet: see :func:`pykexec.invariants.verify`. Raises
    :class:`ImageError`, :class:`CommandLineError`, :class:`NoRoomError`, or
    :class:`UsageError` for an architecture that pykexec cannot plan for.
    """
    from pykexec.boot.x86_linux import plan_bzimage
    from pykexec.formats import identify
    from pykexec.purgatory_objects import load

    if facts.arch != "x86_64":
        raise UsageError(
            f"cannot plan for a machine of architecture {facts.arch!r}",
            hint="this version knows x86_64",
        )
    if request.initrd is not None and not len(request.initrd):
        raise ImageError("the initrd file is empty (0 bytes)", hint="leave out --initrd")
    image = identify(request.kernel)
    return plan_bzimage(facts, request, image, load(facts.arch))
