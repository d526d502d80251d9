"""By which rules a running kernel places what kexec_file_load(2) gives it, in words. Pure.

The kernel decides when it loads, from lists that nobody else sees, so no address is known
before; but how it looks for one can be told. Linux kernel/kexec_file.c ("kexec_locate_mem_hole",
"kexec_walk_resources", "kexec_walk_memblock"); what each architecture adds is in its room.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.planning.plans import PlacementRule
from pykexec.planning.rooms import boot_room
from pykexec.values.calls import Target
from pykexec.values.command_line import switched

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.formats import KernelImage
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.facts import MachineFacts

# Where Linux began to do otherwise.
_CMA = (6, 17)
_HANDOVER = (6, 16)


def placement_rules(
    facts: MachineFacts, request: LoadRequest, image: KernelImage
) -> tuple[PlacementRule, ...]:
    """Return the running kernel's rules for ``request``, in the order in which it places."""
    return tuple(_rules(facts, request, image))


def _rules(
    facts: MachineFacts, request: LoadRequest, image: KernelImage
) -> Iterator[PlacementRule]:
    version = release_version(facts.kernel.release)
    crash = request.target is Target.CRASH
    if not crash:
        yield from _elsewhere(facts, request, version)
    yield from boot_room(facts.arch).file_placement(request, image, version, crash=crash)


def release_version(release: str) -> tuple[int, int] | None:
    """Return major and minor version of a kernel; None where they are not known."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return None if found is None else (int(found[1]), int(found[2]))


def _elsewhere(
    facts: MachineFacts, request: LoadRequest, version: tuple[int, int] | None
) -> Iterator[PlacementRule]:
    """What comes before every other rule, for jumps."""
    if version is None:
        return
    seen = facts.kernel.handed_over
    told = None if seen is None else seen.handover.on
    handover = told if told is not None else switched(facts.cmdline, "kho")
    if version >= _HANDOVER and (handover or facts.kernel.handover):
        text = "kexec handover is on (kho=): only its scratch memory is used"
        if seen is not None and seen.scratch:
            from pykexec.planning.scratch import scratch_text

            text += f", each segment in one of {scratch_text(seen.scratch)}"
        yield PlacementRule(None, text)
    elif version >= _CMA and not request.no_cma:
        text = "a CMA area with room for a segment comes first, wherever it is; --no-cma forbids it"
        yield PlacementRule(None, text)
