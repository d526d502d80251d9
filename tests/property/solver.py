"""Finds places for segments by trying every order: an answer of its own to what the planner does.

Nothing of the package is used here. The planner packs upwards and remembers sets of segments; this
goes downwards through all permutations, each segment as high as it goes below the one before. What
has to lie in one window is tried for every window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

GIB = 1 << 30
WINDOW = 32 * GIB
Span = tuple[int, int]
"""Start and end, half-open."""


@dataclass(frozen=True)
class Piece:
    """A segment as its boot protocol describes it, in whole pages."""

    name: str
    size: int
    lowest: int = 0
    end: int = 1 << 64
    """Behind the last byte allowed."""
    align: int = 4096
    over: str = ""
    """It has to lie above the piece of that name, if there is one."""
    under: str = ""
    """It has to lie below that one."""
    window: str = ""
    """It has to lie in one window of 32 GiB, at a multiple of 1 GiB, with that one."""


def highest(free: Sequence[Span], piece: Piece, ceiling: int) -> int | None:
    """Return the highest start of ``piece`` that ends at or below ``ceiling``."""
    for start, end in sorted(free, reverse=True):
        top = min(end, ceiling, piece.end) - piece.size
        at = top - top % piece.align
        if at >= max(start, piece.lowest):
            return at
    return None


def _downwards(free: Sequence[Span], left: Sequence[Piece], ceiling: int) -> dict[str, int] | None:
    if not left:
        return {}
    names = {piece.name for piece in left}
    for piece in left:
        # What comes now is below all that is placed and above all that is left.
        if piece.under in names or any(other.over == piece.name for other in left):
            continue
        start = highest(free, piece, ceiling)
        if start is None:
            continue
        rest = _downwards(free, [other for other in left if other is not piece], start)
        if rest is not None:
            return {piece.name: start, **rest}
    return None


def solve(free: Sequence[Span], pieces: Sequence[Piece]) -> dict[str, int] | None:
    """Return a start for each piece, None if there is no way."""
    pair = next(((p.name, p.window) for p in pieces if p.window), None)
    if pair is None:
        return _downwards(free, pieces, 1 << 64)
    for base in range(0, max(end for _, end in free), GIB):
        confined = [
            replace(p, lowest=max(p.lowest, base), end=min(p.end, base + WINDOW))
            if p.name in pair
            else p
            for p in pieces
        ]
        if all(highest(free, piece, 1 << 64) is not None for piece in confined):
            found = _downwards(free, confined, 1 << 64)
            if found is not None:
                return found
    return None
