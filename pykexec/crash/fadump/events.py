"""What memory and processors that come or go mean for a registration. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass

if TYPE_CHECKING:
    from pykexec.crash.fadump.state import FadumpState

MEMORY = "memory"
CPU = "cpu"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to register again, and why."""

    register: bool
    reason: str


def decide(state: FadumpState, subsystem: str = MEMORY, action: str = "online") -> Decision:
    """Decide what an event of udev's is answered by; only a kernel without hotplug_ready needs it.

    Such a kernel has made the core header when it registered, with the memory of then. Processors
    are in what firmware saves, whenever they came.
    """
    if not state.enabled:
        return Decision(False, "fadump is not enabled")
    if subsystem == CPU:
        return Decision(False, "processors that come or go change nothing")
    if subsystem != MEMORY:
        return Decision(False, f"{subsystem!r} is neither memory nor a processor")
    if state.hotplug_ready:
        return Decision(False, "the capture kernel finds memory by itself (hotplug_ready is 1)")
    if action not in ("online", "offline", "add", "remove"):
        return Decision(False, f"{action!r} changes no memory")
    if state.dump_active:
        return Decision(False, "a dump is active, and nothing can be registered before its release")
    if not state.registered:
        return Decision(False, "nothing is registered")
    return Decision(True, "memory has changed, and the kernel has described it at the registration")
