"""What a crash load adds: the core header, and where the capture kernel may live. Pure.

Linux Documentation/admin-guide/kdump/kdump.rst. Both are told in /chosen, as
``linux,elfcorehdr`` and ``linux,usable-memory-range``, and nothing on the command line. There
is no low memory to save: the kernel uses none before it knows its memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.crash.elfcorehdr import build_elfcorehdr, core_headers
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import PykexecError
from pykexec.values.memory import (
    MemoryKind,
    MemoryMap,
    MemoryRegion,
    crash_region,
    crash_regions,
    dumped_ram,
)
from pykexec.values.roles import Role

if TYPE_CHECKING:
    from pykexec.planning.plan_builder import PlanBuilder
    from pykexec.planning.plans import LoadRequest
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import Range
    from pykexec.values.wishes import Limit


@dataclass(frozen=True, slots=True)
class CaptureMemory:
    """Where the capture kernel may live."""

    usable: tuple[Range, ...]
    """The region that it is loaded into, then the other."""
    memory_map: MemoryMap
    """The same, as a map."""


def want_core_header(
    facts: MachineFacts, request: LoadRequest, builder: PlanBuilder, *limits: Limit
) -> None:
    """Make the core header and ask for its place within ``limits``.

    Raises :class:`PykexecError` when the running kernel does not tell enough for a core header,
    or for ``--hotplug``, which no kernel has that is given a device tree.
    """
    if request.hotplug:
        raise PykexecError(
            f"--hotplug: {architecture_of(facts.arch).family} kernels do not update a core header",
            hint="leave out --hotplug and reload the crash kernel when memory or CPUs change",
        )
    headers = core_headers(facts.crash, dumped_ram(facts.iomem).minus(facts.crash.unreadable))
    data = build_elfcorehdr(headers, architecture_of(facts.arch).elf_machine)
    builder.want(Role.ELFCOREHDR, len(data), *limits, data=data)


def capture_memory(facts: MachineFacts) -> CaptureMemory:
    """Return the memory of the capture kernel."""
    region = crash_region(facts.iomem)
    regions = crash_regions(facts.iomem)
    usable = tuple(sorted(regions, key=lambda item: item != region))
    own = [MemoryRegion(item, MemoryKind.RAM, MemoryKind.RAM.value) for item in regions]
    return CaptureMemory(usable, MemoryMap.from_overlapping(own))
