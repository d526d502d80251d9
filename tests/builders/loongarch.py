"""Builds loongarch64 kernels, machines and plans for tests, without any file."""

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
from tests.builders.machines import iomem_of
from tests.builders.pe_files import build_pe
from tests.builders.tree_requests import request_for

MACHINE = 0x6264
LOAD_OFFSET = 2 * MIB
ENTRY = 0x11000
IMAGE_SIZE = 3 * MIB
RAM = (Range(2 * MIB, 254 * MIB), Range(2 * GIB, 4 * GIB))
PAGE = 16 * KIB
CRASH_REGION = IomemEntry(Range(3 * GIB, 3 * GIB + 512 * MIB), "Crash kernel")
CRASH_FACTS = CrashFacts(
    crash_notes=((0, Range.sized(0x9E000000, 0x180)), (1, Range.sized(0x9E001000, 0x180))),
    vmcoreinfo=Range.sized(0x9D000000, 0x1000),
    page_offset_vaddr=0x9000000000000000,
)


def build_image(
    *,
    kernel_entry: int = LOAD_OFFSET + ENTRY,
    image_size: int = IMAGE_SIZE,
    load_offset: int = LOAD_OFFSET,
    machine: int = MACHINE,
    release: str = "7.2.0-loong",
) -> bytes:
    """Build a vmlinux.efi: Linux arch/loongarch/kernel/head.S."""
    start = b"MZ".ljust(8, b"\0") + struct.pack("<QQQ", kernel_entry, image_size, load_offset)
    start = start.ljust(0x38, b"\0") + b"\xcd\x23\x82\x81"
    banner = f"Linux version {release} (builder@host)".encode() if release else b""
    text = bytes(range(256)) * 1024 + banner
    return build_pe(machine, [(".text", text)], start)


KERNEL = build_image()


def build_facts(
    ram: Sequence[Range] = RAM, children: Sequence[IomemEntry] = (), **more: Any
) -> MachineFacts:
    """Make facts of a machine with ``ram``, in two blocks as they all have it."""
    given = {
        "page_size": PAGE,
        "iomem": iomem_of(ram, children=children),
        "crash": CRASH_FACTS,
    }
    return MachineFacts(arch="loongarch64", **{**given, **more})


def build_request(**more: Any) -> LoadRequest:
    """Make a request for :data:`KERNEL` with an initrd, everything else as given."""
    return request_for(KERNEL, more)


def build_plan(facts: MachineFacts | None = None, **more: Any) -> SegmentPlan:
    """Make a plan of :func:`build_request`."""
    return plan(facts or build_facts(), build_request(**more))
