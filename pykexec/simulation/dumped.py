"""A plan out of what ``pykexec plan --dump`` wrote: ``plan.json`` and the segments' data. Pure."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pykexec.errors import ImageError, UsageError
from pykexec.memory import MemoryKind, MemoryMap, MemoryRegion
from pykexec.placement import Placement
from pykexec.plans import BootProtocol, Role, Segment, SegmentPlan, Target
from pykexec.ranges import Range, RangeSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.plans import BootProtocol, Buffer

_SCHEMA = "pykexec.plan/1"


def parse_dump(text: str, read_data: Callable[[int], Buffer]) -> SegmentPlan:
    """Return the plan that ``text``, a ``plan.json``, describes; for kexec_file_load the layout.

    ``read_data`` returns a segment's data by its index. What each place was asked for is not in a
    dump, nor are the command line's bytes that are no UTF-8. Raises :class:`ImageError` for what
    is no such file and for data that is not what it describes, :class:`UsageError` for a plan
    without segments, and without any beneath.
    """
    try:
        value = json.loads(text)
        if value["schema"] != _SCHEMA:
            raise ImageError(f"plan.json: schema {value['schema']!r}, {_SCHEMA!r} is needed")
        if not value["segments"]:
            value = _layout(value)
        segments = tuple(
            _segment(item, read_data(index)) for index, item in enumerate(value["segments"])
        )
        return SegmentPlan(
            arch=value["arch"],
            page_size=_page_size(value["page_size"]),
            target=Target(value["target"]),
            entry=int(value["entry"], 16),
            kernel_entry=int(value["kernel_entry"], 16),
            flags=int(value["flags"], 16),
            segments=segments,
            cmdline=value["cmdline"].encode(),
            memory_map=MemoryMap(tuple(_region(item) for item in value["memory_map"])),
            notes=tuple(value["notes"]),
            protocol=BootProtocol(value["protocol"]),
            kernel_start=int(value["kernel_start"], 16) if value["kernel_start"] else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImageError(f"plan.json: {type(error).__name__}: {error}") from error


def _layout(value: dict[str, Any]) -> dict[str, Any]:
    """Return what lies beneath a plan for kexec_file_load, which has no segments of its own."""
    layout: dict[str, Any] | None = value.get("layout")
    if not layout or not layout["segments"]:
        raise UsageError(
            "the plan has no segments: the running kernel would make them at the load",
            hint="plan with --call segments",
        )
    return layout


def _segment(value: dict[str, Any], data: Buffer) -> Segment:
    role = Role(value["role"])
    if len(data) != value["bufsz"] or sha256(data).hexdigest() != value["sha256"]:
        raise ImageError(
            f"the data of {role} is not what plan.json describes: {len(data)} bytes, "
            f"{value['bufsz']} are needed, of SHA-256 {value['sha256']}",
            hint="dump the plan again",
        )
    dest = Range.sized(int(value["mem"], 16), value["memsz"])
    return Segment(role, dest, data, bool(value["checked"]), Placement(dest.size), RangeSet())


def _page_size(value: int) -> int:
    if value < 1 or value & (value - 1):
        raise ValueError(f"page_size is {value}, a power of two is needed")
    return value


def _region(value: dict[str, Any]) -> MemoryRegion:
    place = Range(int(value["start"], 16), int(value["end"], 16))
    return MemoryRegion(place, MemoryKind(value["kind"]), value["name"])
