"""A plan as text of at most 80 columns, for a serial console."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from pykexec.invariants import invariants_of
from pykexec.plans import FileLoadPlan
from pykexec.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pykexec.plans import Plan, SegmentPlan

WIDTH = 80

NO_SEGMENTS = (
    "The running kernel makes the segments and chooses their addresses when it loads; "
    "none is known before. A layout is there with kexec_load (-c, --call segments)."
)
"""What stands in the place of the segments of a plan for kexec_file_load."""


def wrapped(text: str, indent: str = "  ") -> str:
    """Break ``text`` into indented lines; a word longer than a line is broken too."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], right: frozenset[int]) -> str:
    """Lay out columns by their widest cell; the columns in ``right`` are flushed right."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(header))]
    lines = []
    for row in cells:
        parts = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(parts).rstrip())
    return "\n".join(lines)


def printable(data: bytes) -> str:
    """Decode bytes for a terminal: control characters are escaped."""
    text = data.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plan_text(plan: Plan) -> str:
    """Describe a plan, which has been verified if it is one of segments."""
    parts = _file_load_parts(plan) if isinstance(plan, FileLoadPlan) else _segment_parts(plan)
    if plan.notes:
        parts += ["", "Notes:", *(wrapped(note) for note in plan.notes)]
    return "\n".join(parts) + "\n"


def _cmdline_parts(cmdline: bytes) -> list[str]:
    return [
        f"Command line, {len(cmdline)} bytes:",
        wrapped(printable(cmdline)) if cmdline else "  (empty)",
    ]


def _file_load_parts(plan: FileLoadPlan) -> list[str]:
    initrd = "none" if plan.initrd is None else format_size(len(plan.initrd))
    return [
        f"Plan: {plan.target.value} load by kexec_file_load, {plan.arch}",
        "",
        wrapped(NO_SEGMENTS, indent=""),
        "",
        f"Kernel:   {format_size(len(plan.kernel))}",
        f"Initrd:   {initrd}",
        f"Flags:    {int(plan.flags):#x} {' '.join(str(f.name) for f in plan.flags)}".rstrip(),
        *_cmdline_parts(plan.cmdline),
    ]


def _segment_parts(plan: SegmentPlan) -> list[str]:
    """Segments, entry points, command line, memory map."""
    segments = [
        (
            segment.role.value,
            f"{segment.dest.start:#x}",
            f"{segment.dest.last:#x}",
            format_size(segment.dest.size),
            format_size(len(segment.data)),
            "yes" if segment.checked else "-",
        )
        for segment in plan.segments
    ]
    total = sum(segment.dest.size for segment in plan.segments)
    memory = [
        (f"{item.range.start:#x}", f"{item.range.last:#x}", format_size(item.range.size), item.name)
        for item in plan.memory_map
    ]
    return [
        f"Plan: {plan.target.value} load by kexec_load, {plan.arch}",
        "",
        f"Segments: {len(segments)}, {format_size(total)} of physical memory",
        table(
            ("segment", "first byte", "last byte", "memory", "data", "digest"),
            segments,
            frozenset({1, 2, 3, 4}),
        ),
        "",
        f"Way:      {plan.entry:#x} purgatory, then {plan.kernel_entry:#x} kernel",
        f"Flags:    {plan.flags:#x}",
        *_cmdline_parts(plan.cmdline),
        "",
        "Memory map that the new kernel is told:",
        table(("first byte", "last byte", "size", "kind"), memory, frozenset({0, 1, 2})),
        "",
        f"Checks: {len(invariants_of(plan))} invariants hold",
    ]


def call_text(plan: Plan) -> str:
    """Say what the kernel is called with, in the lines that scripts read from ``kexec -d``."""
    if isinstance(plan, FileLoadPlan):
        return f"kexec_file_load: flags = {int(plan.flags):#x}\n"
    lines = [
        f"kexec_load: entry = {plan.entry:#x} flags = {plan.flags:#x}",
        f"nr_segments = {len(plan.segments)}",
    ]
    for index, segment in enumerate(plan.segments):
        lines += [
            f"segment[{index}].buf   = {segment.role}",
            f"segment[{index}].bufsz = {len(segment.data):#x}",
            f"segment[{index}].mem   = {segment.dest.start:#x}",
            f"segment[{index}].memsz = {segment.dest.size:#x}",
        ]
    return "\n".join(lines) + "\n"
