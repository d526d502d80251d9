"""Collects what a plan needs places for, finds them, takes the data. Pure.

Three steps: every segment is asked for with its size (:meth:`PlanBuilder.want`), all get their
places together (:meth:`PlanBuilder.settle`), and then the data that tell of places are written
(:meth:`PlanBuilder.fill`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.planning.arrangement import arrange
from pykexec.planning.packing import solve
from pykexec.planning.plans import Segment
from pykexec.planning.wanted import Option, Wanted
from pykexec.values.data_classes import replace
from pykexec.values.units import align_up
from pykexec.values.wishes import Placement, Prefer, aligned, inside

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykexec.planning.wanted import Relation
    from pykexec.values.buffers import Buffer
    from pykexec.values.ranges import Range, RangeSet
    from pykexec.values.roles import Role
    from pykexec.values.wishes import Limit


class PlanBuilder:
    """The segments of one plan; the order in which they are asked for is that of preference."""

    def __init__(self, free: RangeSet, page_size: int, limits: Iterable[Limit] = ()) -> None:
        """Start with ``free`` RAM; ``limits`` apply to every segment (``--mem-min`` …)."""
        self._free = free.align_inward(page_size)
        self.page_size = page_size
        self._limits = tuple(limits)
        self._wanted: list[Wanted] = []
        self._contents: list[tuple[Buffer, bool]] = []
        self._segments: list[Segment] = []
        self._options: dict[Role, int] = {}

    def want(
        self,
        role: Role,
        size: int,
        *limits: Limit | Relation,
        data: Buffer = b"",
        checked: bool = True,
        prefer: Prefer = Prefer.TOP,
    ) -> None:
        """Ask for ``size`` bytes for ``role``, rounded up to whole pages.

        ``data`` may also come later, by :meth:`fill`.
        """
        self.want_one_of(role, Option(size, limits, prefer), data=data, checked=checked)

    def want_one_of(
        self, role: Role, *options: Option, data: Buffer = b"", checked: bool = True
    ) -> None:
        """Ask for ``role`` in one of several ways, the best first; see :meth:`option_of`."""
        page = aligned(self.page_size, "page size")
        rounded = (
            Option(
                align_up(item.size, self.page_size),
                (page, *item.limits, *self._limits),
                item.prefer,
            )
            for item in options
        )
        self._wanted.append(Wanted(role, tuple(rounded)))
        self._contents.append((data, checked))

    def settle(self) -> None:
        """Find all places. Raises :class:`NoRoomError`."""
        found = arrange(self._free, self._wanted)
        for placed, (data, checked) in zip(found, self._contents, strict=True):
            self._options.setdefault(placed.role, placed.option)
            self._segments.append(
                Segment(
                    role=placed.role,
                    dest=placed.dest,
                    data=data,
                    checked=checked,
                    wish=placed.wish,
                    free=placed.free,
                    given_up=placed.given_up,
                )
            )

    def would_settle_in(self, free: RangeSet) -> bool:
        """Tell whether all could be placed if ``free`` were."""
        return solve(free.align_inward(self.page_size), self._wanted, {}) is not None

    def take_rest(self, role: Role) -> None:
        """Make segments of what is left of the free memory, without data; places are found."""
        free = self._free.minus(item.dest for item in self._segments)
        for dest in free:
            wish = Placement(dest.size, inside(dest, "all of the next kernel's memory"))
            self._segments.append(
                Segment(role=role, dest=dest, data=b"", checked=False, wish=wish, free=free)
            )

    def fill(self, role: Role, data: Buffer) -> None:
        """Give the segment that was placed for ``role`` its data."""
        at = self._index(role)
        self._segments[at] = replace(self._segments[at], data=data)

    def place_of(self, role: Role) -> Range:
        """Return where the first segment lies that was placed for ``role``."""
        return self._segments[self._index(role)].dest

    def place_if_any(self, role: Role) -> Range | None:
        """Return where ``role`` lies, None if the plan goes without."""
        return self.place_of(role) if role in self._options else None

    def data_size(self, role: Role) -> int:
        """Return how many bytes of data the segment has that was placed for ``role``."""
        return len(self._segments[self._index(role)].data)

    def option_of(self, role: Role) -> int:
        """Return which of the options it was placed by."""
        return self._options[role]

    def _index(self, role: Role) -> int:
        return next(at for at, item in enumerate(self._segments) if item.role is role)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What has been placed, in ascending order of address."""
        return tuple(sorted(self._segments, key=lambda item: item.dest))
