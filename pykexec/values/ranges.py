"""Physical address ranges and their algebra. Pure.

All arithmetic in pykexec is half-open, ``[start, end)``. The kernel writes inclusive
ranges in /proc/iomem and sysfs; :meth:`Range.inclusive` is the only door for those.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter

from pykexec.values.data_classes import dataclass
from pykexec.values.units import align_down, align_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_by_start = attrgetter("start")


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """Physical bytes ``[start, end)``; ``end`` may be 2**64. Empty when ``start == end``."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end <= 1 << 64:
            raise ValueError(f"not a range: start {self.start:#x}, end {self.end:#x}")

    @classmethod
    def inclusive(cls, first: int, last: int) -> Range:
        """Make the range whose last byte is ``last``, as the kernel writes ranges."""
        return cls(first, last + 1)

    @classmethod
    def sized(cls, start: int, size: int) -> Range:
        """Make the range of ``size`` bytes from ``start``."""
        return cls(start, start + size)

    @classmethod
    def fitting(cls, start: int, size: int) -> Range | None:
        """Make the range of ``size`` bytes from ``start``; None where it would end behind 64 bits.

        For numbers of 64 bits that are read from memory, a file or a header.
        """
        return cls(start, start + size) if start + size <= 1 << 64 else None

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.end - self.start

    @property
    def last(self) -> int:
        """Address of the last byte, inclusive; meaningless for an empty range."""
        return self.end - 1

    def contains(self, other: Range) -> bool:
        """Tell whether ``other`` lies wholly inside this range."""
        return self.start <= other.start and other.end <= self.end

    def overlaps(self, other: Range) -> bool:
        """Tell whether the two share at least one byte."""
        return max(self.start, other.start) < min(self.end, other.end)

    def intersect(self, other: Range) -> Range | None:
        """Return the shared bytes, None when there are none."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Range(start, end) if start < end else None

    def align_inward(self, align: int) -> Range | None:
        """Shrink both ends to multiples of ``align``; None when nothing is left."""
        start, end = align_up(self.start, align), align_down(self.end, align)
        return Range(start, end) if start < end else None

    def __repr__(self) -> str:
        return f"Range({self.start:#x}, {self.end:#x})"

    def __str__(self) -> str:
        return f"{self.start:#x}-{self.last:#x}" if self.size else f"{self.start:#x} (empty)"


class RangeSet:
    """An immutable set of physical bytes, kept as sorted, disjoint, maximal ranges.

    Neighbours that touch are one range: a segment may cross the seam between two lines
    of /proc/iomem.
    """

    __slots__ = ("_ranges",)

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        merged: list[Range] = []
        reached = -1
        for item in sorted(ranges, key=_by_start):
            start, end = item.start, item.end
            if start == end:
                continue
            if start > reached:
                merged.append(item)
                reached = end
            elif end > reached:
                merged[-1] = Range(merged[-1].start, end)
                reached = end
        self._ranges = tuple(merged)

    @classmethod
    def _of(cls, ranges: Iterable[Range]) -> RangeSet:
        """Make a set of what is sorted, disjoint and maximal already."""
        made = cls()
        made._ranges = tuple(ranges)
        return made

    def __iter__(self) -> Iterator[Range]:
        return iter(self._ranges)

    def __len__(self) -> int:
        return len(self._ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangeSet) and self._ranges == other._ranges

    def __hash__(self) -> int:
        return hash(self._ranges)

    def __repr__(self) -> str:
        return f"RangeSet([{', '.join(map(str, self._ranges))}])"

    @property
    def size(self) -> int:
        """Number of bytes in the set."""
        return sum(item.size for item in self._ranges)

    def union(self, other: Iterable[Range]) -> RangeSet:
        """Return the bytes that are in either."""
        return RangeSet((*self._ranges, *other))

    def minus(self, other: Iterable[Range]) -> RangeSet:
        """Return the bytes of this set that are not in ``other``."""
        left: list[Range] = []
        holes = (other if isinstance(other, RangeSet) else RangeSet(other))._ranges
        count, index = len(holes), 0
        for item in self._ranges:
            start, end = item.start, item.end
            while index < count and holes[index].end <= start:
                index += 1
            at = index
            if at == count or holes[at].start >= end:
                left.append(item)
                continue
            while at < count and holes[at].start < end:
                hole = holes[at]
                if hole.start > start:
                    left.append(Range(start, hole.start))
                start = max(start, hole.end)
                at += 1
            if start < end:
                left.append(Range(start, end))
        # Between two pieces lies a hole, or what was between two ranges before.
        return RangeSet._of(left)

    def intersect(self, other: Iterable[Range]) -> RangeSet:
        """Return the bytes that are in both."""
        return self.minus(self.minus(other))

    def align_inward(self, align: int) -> RangeSet:
        """Shrink every range to multiples of ``align``; what vanishes is dropped."""
        shrunk = (item.align_inward(align) for item in self._ranges)
        return RangeSet(item for item in shrunk if item)

    def covering(self, wanted: Range) -> Range | None:
        """Return the one range that holds all of ``wanted``, None when none does."""
        at = bisect_right(self._ranges, wanted.start, key=lambda item: item.start) - 1
        if at >= 0 and self._ranges[at].contains(wanted):
            return self._ranges[at]
        return None

    def beyond(self, address: int) -> Iterator[Range]:
        """Yield the ranges that end above ``address``, in ascending order."""
        first = bisect_right(self._ranges, address, key=lambda item: item.end)
        for at in range(first, len(self._ranges)):
            yield self._ranges[at]

    def overlapping(self, other: Range) -> Range | None:
        """Return the first range that shares a byte with ``other``, None when none does."""
        first = next(self.beyond(other.start), None)
        return first if first is not None and first.overlaps(other) else None
