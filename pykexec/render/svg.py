"""The picture of memory as SVG: one file without references, to be put into a bug report."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pykexec.planning.plans import FileLoadPlan
from pykexec.render.picture import Holding, Mark
from pykexec.values.roles import Role
from pykexec.values.units import format_size

if TYPE_CHECKING:
    from pykexec.planning.plans import Plan, SegmentPlan
    from pykexec.render.picture import Picture, View
    from pykexec.values.ranges import Range

_WIDTH = 900
_MARGIN = 16
_LABEL = 130
"""For the address to the left of a row."""
_BAR = _WIDTH - 2 * _MARGIN - _LABEL
_ROW = 20
_LINE = 18
_THINNEST = 1.5
"""What is thinner at this scale is drawn that wide, so that it can be seen."""

_ROLE_COLOURS = {
    Role.KERNEL: "#2e7d32",
    Role.INITRD: "#0288d1",
    Role.PURGATORY: "#8e24aa",
    Role.PARAMETERS: "#f9a825",
    Role.COMMAND_LINE: "#f9a825",
    Role.BOOTINFO: "#f9a825",
    Role.SETUP_DATA: "#ef6c00",
    Role.DTB: "#ef6c00",
    Role.ELFCOREHDR: "#5d4037",
    Role.BACKUP: "#00838f",
    Role.IMA_BUFFER: "#9e9d24",
    Role.SETUP: "#f9a825",
    Role.BOOT_NOTES: "#f9a825",
    Role.MULTIBOOT_INFO: "#f9a825",
    Role.MODULES: "#0288d1",
    Role.EXCHANGED: "#a5d6a7",
    Role.WAY_BACK: "#ef6c00",
}
_HOLDING_COLOURS = {
    Holding.RAM: "#e8eef2",
    Holding.RESERVED: "#9aa5ad",
    Holding.KERNEL: "#5c6bc0",
    Holding.CRASH: "#ef9a9a",
}


def _colour_of(mark: Mark) -> str:
    return _ROLE_COLOURS[mark.role] if mark.role is not None else _HOLDING_COLOURS[mark.holding]


def plan_svg(plan: Plan, picture: Picture) -> str:
    """Draw the machine's memory with the plan's segments, where there are any, in it.

    Those of a plan for kexec_file_load are of the layout beneath it.
    """
    drawing = _Drawing()
    drawing.text(_title(plan), size=16, bold=True)
    layout: SegmentPlan | None
    if isinstance(plan, FileLoadPlan):
        drawing.text("The running kernel chooses where the segments go, when it loads.")
        layout = plan.layout
        if layout is None:
            drawing.text("There is no layout of kexec_load to draw for comparison.")
        else:
            drawing.text(
                "Drawn is what kexec_load would do with the same, for comparison:", bold=True
            )
    else:
        layout = plan
    for number, view in enumerate(picture.views):
        name = "Memory" if not number else "Closer"
        columns = format_size(view.rows[0].size) if view.rows else "0"
        drawing.text(f"{name}: each row {columns}", above=8)
        _draw_view(drawing, picture, view)
    _draw_legend(drawing, picture)
    if layout is not None:
        _draw_segments(drawing, layout)
    return drawing.finish()


def _title(plan: Plan) -> str:
    call = "kexec_file_load" if isinstance(plan, FileLoadPlan) else "kexec_load"
    return f"{plan.target.value} load by {call}, {plan.arch}"


class _Drawing:
    """Elements from top to bottom."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.y = float(_MARGIN)

    def text(
        self, words: str, *, x: float = _MARGIN, size: int = 12, bold: bool = False, above: int = 0
    ) -> None:
        """Write a line and go below it."""
        self.y += above + _LINE
        weight = ' font-weight="bold"' if bold else ""
        self._parts.append(
            f'<text x="{x:g}" y="{self.y - 5:g}" font-size="{size}"{weight}>{escape(words)}</text>'
        )

    def label(self, words: str, x: float, y: float) -> None:
        """Write an address, or what a mark is called, where it is wanted, flush right."""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="12" text-anchor="end">{words}</text>'
        )

    def box(self, x: float, width: float, height: float, colour: str, title: str = "") -> None:
        """Draw a filled rectangle at the present height; ``title`` shows under the pointer."""
        inner = f"<title>{escape(title)}</title>" if title else ""
        self._parts.append(
            f'<rect x="{x:.2f}" y="{self.y:g}" width="{width:.2f}" height="{height:g}" '
            f'fill="{colour}">{inner}</rect>'
        )

    def finish(self) -> str:
        height = self.y + _MARGIN
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:g}" '
            f'viewBox="0 0 {_WIDTH} {height:g}" font-family="monospace" xml:space="preserve">'
        )
        ground = f'<rect width="{_WIDTH}" height="{height:g}" fill="#ffffff"/>'
        return "\n".join([head, ground, *self._parts, "</svg>"]) + "\n"


def _draw_view(drawing: _Drawing, picture: Picture, view: View) -> None:
    end: int | None = None
    for row in view.rows:
        if end is not None and row.start != end:
            drawing.y += 6
        drawing.label(f"{row.start:#x}", _MARGIN + _LABEL - 8, drawing.y + _ROW - 7)
        _draw_row(drawing, picture, row)
        drawing.y += _ROW
        end = row.end


def _draw_row(drawing: _Drawing, picture: Picture, row: Range) -> None:
    """Draw to scale; what is too thin to be seen, over its neighbours."""
    left = _MARGIN + _LABEL
    thin: list[tuple[float, str, str]] = []
    for piece in picture.within(row):
        shared = piece.range.intersect(row)
        if shared is None:
            continue
        x = left + (shared.start - row.start) * _BAR / row.size
        width = shared.size * _BAR / row.size
        colour = _colour_of(piece.mark)
        what = piece.mark.role or piece.mark.holding
        title = f"{what}: {piece.range}, {format_size(piece.range.size)}"
        if width < _THINNEST:
            if piece.mark.role is not None:
                thin.append((min(x, left + _BAR - _THINNEST), colour, title))
            continue
        drawing.box(x, width, _ROW - 4, colour, title)
    for x, colour, title in thin:
        drawing.box(x, _THINNEST, _ROW - 4, colour, title)


def _draw_legend(drawing: _Drawing, picture: Picture) -> None:
    drawing.y += 10
    x = float(_MARGIN)
    for mark in picture.marks:
        words = str(mark.role or mark.holding)
        width = 24 + 8 * len(words)
        if x + width > _WIDTH - _MARGIN:
            x = float(_MARGIN)
            drawing.y += _LINE
        drawing.box(x, 12, 12, _colour_of(mark))
        drawing.label(words, x + 16 + 7.3 * len(words), drawing.y + 10)
        x += width
    drawing.y += _LINE


def _draw_segments(drawing: _Drawing, plan: SegmentPlan) -> None:
    drawing.text("Segments, with the first and the last byte:", above=8)
    for segment in plan.segments:
        size = format_size(segment.dest.size)
        drawing.text(
            f"{segment.role:<12} {segment.dest.start:#15x} {segment.dest.last:#15x} {size:>10}"
        )
