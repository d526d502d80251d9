"""A plan as text of at most 80 columns, for a serial console.

Everything of pykexec's own is ASCII, so that it can be shown in any locale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.planning.check_time import seconds_text
from pykexec.planning.digest import table_in
from pykexec.planning.invariants import invariants_of
from pykexec.planning.plans import FileLoadPlan
from pykexec.render.escape import one_line, printable
from pykexec.render.lines import table, wrapped
from pykexec.render.style import PLAIN, Colour
from pykexec.values.units import counted, format_size

if TYPE_CHECKING:
    from pykexec.planning.plans import LoadRequest, Plan, SegmentPlan
    from pykexec.render.style import Style
    from pykexec.values.facts import MachineFacts

_CHANGES_SHOWN = 40

NO_SEGMENTS = (
    "The running kernel makes the segments and chooses their addresses when it loads; none is "
    "known before."
)
"""What stands in the place of the segments of a plan for kexec_file_load."""
OTHER_CALL = "kexec_load (-c, --call segments)"
BENEATH = (
    f"For comparison, the layout that {OTHER_CALL} would make of the same. It is not what this "
    "load does: that one's addresses are the running kernel's choice."
)
"""What stands above the layout beneath a plan for kexec_file_load."""


def plan_text(plan: Plan, facts: MachineFacts | None = None, style: Style = PLAIN) -> str:
    """Describe a plan, which has been verified if it is one of segments.

    With the ``facts`` that it was made from there are also a picture of the machine's memory,
    and what changes for the next kernel against what the running one was told. One for
    kexec_file_load shows the layout of kexec_load beneath, where it has one.
    """
    if isinstance(plan, FileLoadPlan):
        parts = [*_file_load_parts(plan), "", *_layout_parts(plan, facts, style)]
    else:
        parts = _segment_parts(plan, facts, style)
    if facts is not None:
        parts += ["", *told_lines(plan, facts, style)]
    if not isinstance(plan, FileLoadPlan):
        parts += [
            "",
            *_memory_map_lines(plan),
            "",
            f"Checks: {len(invariants_of(plan))} invariants hold",
        ]
    if plan.notes:
        parts += ["", "Notes:", *(wrapped(note) for note in plan.notes)]
    return "\n".join(parts) + "\n"


def told_lines(plan: Plan, facts: MachineFacts, style: Style) -> list[str]:
    """Show what the next kernel is told otherwise, as a diff; all of it is in the JSON."""
    from pykexec.render.told import told_changes

    changes = told_changes(plan, facts)
    if not changes:
        return ["The new kernel is told what this boot was told."]
    lines = ["What the new kernel is told (+) and this boot was (-):"]
    for change in changes[:_CHANGES_SHOWN]:
        lines += signed_lines(change.name, change.before, change.after, style)
    if len(changes) > _CHANGES_SHOWN:
        lines.append(f"  ... and {len(changes) - _CHANGES_SHOWN} changes more, see --json")
    return lines


def signed_lines(name: str, before: str | None, after: str | None, style: Style) -> list[str]:
    """Return a line with ``-`` for what was and one with ``+`` for what is instead."""
    signed = (("-", before, Colour.RED), ("+", after, Colour.GREEN))
    return [
        style.paint(line, colour)
        for sign, value, colour in signed
        if value is not None
        for line in wrapped(f"{sign} {name}: {value}", hanging="    ").split("\n")
    ]


def _cmdline_parts(cmdline: bytes) -> list[str]:
    return [
        f"Command line, {counted(len(cmdline), 'byte')}:",
        wrapped(printable(cmdline)) if cmdline else "  (empty)",
    ]


def _file_load_parts(plan: FileLoadPlan) -> list[str]:
    initrd = "none" if plan.initrd is None else format_size(len(plan.initrd))
    kernel = format_size(len(plan.kernel))
    return [
        f"Plan: {plan.target.value} load by kexec_file_load, {plan.arch}",
        "",
        wrapped(NO_SEGMENTS, indent=""),
        "",
        wrapped(f"Kernel:   {one_line(plan.image)}, {kernel}", indent="")
        if plan.image
        else f"Kernel:   {kernel}",
        f"Initrd:   {initrd}",
        f"Flags:    {int(plan.flags):#x} {' '.join(str(f.name) for f in plan.flags)}".rstrip(),
        *_cmdline_parts(plan.cmdline),
        *_placement_parts(plan),
    ]


def request_text(arch: str, request: LoadRequest, image: str) -> str:
    """Say what is known of a load by kexec_load where nothing can be placed."""
    initrd = "none" if request.initrd is None else format_size(len(request.initrd))
    size = format_size(len(request.kernel))
    parts = [
        f"Plan: {request.target.value} load by kexec_load, {arch}, without addresses",
        "",
        wrapped(f"Kernel:   {one_line(image)}, {size}", indent=""),
        f"Initrd:   {initrd}",
        *_cmdline_parts(request.cmdline),
    ]
    if request.notes:
        parts += ["", "Notes:", *(wrapped(note) for note in request.notes)]
    return "\n".join(parts) + "\n"


def _placement_parts(plan: FileLoadPlan) -> list[str]:
    if not plan.placement:
        return []
    return [
        "How the running kernel will look for places, in this order:",
        *(
            wrapped(f"{f'{rule.role}: ' if rule.role else ''}{rule.text}", hanging="  ")
            for rule in plan.placement
        ),
    ]


def _layout_parts(plan: FileLoadPlan, facts: MachineFacts | None, style: Style) -> list[str]:
    """Show the layout that is not this call's, and say so; or why there is none."""
    if plan.layout is not None:
        return [
            wrapped(BENEATH, indent=""),
            "",
            *_segment_lines(plan.layout, facts, style),
            f"Way:      {_way(plan.layout)}",
            f"Checks:   {len(invariants_of(plan.layout))} invariants hold",
        ]
    if plan.no_layout is None:
        return [f"A layout is there with {OTHER_CALL}."]
    lines = [wrapped(f"No layout of kexec_load to show: {plan.no_layout.message}", indent="")]
    hint = plan.no_layout.hint
    return [*lines, wrapped(f"hint: {hint}", indent="")] if hint else lines


