"""The pieces of memory in a core file, and where an address is among them. Pure."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of memory in the file: ``filesz`` bytes at ``offset``."""

    offset: int
    vaddr: int
    paddr: int
    filesz: int


class SegmentPlaces:
    """Segments by address. Of two that overlap, the first goes on up to its end."""

    def __init__(self, segments: Iterable[tuple[int, Segment]]) -> None:
        self._starts: list[int] = []
        self._found: list[tuple[int, int]] = []
        """(end of the addresses, file offset at the start)"""
        end = 0
        for start, segment in sorted(segments, key=lambda item: (item[0], -item[1].filesz)):
            if start + segment.filesz > end:
                skipped = max(end - start, 0)
                end = start + segment.filesz
                self._starts.append(start + skipped)
                self._found.append((end, segment.offset + skipped))

    def find(self, address: int) -> tuple[int, int]:
        """Return the file offset of an address, and for how many bytes that goes on; 0 for none."""
        index = bisect_right(self._starts, address) - 1
        if index < 0:
            return 0, 0
        (end, offset), within = self._found[index], address - self._starts[index]
        return offset + within, max(end - address, 0)
