"""Builds arm64 Images, machines and plans for tests, without any file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from pykexec.planning.planner import plan
from pykexec.planning.plans import LoadRequest, SegmentPlan
from pykexec.values.facts import CrashFacts, MachineFacts
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.units import GIB, KIB, MIB
from tests.builders.device_trees import board, build_blob
from tests.builders.machines import iomem_of
from tests.builders.tree_requests import request_for

RAM = (Range(GIB, 4 * GIB),)
IMAGE_SIZE = 3 * MIB + 64 * KIB
CRASH_FACTS = CrashFacts(
    crash_notes=((0, Range.sized(0x7F000000, 0x170)), (1, Range.sized(0x7F001000, 0x170))),
    vmcoreinfo=Range.sized(0x7E000000, 0x1000),
    kernel_text=Range(0x40200000, 0x42680000),
    kernel_text_vaddr=0xFFFFA6D1C0600000,
    page_offset_vaddr=0xFFFF000000000000 - 0x40000000,
)


def build_image(
    payload: bytes = b"",
    *,
    text_offset: int = 0,
    image_size: int = IMAGE_SIZE,
    flags: int = 0b1010,
) -> bytes:
    """Build an Image: booting.rst, "4. Call the kernel image". The flags: 4 KiB, anywhere."""
    header = struct.pack(
        "<IIQQQ3Q4sI", 0x14000010, 0, text_offset, image_size, flags, 0, 0, 0, b"ARM\x64", 0
    )
    return header + (payload or bytes(range(256)) * 1024)


def build_tree(ram: Sequence[Range] = RAM, chosen: dict[str, Any] | None = None) -> bytes:
    """Build the device tree of a machine with ``ram``."""
    return build_blob(board(chosen or {}, memory=[(item.start, item.size) for item in ram]))


def build_facts(
    ram: Sequence[Range] = RAM, children: Sequence[IomemEntry] = (), **more: Any
) -> MachineFacts:
    """Make facts of a machine with ``ram`` and a device tree."""
    given = {
        "page_size": 4096,
        "iomem": iomem_of(ram, children=children),
        "device_tree": build_tree(ram),
        "device_tree_source": "/sys/firmware/fdt",
        "crash": CRASH_FACTS,
    }
    return MachineFacts(arch="aarch64", **{**given, **more})


IMAGE = build_image()


def build_request(**more: Any) -> LoadRequest:
    """Make a request for :data:`IMAGE` with an initrd, everything else as given."""
    return request_for(IMAGE, more)


def build_plan(facts: MachineFacts | None = None, **more: Any) -> SegmentPlan:
    """Make a plan of :func:`build_request`."""
    return plan(facts or build_facts(), build_request(**more))


def server_iomem() -> tuple[IomemEntry, ...]:
    """Make /proc/iomem of a server with EFI, ACPI and a GICv3, RAM in many pieces.

    Blocks of 64 KiB in a row hold the interrupt tables (LPI configuration and pending) of its
    redistributors; they are marked inside RAM, at two depths, and must stay as they are.
    """
    pieces = [Range(0x90000000, 0x92000000), Range(0x927C0000, 0xF8970000)]
    pieces += [Range.sized(0xF8A00000 + at * 0x100000, 0xA0000) for at in range(16)]
    far = [Range(0x80000000000, 0x80080000000), Range(0x80100000000, 0x807C0000000)]
    lpi = [Range.sized(0x80000840000 + at * 0x10000, 0x10000) for at in range(33)]
    lpi += [Range.sized(0x80700000000 + at * 0x20000, 0x10000) for at in range(33)]
    children = [
        IomemEntry(Range(0xD54F0000, 0xD6AE0000), "Kernel code"),
        IomemEntry(Range(0xD6AE0000, 0xD6DB0000), "reserved"),
        IomemEntry(Range(0xD6DB0000, 0xD7180000), "Kernel data"),
        IomemEntry(
            Range(0x807A0000000, 0x807B0000000),
            "reserved",
            (IomemEntry(Range(0x807A8000000, 0x807A8001000), "ACPI reclaim region"),),
        ),
        *(IomemEntry(item, "reserved") for item in lpi),
    ]
    others = [IomemEntry(Range(0x88300000, 0x88400000), "reserved")]
    return iomem_of([*pieces, *far], children, others)
