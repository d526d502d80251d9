"""What a purgatory leaves with, and where it has that: what its architecture's room gives. Pure."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from pykexec.architectures import room_of
from pykexec.values.data_classes import dataclass

if TYPE_CHECKING:
    from pykexec.values.consoles import Console


class Registers(Protocol):
    """A frozen data class: registers as the new kernel finds them, in the object's order."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def entry(self) -> int:
        """Physical address of the new kernel's entry point."""

    @property
    def argument(self) -> int:
        """Physical address of what the kernel is handed."""


@dataclass(frozen=True, slots=True)
class RegisterSet:
    """Where and how a set of registers is written."""

    type: type[Registers]
    symbol: str
    layout: Struct
    stack: str | None = None
    """The register that is the end of the purgatory's own stack unless it is given."""
    mode: int = 0
    """What ``exit_mode`` says where there is one."""
    apart: tuple[tuple[str, Struct], ...] = ()
    """Fields of ``type`` that are symbols of their own, and how they are written."""


@dataclass(frozen=True, slots=True)
class PurgatoryKind:
    """What differs between the parameters of one architecture's purgatory and another's."""

    registers: tuple[RegisterSet, ...]
    """What it can leave with; the first is the one that 0 in ``exit_mode`` stands for."""
    console: type[Console]
    last_kind: int = 0
    """The last that ``console_kind`` can be, where there is one."""
    big_endian: bool = False
    """How its numbers lie in memory."""
    way_back: tuple[str, ...] = ()
    """What it has of :class:`~pykexec.purgatory_objects.parameters.WayBack`, by name."""


class PurgatoryRoom(Protocol):
    """What each architecture's module ``purgatory_objects/ROOM`` has."""

    KINDS: dict[str, PurgatoryKind]
    """By the architecture's name."""


def purgatory_kind(arch: str) -> PurgatoryKind | None:
    """Return that of an architecture; None where it has none."""
    room = cast("PurgatoryRoom | None", room_of("purgatory_objects", arch))
    return room.KINDS.get(arch) if room is not None else None
