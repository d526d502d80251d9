"""A plan out of what ``pykexec plan --dump`` wrote: ``plan.json`` and the segments' data. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from pykexec.planning.plans import KEXEC_SEGMENT_MAX, BootProtocol, Segment, SegmentPlan
from pykexec.values.calls import Target
from pykexec.values.errors import ImageError, UsageError
from pykexec.values.json_fields import Fields, parse_json
from pykexec.values.memory import MemoryKind, MemoryMap, MemoryRegion
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import counted
from pykexec.values.wishes import Placement

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.planning.plans import BootProtocol
    from pykexec.values.buffers import Buffer

_SCHEMA = "pykexec.plan/1"
_WHERE = "plan.json"
_HINT = "'pykexec plan --dump DIR' writes plans"
_ZEROS_MAX = 1 << 30
"""Bytes of a segment behind its data: a kernel's init_size is some 100 MiB."""


def parse_dump(text: bytes | str, read_data: Callable[[int], Buffer]) -> SegmentPlan:
    """Return the plan that ``text``, a ``plan.json``, describes; for kexec_file_load the layout.

    ``read_data`` returns a segment's data by its index. What each place was asked for is not in a
    dump, nor are the command line's bytes that are no UTF-8. Raises :class:`ImageError` for what
    is no such file and for data that is not what it describes, :class:`UsageError` for a plan
    without segments, and without any beneath.
    """
    value = parse_json(text, _WHERE, ImageError, _HINT)
    plan = Fields(value, _WHERE, error=ImageError, hint=_HINT)
    plan.require_schema(_SCHEMA)
    if not plan.fields_of_each("segments") and plan.is_given("layout"):
        # What lies beneath a plan for kexec_file_load, which has no segments of its own.
        plan = plan.fields("layout")
    items = plan.fields_of_each("segments")
    if not items:
        raise UsageError(
            "the plan has no segments: the running kernel would make them at the load",
            hint="plan with --call segments",
        )
    if len(items) > KEXEC_SEGMENT_MAX:
        raise ImageError(
            f"{_WHERE}: {counted(len(items), 'segment')}, the kernel takes {KEXEC_SEGMENT_MAX}",
            hint=_HINT,
        )
    page_size = plan.natural("page_size", least=1)
    if page_size & (page_size - 1):
        raise plan.refuse("page_size", "a power of two")
    return SegmentPlan(
        arch=plan.text("arch"),
        page_size=page_size,
        target=plan.choice("target", Target),
        entry=plan.hexadecimal("entry"),
        kernel_entry=plan.hexadecimal("kernel_entry"),
        flags=plan.hexadecimal("flags"),
        segments=tuple(_segment(item, read_data(index)) for index, item in enumerate(items)),
        cmdline=plan.text("cmdline").encode("utf-8", "surrogateescape"),
        memory_map=MemoryMap(tuple(_region(item) for item in plan.fields_of_each("memory_map"))),
        notes=plan.texts("notes"),
        protocol=plan.choice("protocol", BootProtocol),
        kernel_start=plan.hexadecimal("kernel_start", None),
    )


def _segment(value: Fields, data: Buffer) -> Segment:
    role = value.choice("role", Role)
    size, digest = value.natural("bufsz"), value.text("sha256")
    if len(data) != size or sha256(data).hexdigest() != digest:
        raise ImageError(
            f"the data of {role} is not what plan.json describes: {counted(len(data), 'byte')}, "
            f"{size} are needed, of SHA-256 {digest}",
            hint="dump the plan again",
        )
    memsz = value.natural("memsz", least=size, most=size + _ZEROS_MAX)
    dest = Range.fitting(value.hexadecimal("mem"), memsz)
    if dest is None:
        raise value.refuse("mem", f"an address with {counted(memsz, 'byte')} behind it in 64 bits")
    return Segment(role, dest, data, value.flag("checked"), Placement(dest.size), RangeSet())


def _region(value: Fields) -> MemoryRegion:
    start, end = value.hexadecimal("start"), value.text("end")
    # The last byte of a map may be that of all addresses: its end is then 2^64.
    stop = 1 << 64 if end == f"{1 << 64:#x}" else value.hexadecimal("end")
    if stop < start:
        raise value.refuse("end", "an address that is not below the start")
    return MemoryRegion(Range(start, stop), value.choice("kind", MemoryKind), value.text("name"))
