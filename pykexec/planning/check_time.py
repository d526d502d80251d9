"""How long the purgatory's check will take, and whether that is worth a warning. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.planning.digest import digest_regions
from pykexec.values.units import format_size

if TYPE_CHECKING:
    from pykexec.planning.plans import SegmentPlan
    from pykexec.values.facts import MachineFacts

LONG = 5
"""Seconds from which on somebody in front of a silent machine reaches for the switch."""
_SHOWN_MIN = 0.1
"""Seconds; an estimate of less says nothing."""


def checked_size(plan: SegmentPlan) -> int:
    """Return how many bytes of memory the purgatory hashes."""
    return sum(region.size for region in digest_regions(plan.segments, plan.page_size))


def estimated_seconds(plan: SegmentPlan, facts: MachineFacts) -> float | None:
    """Return how long the check takes on the machine ``facts``, about.

    None where nothing is known of how fast its processors hash.
    """
    speed = architecture_of(facts.arch).check_speeds.get(facts.hashing)
    return checked_size(plan) / speed if speed else None


def seconds_text(seconds: float) -> str:
    """Return an estimate as people read it, of two digits at most."""
    if seconds < _SHOWN_MIN:
        return f"less than {_SHOWN_MIN} s"
    return f"about {seconds:.{1 if seconds < 10 else 0}f} s"


def long_check(plan: SegmentPlan) -> str | None:
    """Return what to warn of where the check takes long, and how to do without it; else None."""
    seconds = plan.check_seconds
    if seconds is None or seconds <= LONG:
        return None
    return (
        f"the check of {format_size(checked_size(plan))} before the new kernel is entered takes "
        f"{seconds_text(seconds)} here; --no-checks leaves it out, and then nobody notices what "
        "a device or firmware writes into the new kernel's memory after the load"
    )
