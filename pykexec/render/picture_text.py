"""The picture of memory in characters, all of them ASCII, for a serial console."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from pykexec.render.lines import wrapped
from pykexec.render.picture import Holding
from pykexec.render.style import PLAIN, Colour
from pykexec.values.roles import Role
from pykexec.values.units import format_size

if TYPE_CHECKING:
    from pykexec.render.picture import Mark, Picture, View
    from pykexec.render.style import Style
    from pykexec.values.ranges import Range

_GLUE = "\xa0"
"""A blank at which no line is broken."""
_LABEL = 15
"""Columns for the address of a row: 52 bits, more no processor of today has."""

LETTERS = {
    Role.KERNEL: "K",
    Role.INITRD: "I",
    Role.PURGATORY: "P",
    Role.PARAMETERS: "B",
    Role.COMMAND_LINE: "C",
    Role.BOOTINFO: "O",
    Role.SETUP_DATA: "S",
    Role.DTB: "D",
    Role.ELFCOREHDR: "E",
    Role.BACKUP: "L",
    Role.IMA_BUFFER: "M",
    Role.SETUP: "T",
    Role.BOOT_NOTES: "N",
    Role.MULTIBOOT_INFO: "U",
    Role.MODULES: "X",
    Role.EXCHANGED: "x",
    Role.WAY_BACK: "W",
}
_SIGNS = {
    Holding.RAM: ".",
    Holding.RESERVED: "r",
    Holding.KERNEL: "o",
    Holding.CRASH: "c",
}
COLOURS = {
    Role.KERNEL: Colour.GREEN,
    Role.INITRD: Colour.CYAN,
    Role.PURGATORY: Colour.MAGENTA,
}
"""Of the segments; the others share one."""
_SHARED_COLOUR = Colour.YELLOW
_HOLDING_COLOURS = {Holding.KERNEL: Colour.BLUE, Holding.CRASH: Colour.RED}


def colour_of(mark: Mark) -> Colour | None:
    """Return what a mark is painted with."""
    if mark.role is not None:
        return COLOURS.get(mark.role, _SHARED_COLOUR)
    return _HOLDING_COLOURS.get(mark.holding)


def picture_text(picture: Picture, style: Style = PLAIN) -> str:
    """Draw the picture in 80 columns: its views, one below the other, and what the signs mean."""
    overview, *zooms = picture.views
    lines = [
        f"Memory, a character for each {format_size(overview.cell)}:",
        *_rows(picture, overview, style),
    ]
    for view in zooms:
        lines += [
            f"Closer, a character for each {format_size(view.cell)}:",
            *_rows(picture, view, style),
        ]
    return "\n".join([*lines, *_legend(picture, style)])


def _rows(picture: Picture, view: View, style: Style) -> list[str]:
    lines: list[str] = []
    end: int | None = None
    for row in view.rows:
        if end is not None and row.start != end:
            lines.append("...".rjust(_LABEL))
        lines.append(_row(picture, row, view.cell, style))
        end = row.end
    return lines


def _row(picture: Picture, row: Range, cell: int, style: Style) -> str:
    text = ""
    for mark, run in groupby(picture.cells(row, cell)):
        sign = " " if mark is None else _sign(mark)
        signs = sign * len(list(run))
        if mark is not None:
            signs = style.paint(signs, colour_of(mark), inverse=mark.role is not None)
        text += signs
    return f"{row.start:#x}".rjust(_LABEL) + " " + text.rstrip()


def _sign(mark: Mark) -> str:
    return LETTERS[mark.role] if mark.role is not None else _SIGNS[mark.holding]


def _legend(picture: Picture, style: Style) -> list[str]:
    """Explain the signs that were used; painted after the lines are broken."""
    words = {f"{_sign(mark)}={mark.role or mark.holding}": mark for mark in picture.marks}
    text = wrapped("  ".join(word.replace(" ", _GLUE) for word in [*words, "blank=no memory"]))
    text = text.replace(_GLUE, " ")
    for word, mark in words.items():
        sign = style.paint(word[0], colour_of(mark), inverse=mark.role is not None)
        text = text.replace(word, sign + word[1:], 1)
    return text.split("\n")