def _segment_parts(plan: SegmentPlan, facts: MachineFacts | None, style: Style) -> list[str]:
    """Segments, picture, entry points, command line."""
    return [
        f"Plan: {plan.target.value} load by kexec_load, {plan.arch}",
        "",
        *_segment_lines(plan, facts, style),
        f"Way:      {_way(plan)}",
        *_checked_lines(plan),
        f"Flags:    {plan.flags:#x}",
        *_cmdline_parts(plan.cmdline),
    ]


def _checked_lines(plan: SegmentPlan) -> list[str]:
    checked = table_in(plan)
    if checked is None:
        return ["Checked:  nothing, before the kernel is entered"]
    pieces = f"{counted(len(checked.digests), 'piece')} of {format_size(checked.piece_size)}"
    takes = "how long it takes is not known here"
    if plan.check_seconds is not None:
        takes = f"{seconds_text(plan.check_seconds)}, by the kind of processor"
    return [
        f"Checked:  {format_size(checked.size)} in {pieces}, before the kernel is entered:",
        f"          {takes}",
    ]


def _way(plan: SegmentPlan) -> str:
    from pykexec.values.roles import Role

    if plan.segment(Role.PURGATORY) is None:
        return f"{plan.entry:#x} kernel, without a purgatory"
    return f"{plan.entry:#x} purgatory, then {plan.kernel_entry:#x} kernel"


def _segment_lines(plan: SegmentPlan, facts: MachineFacts | None, style: Style) -> list[str]:
    """List the segments and draw them, with an empty line behind each."""
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
    header = ("segment", "first byte", "last byte", "memory", "data", "digest")
    return [
        f"Segments: {len(segments)}, {format_size(total)} of physical memory",
        table(header, segments, frozenset({1, 2, 3, 4})),
        "",
        *(_picture_lines(plan, facts, style) if facts is not None else ()),
    ]


def _picture_lines(plan: SegmentPlan, facts: MachineFacts, style: Style) -> list[str]:
    from pykexec.render.picture import picture_of
    from pykexec.render.picture_text import picture_text

    return [picture_text(picture_of(facts, plan.segments), style), ""]


def _memory_map_lines(plan: SegmentPlan) -> list[str]:
    if not plan.memory_map:
        return ["The new kernel is told no memory map."]
    memory = [
        (
            f"{item.range.start:#x}",
            f"{item.range.last:#x}",
            format_size(item.range.size),
            item.name,
        )
        for item in plan.memory_map
    ]
    return [
        "Memory map that the new kernel is told:",
        table(("first byte", "last byte", "size", "kind"), memory, frozenset({0, 1, 2})),
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
