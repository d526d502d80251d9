"""What two boots are told differently, as values. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass
from pykexec.values.units import format_size

if TYPE_CHECKING:
    from pykexec.values.ranges import Range


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that the two boots are told differently; None: nothing is said of it."""

    name: str
    before: str | None
    after: str | None


def range_text(item: Range | None) -> str | None:
    """Write a range and its size; None of none."""
    return None if item is None else f"{item}, {format_size(item.size)}"
