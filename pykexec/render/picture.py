"""Which part of memory holds what, to scale: the value that text and SVG draw. Pure.

Memory is drawn in rows of :data:`COLUMNS` cells. The overview shows all RAM, in the smallest
cells with which it fits a few rows; rows without RAM are left out. What is smaller than a cell
there is drawn again in smaller cells, down to a page.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import StrEnum
from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass
from pykexec.values.memory import MemoryKind, crash_regions, kind_of_name
from pykexec.values.ranges import Range, RangeSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pykexec.planning.plans import Segment
    from pykexec.values.facts import MachineFacts
    from pykexec.values.roles import Role

COLUMNS = 64
"""Cells in a row."""
OVERVIEW_ROWS = 10
ZOOM_ROWS = 2


class Holding(StrEnum):
    """What a piece of memory holds before the jump, or will hold after it."""

    RAM = "RAM"
    RESERVED = "reserved"
    """Firmware's, or not to be written to for another reason that the kernel tells."""
    KERNEL = "running kernel"
    CRASH = "crash region"
    SEGMENT = "segment"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a cell, or a piece of memory, is drawn as."""

    holding: Holding
    role: Role | None = None
    """Of a segment."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Memory that holds one thing."""

    range: Range
    mark: Mark


@dataclass(frozen=True, slots=True)
class View:
    """Rows of one scale."""

    cell: int
    """Bytes of memory in a cell, a power of two."""
    rows: tuple[Range, ...]
    """Each of :data:`COLUMNS` cells, in ascending order."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Memory in pieces, and the views to draw: the overview, then ever smaller cells."""

    pieces: tuple[Piece, ...]
    """In ascending order, disjoint; what lies between them is no memory."""
    views: tuple[View, ...]

    def within(self, window: Range) -> Iterator[Piece]:
        """Yield the pieces that share a byte with ``window``."""
        first = bisect_right(self.pieces, window.start, key=lambda item: item.range.end)
        for piece in self.pieces[first:]:
            if piece.range.start >= window.end:
                return
            yield piece

    def cells(self, row: Range, size: int) -> tuple[Mark | None, ...]:
        """Return what each cell of ``row`` is drawn as; None where there is no memory."""
        starts = range(row.start, row.end, size)
        return tuple(self._mark_of(Range.sized(start, size)) for start in starts)

    def _mark_of(self, cell: Range) -> Mark | None:
        """Choose the most important thing in a cell, of equal ones that which has most of it."""
        best: tuple[int, int] | None = None
        mark = None
        for piece in self.within(cell):
            shared = piece.range.intersect(cell)
            weight = (_IMPORTANCE[piece.mark.holding], shared.size if shared else 0)
            if best is None or weight > best:
                best, mark = weight, piece.mark
        return mark

    @property
    def marks(self) -> tuple[Mark, ...]:
        """What is drawn in any view, each once, segments first."""
        seen = {
            mark
            for view in self.views
            for row in view.rows
            for mark in self.cells(row, view.cell)
            if mark is not None
        }
        order = list(Holding)
        return tuple(
            sorted(seen, key=lambda item: (-order.index(item.holding), str(item.role or "")))
        )


_IMPORTANCE = {
    Holding.SEGMENT: 3,
    Holding.KERNEL: 2,
    Holding.CRASH: 1,
    Holding.RESERVED: 0,
    Holding.RAM: 0,
}


def picture_of(facts: MachineFacts, segments: Sequence[Segment]) -> Picture:
    """Draw the machine's memory with ``segments`` in it."""
    pieces = _pieces(facts, segments)
    memory = [item.range for item in pieces if item.mark.holding is not Holding.RESERVED]
    overview = _view(memory, facts.page_size, OVERVIEW_ROWS)
    wanted = [segment.dest for segment in segments]
    zooms: dict[int, set[Range]] = {}
    for view in _zooms(wanted, overview.cell, facts.page_size):
        zooms.setdefault(view.cell, set()).update(view.rows)
    views = [View(cell, tuple(sorted(rows))) for cell, rows in zooms.items()]
    views.sort(key=lambda item: -item.cell)
    return Picture(pieces, (overview, *views))


def _pieces(facts: MachineFacts, segments: Iterable[Segment]) -> tuple[Piece, ...]:
    """Cut memory into pieces: what is named first covers what comes after it."""
    inside = [item for entry in facts.iomem for child in entry.children for item in child.walk()]
    ram = RangeSet(entry.range for entry in facts.iomem if _is_ram(entry.name))
    other = [
        entry.range
        for entry in facts.iomem
        if not _is_ram(entry.name) and kind_of_name(entry.name) is not None
    ]
    nested = [item.range for item in inside if not item.name.startswith("Kernel ")]
    told = facts.firmware_map.of_kind(MemoryKind.RAM)
    untold = ram.minus(told) if len(told) else RangeSet()
    layers: list[tuple[Mark, Iterable[Range]]] = [
        *((Mark(Holding.SEGMENT, item.role), [item.dest]) for item in segments),
        (
            Mark(Holding.KERNEL),
            [item.range for item in inside if item.name.startswith("Kernel ")],
        ),
        (Mark(Holding.CRASH), crash_regions(facts.iomem)),
        (Mark(Holding.RESERVED), [*other, *ram.intersect(nested), *untold]),
        (Mark(Holding.RAM), ram),
    ]
    covered = RangeSet()
    pieces: list[Piece] = []
    for mark, ranges in layers:
        own = RangeSet(ranges)
        pieces += (Piece(item, mark) for item in own.minus(covered))
        covered = covered.union(own)
    return tuple(sorted(pieces, key=lambda item: item.range))


def _is_ram(name: str) -> bool:
    """Tell whether an entry is RAM: hot-added one, ``System RAM (kmem)``, is too."""
    return name.startswith(MemoryKind.RAM.value)


def _view(memory: Iterable[Range], page: int, most: int) -> View:
    """Draw ``memory`` in the smallest cells with which it takes at most ``most`` rows."""
    ordered = tuple(RangeSet(memory))
    cell = page
    while _count_rows(ordered, cell * COLUMNS) > most:
        cell *= 2
    size = cell * COLUMNS
    numbers = {
        number
        for item in ordered
        for number in range(item.start // size, (item.end - 1) // size + 1)
    }
    return View(cell, tuple(Range.sized(number * size, size) for number in sorted(numbers)))


def _count_rows(ordered: Iterable[Range], size: int) -> int:
    count, last = 0, -1
    for item in ordered:
        first = max(item.start // size, last + 1)
        last = max(last, (item.end - 1) // size)
        count += last - first + 1 if last >= first else 0
    return count


def _zooms(segments: Iterable[Range], cell: int, page: int) -> Iterator[View]:
    """Yield views of the segments that are smaller than ``cell``, neighbours together."""
    small = sorted(item for item in segments if item.size < cell)
    groups: list[list[Range]] = []
    for item in small:
        if groups and item.start - groups[-1][-1].end < cell:
            groups[-1].append(item)
        else:
            groups.append([item])
    for group in groups:
        view = _view([Range(group[0].start, group[-1].end)], page, ZOOM_ROWS)
        yield view
        yield from _zooms(group, view.cell, page)
