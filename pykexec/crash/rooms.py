"""What is different with each architecture before and after a crash. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from pykexec.architectures import architecture_of, room_of

if TYPE_CHECKING:
    from pykexec.crash.elf_core import PhysicalMemory, VmcoreInfo
    from pykexec.crash.reservation_rules import Rules
    from pykexec.values.facts import MachineFacts


class CrashRoom(Protocol):
    """The functions of each architecture's module ``crash/ROOM``."""

    def translate(self, vaddr: int, info: VmcoreInfo, physical: PhysicalMemory) -> tuple[int, int]:
        """Return the physical address of ``vaddr``, and for how many bytes that surely goes on.

        Of a kernel of 64 bits. Raises :class:`~pykexec.crash.core_reading.VmcoreError` where
        nothing tells.
        """

    def rules(self, facts: MachineFacts) -> Rules:
        """Return where the running kernel reserves memory for a crash kernel."""


def crash_room(arch: str) -> CrashRoom | None:
    """Return that of an architecture; None where it has none, or no crash kernels."""
    if not architecture_of(arch).has_crash_kernels:
        return None
    return cast("CrashRoom | None", room_of("crash", arch))
