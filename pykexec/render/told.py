"""What the next kernel is told, as a difference to what the running one was told.

It is decoded from the plan's bytes, by the architecture's room. Seeds are never shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.planning.plans import FileLoadPlan
from pykexec.planning.rooms import boot_room
from pykexec.planning.told import Told
from pykexec.render.escape import printable
from pykexec.values.roles import Role

if TYPE_CHECKING:
    from pykexec.planning.plans import Plan
    from pykexec.values.facts import MachineFacts


def told_changes(plan: Plan, facts: MachineFacts) -> tuple[Told, ...]:
    """Return what changes, with what the machine's present boot was told, as far as it shows.

    The order is that of what is told: the command line first. Of a plan for kexec_file_load
    nothing else is known.
    """
    if not isinstance(plan, FileLoadPlan) and plan.segment(Role.DTB) is not None:
        return tuple(boot_room(plan.arch).told_changes(plan, facts))
    before, after = (printable(words) or None for words in (facts.cmdline, plan.cmdline))
    words = Told("command line", before, after)
    found = (words,) if words.before != words.after else ()
    if isinstance(plan, FileLoadPlan):
        return found
    return (*found, *boot_room(plan.arch).told_changes(plan, facts))
