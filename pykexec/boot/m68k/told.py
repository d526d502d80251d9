"""What an m68k kernel is told by its boot information. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.formats.bootinfo import Tag, parse_bootinfo
from pykexec.planning.told import Told, range_text
from pykexec.values.errors import ImageError
from pykexec.values.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.planning.plans import SegmentPlan
    from pykexec.values.facts import MachineFacts


def told(plan: SegmentPlan, facts: MachineFacts) -> Iterator[Told]:
    """Yield where the initrd is; all else of the machine is told as this boot was."""
    segment = plan.segment(Role.BOOTINFO)
    before = _initrd(facts.bootinfo or b"")
    after = _initrd(bytes(segment.data) if segment is not None else b"")
    if before != after:
        yield Told("initrd", before, after)


def _initrd(bootinfo: bytes) -> str | None:
    try:
        records = parse_bootinfo(bootinfo)
    except ImageError:
        return None
    return range_text(next((item.place for item in records if item.tag == Tag.RAMDISK), None))
