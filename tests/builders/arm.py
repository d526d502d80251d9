"""Builds zImages, machines and plans of 32-bit ARM for tests, without any file."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from pykexec.planning.planner import plan
from pykexec.planning.plans import LoadRequest, SegmentPlan
from pykexec.values.facts import CrashFacts, MachineFacts
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.units import GIB, MIB
from tests.builders.device_trees import Spec, board, build_blob
from tests.builders.machines import iomem_of
from tests.builders.tree_requests import request_for

DRAM = 0x40000000
RAM = (Range(DRAM, DRAM + GIB),)
LOWMEM_END = DRAM + 768 * MIB
TEXT_OFFSET = 0x208000
BSS = 0x5F120
MALLOC = 0x10000
INFLATED = 24 * MIB + 0x1235
CRASH_FACTS = CrashFacts(
    crash_notes=((0, Range.sized(0x6F000000, 0x180)), (1, Range.sized(0x6F001000, 0x180))),
    vmcoreinfo=Range.sized(0x6E000000, 0x1000),
    page_offset_vaddr=0xC0000000 - DRAM,
    direct_map_end=LOWMEM_END,
)


@cache
def _packed(kernel: bytes, size: int) -> bytes:
    """Pack a kernel of ``size`` bytes; the last word is the size, as the kernel's build uses it.

    Not by a library, since each version of one may pack in another way: one block of RFC 1951's
    fixed codes, the kernel as it is and zeros as copies of 258 bytes from one byte before.
    """
    copies, rest = divmod(size - len(kernel) - 1, 258)
    codes = [_literal(byte) for byte in kernel + b"\0"]
    codes += ["11000101" + "00000"] * copies + [_literal(0)] * rest
    stream = "1" + "10" + "".join(codes) + "0000000"
    deflated = int(stream[::-1], 2).to_bytes((len(stream) + 7) // 8, "little")
    check = zlib.crc32(kernel.ljust(size, b"\0"))
    return b"\x1f\x8b\x08".ljust(10, b"\0") + deflated + struct.pack("<II", check, size)


def _literal(byte: int) -> str:
    return f"{0x30 + byte:08b}" if byte < 144 else f"{0x190 + byte - 144:09b}"


def build_zimage(
    *,
    kernel: bytes = b"Linux version 6.12.0-arm (builder@host)",
    words: Sequence[int] | None = (BSS, TEXT_OFFSET, MALLOC),
    inflated: int = INFLATED,
    start: int = 0,
    order: int = 0x04030201,
    other_tags: bytes = b"",
    behind: bytes = b"",
    size: int = 5 * MIB,
) -> bytes:
    """Build a zImage, by Linux arch/arm/boot/compressed/head.S and vmlinux.lds.S.

    ``words`` are those of the tag that follow the place of the kernel's size; None: no table.
    ``behind`` is what follows the end that the header tells.
    """
    table = b""
    if words is not None:
        tag = struct.pack(f"<{3 + len(words)}I", 3 + len(words), 0x5A534C4B, size - 8, *words)
        table = other_tags + tag + bytes(4)
    head = struct.pack("<9I", *[0xE1A00000] * 8, 0xEA000005)
    head += struct.pack("<IIII", 0x016F2818, start, start + size, order)
    head += struct.pack("<II", 0x45454545 if words is not None else 0, 0x40)
    body = head.ljust(0x40, b"\0") + table
    packed = _packed(kernel, inflated)[:-4]
    filler = bytes(range(256)) * (size // 256 + 1)
    body += filler[: size - 8 - len(packed) - len(body)] + packed
    return body + struct.pack("<II", inflated, 0) + behind


def build_image(*, image_size: int) -> bytes:
    """Build a zImage of a kernel that has ``image_size`` bytes in memory."""
    return build_zimage(inflated=image_size - BSS)


def build_tree(
    ram: Sequence[Range] = RAM, chosen: dict[str, Any] | None = None, *nodes: Spec, **more: Any
) -> bytes:
    """Build the device tree of a machine with ``ram``."""
    memory = [(item.start, item.size) for item in ram]
    return build_blob(board(chosen or {}, *nodes, memory=memory), **more)


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
        "caller_bits": 32,
        "hashing": "uncached",
    }
    return MachineFacts(arch="arm", **{**given, **more})


IMAGE = build_zimage()


def build_request(**more: Any) -> LoadRequest:
    """Make a request for :data:`IMAGE` with an initrd, everything else as given."""
    return request_for(IMAGE, more)


def build_plan(facts: MachineFacts | None = None, **more: Any) -> SegmentPlan:
    """Make a plan of :func:`build_request`."""
    return plan(facts or build_facts(), build_request(**more))
