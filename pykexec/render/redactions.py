"""What a record with --redact has masked, and what it has left, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.render.lines import behind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HEAD = 9
"""Columns of the label."""


def redactions_text(
    masked: Mapping[str, Mapping[str, int]], left: Mapping[str, Sequence[str]], untouched: int
) -> str:
    """Return the list, in at most 80 columns.

    ``masked`` counts by file and kind, ``left`` has the words of a file that are as they were, and
    ``untouched`` is the number of files in which nothing was masked.
    """
    lines = []
    for name, kinds in sorted(masked.items()):
        words = ", ".join(f"{kind} ({count})" for kind, count in kinds.items())
        lines.append(_labelled("masked", f"{name}: {words}"))
    for name, keys in sorted(left.items()):
        lines.append(_labelled("left", f"{name}: {' '.join(keys) or 'nothing'}"))
    files = "1 file as it is" if untouched == 1 else f"{untouched} files as they are"
    lines.append(_labelled("left", f"{files}; look at the record before it is given away"))
    return "\n".join(lines) + "\n"


def _labelled(label: str, text: str) -> str:
    return behind(f"{label + ':':<{_HEAD}}", text, _HEAD)
