"""Builds riscv64 Images, machines and plans for tests, without any file."""

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
from tests.builders.device_trees import Spec, board, build_blob, wide
from tests.builders.machines import iomem_of
from tests.builders.tree_requests import request_for

DRAM = 0x80000000
RAM = (Range(DRAM, DRAM + 2 * GIB),)
LARGE_RAM = (Range(DRAM, DRAM + 8 * GIB),)
OPENSBI = Range.sized(DRAM, 512 * KIB)
IMAGE_SIZE = 3 * MIB + 64 * KIB
ROUNDED_SIZE = 4 * MIB
CRASH_FACTS = CrashFacts(
    crash_notes=((0, Range.sized(0xFF000000, 0x180)), (1, Range.sized(0xFF001000, 0x180))),
    vmcoreinfo=Range.sized(0xFE000000, 0x1000),
    kernel_text=Range(0x80202000, 0x82400000),
    kernel_text_vaddr=0xFFFFFFFF80002000,
    page_offset_vaddr=0xFF60000000000000 - DRAM,
)


def build_image(
    payload: bytes = b"",
    *,
    text_offset: int = 2 * MIB,
    image_size: int = IMAGE_SIZE,
    flags: int = 0,
    version: int = 2,
    old_magic: bytes = b"RISCV\0\0\0",
    magic: bytes = b"RSC\x05",
    release: str = "6.12.0-rv",
) -> bytes:
    """Build an Image: Documentation/arch/riscv/boot-image-header.rst."""
    header = struct.pack(
        "<IIQQQIIQ8s4sI",
        *(0x0000A0E9, 0, text_offset, image_size, flags, version, 0, 0, old_magic, magic, 0),
    )
    banner = f"Linux version {release} (builder@host)".encode() if release else b""
    return header + (payload or bytes(range(256)) * 1024) + banner


def opensbi(*, no_map: bool = True) -> Spec:
    """Make /reserved-memory as OpenSBI writes it; versions between 1.0 and 1.2 omit no-map."""
    flag = {"no-map": b""} if no_map else {}
    nodes = (
        Spec("mmode_resv1@80000000", {"reg": wide(DRAM, 256 * KIB), **flag}),
        Spec("mmode_resv0@80040000", {"reg": wide(DRAM + 256 * KIB, 256 * KIB), **flag}),
    )
    cells = {"#address-cells": [2], "#size-cells": [2], "ranges": b""}
    return Spec("reserved-memory", cells, nodes)


def build_tree(
    ram: Sequence[Range] = RAM, chosen: dict[str, Any] | None = None, *, no_map: bool = True
) -> bytes:
    """Build the device tree of a machine with ``ram`` under OpenSBI."""
    memory = [(item.start, item.size) for item in ram]
    return build_blob(board(chosen or {}, opensbi(no_map=no_map), memory=memory))


def build_facts(
    ram: Sequence[Range] = RAM, children: Sequence[IomemEntry] = (), **more: Any
) -> MachineFacts:
    """Make facts of a machine with ``ram`` and a device tree; of OpenSBI the tree alone tells."""
    given = {
        "page_size": 4096,
        "iomem": iomem_of(ram, children=children),
        "device_tree": build_tree(ram),
        "device_tree_source": "/sys/firmware/fdt",
        "crash": CRASH_FACTS,
    }
    return MachineFacts(arch="riscv64", **{**given, **more})


IMAGE = build_image()


def build_request(**more: Any) -> LoadRequest:
    """Make a request for :data:`IMAGE` with an initrd, everything else as given."""
    return request_for(IMAGE, more)


def build_plan(facts: MachineFacts | None = None, **more: Any) -> SegmentPlan:
    """Make a plan of :func:`build_request`."""
    return plan(facts or build_facts(), build_request(**more))
