"""The room for a core header: as much as it takes, or as the kernel wants to rewrite it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.errors import PykexecError
from pykexec.values.units import counted

if TYPE_CHECKING:
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.facts import MachineFacts


def core_header_room(facts: MachineFacts, request: LoadRequest, needed: int) -> int:
    """Return the bytes for a core header of ``needed`` bytes.

    Raises :class:`PykexecError` where the kernel's own wish is for less.
    """
    if not request.hotplug:
        return needed
    size = facts.kernel.crash_elfcorehdr_size or 0
    if size < needed:
        raise PykexecError(
            f"--hotplug: the kernel allows {counted(size, 'byte')} for the core header, this "
            "machine "
            f"needs {needed}",
            hint="leave out --hotplug and reload the crash kernel when memory or CPUs change",
        )
    return size
