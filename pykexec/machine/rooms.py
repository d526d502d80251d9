"""What only machines of one architecture show, read by a room of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from pykexec.architectures import room_of

if TYPE_CHECKING:
    from pykexec.machine.description import Description
    from pykexec.machine.files import MachineFiles
    from pykexec.values.memory import IomemEntry


class MachineRoom(Protocol):
    """What each architecture's package ``machine/ROOM`` has."""

    NUMBERS: tuple[str, ...]
    """The lines of the VMCOREINFO note that :meth:`read_mapping` uses, and that a record keeps."""

    def read_own(self, files: MachineFiles, *, memory: bool) -> dict[str, Any]:
        """Return fields of :class:`~pykexec.values.facts.MachineFacts`, by their names.

        Without ``memory`` what a machine tells everybody. ``iomem`` is among them where memory is
        not told of in /proc/iomem.
        """

    def masked(self, name: str, data: bytes) -> bytes | None:
        """Return file ``name`` of a machine directory without what names one machine.

        Of the same length; None for a file that only others may have to do with.
        """

    def read_mapping(
        self,
        files: MachineFiles,
        description: Description,
        iomem: tuple[IomemEntry, ...],
        *,
        xen: bool,
    ) -> dict[str, Any]:
        """Return fields of :class:`~pykexec.values.facts.CrashFacts`, by their names.

        Where the kernel is mapped, and what its crash kernel has to leave alone.
        """

    def capture_fault(self, files: MachineFiles) -> str | None:
        """Return what is wrong with what a capture kernel looks for in this kernel's memory.

        "" for nothing; None where it cannot be seen, or none looks for anything.
        """


def machine_room(arch: str) -> MachineRoom | None:
    """Return that of an architecture; None where it has none."""
    return cast("MachineRoom | None", room_of("machine", arch))
