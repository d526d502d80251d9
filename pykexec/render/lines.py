"""Lines of text in 80 columns. Pure."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from pykexec.render.escape import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH = 80


def wrapped(text: str, indent: str = "  ", hanging: str = "") -> str:
    """Break ``text`` into indented lines; a word longer than a line is broken too.

    All lines but the first are indented by ``hanging`` in addition.
    """
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + hanging,
        break_on_hyphens=False,
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[int]) -> str:
    """Lay out columns by their widest cell; the columns in ``right`` are flushed right.

    What does not fit the width is cut off: the last column is the one that may be long.
    """
    cells = [list(header), *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(header))]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(("  " + "  ".join(parts).rstrip())[:WIDTH])
    return "\n".join(lines)


def behind(head: str, text: str, below: int, *, break_long_words: bool = True) -> str:
    """Break ``text`` into lines behind ``head``, indented by ``below`` columns from the second on.

    What in ``text`` does not print, ends of lines included, is escaped.
    """
    return textwrap.fill(
        one_line(text),
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * below,
        break_on_hyphens=False,
        break_long_words=break_long_words,
    )
