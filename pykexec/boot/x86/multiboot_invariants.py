"""What must hold for a plan of a multiboot kernel, as that kernel will read it. Pure."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pykexec.boot.x86.multiboot_info import MAGIC_1, MAGIC_2, TAG_CMDLINE, TAG_END, TAG_MODULE
from pykexec.planning.plans import BootProtocol
from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.parameters import read_parameters
from pykexec.purgatory_objects.x86 import Entry32Registers
from pykexec.values.errors import Violation
from pykexec.values.ranges import Range
from pykexec.values.roles import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.planning.plans import SegmentPlan

_TAG_SIZES = {TAG_MODULE: 16}
"""Bytes that a tag has at least, where that is more than its own head."""


def verify_multiboot(plan: SegmentPlan) -> Iterator[Violation]:
    """Judge the registers, and the information that ebx leads to."""
    purgatory = plan.segment(Role.PURGATORY)
    if purgatory is None:
        yield Violation("multiboot-registers", "the plan has no purgatory to load them")
        return
    registers = read_parameters(load(plan.arch), bytes(purgatory.data)).registers
    first = plan.protocol is BootProtocol.MULTIBOOT
    magic = MAGIC_1 if first else MAGIC_2
    if not isinstance(registers, Entry32Registers) or registers.eax != magic:
        yield Violation("multiboot-registers", f"eax is not {magic:#x} in protected mode")
        return
    for segment in plan.segments:
        if segment.dest.last >> 32:
            yield Violation("multiboot-reach", f"{segment.role} {segment.dest} is above 4 GiB")
    read = _read_1 if first else _read_2
    found = read(plan, registers.ebx)
    if found is None:
        yield Violation(
            "multiboot-info", f"what ebx ({registers.ebx:#x}) leads to is in no segment"
        )
        return
    cmdline, modules = found
    if cmdline != plan.cmdline:
        yield Violation("multiboot-info", f"the command line told is {cmdline!r}")
    held = plan.segment(Role.MODULES)
    for module in modules:
        if held is None or not held.dest.contains(module):
            yield Violation("multiboot-info", f"module {module} lies outside of the modules")


def _read_1(plan: SegmentPlan, base: int) -> tuple[bytes, list[Range]] | None:
    """Return the command line and the modules' places, None when the way leads nowhere."""
    info = plan.bytes_at(Range.sized(base, 116))
    if info is None:
        return None
    cmdline_addr, count, table_addr = struct.unpack_from("<3I", info, 16)
    cmdline = _string(plan, cmdline_addr)
    table = plan.bytes_at(Range.sized(table_addr, 16 * count)) if count else b""
    if cmdline is None or table is None:
        return None
    entries = list(struct.iter_unpack("<4I", table))
    if any(start > end or _string(plan, text) is None for start, end, text, _ in entries):
        return None
    return cmdline, [Range(start, end) for start, end, _, _ in entries]


def _read_2(plan: SegmentPlan, base: int) -> tuple[bytes, list[Range]] | None:
    head = plan.bytes_at(Range.sized(base, 8))
    size = int.from_bytes(head[:4], "little") if head is not None else 0
    info = plan.bytes_at(Range.sized(base, size)) if size >= 16 and not base % 8 else None
    if info is None:
        return None
    cmdline, at = b"", 8
    modules: list[Range] = []
    while at + 8 <= size:
        kind, length = struct.unpack_from("<II", info, at)
        body = info[at + 8 : at + length]
        if kind == TAG_END:
            return cmdline, modules
        if length < _TAG_SIZES.get(kind, 8) or at + length > size:
            return None
        if kind == TAG_CMDLINE:
            cmdline = body.partition(b"\0")[0]
        elif kind == TAG_MODULE:
            start, end = struct.unpack_from("<II", body)
            modules.append(Range(start, max(start, end)))
        at += (length + 7) & -8
    return None


def _string(plan: SegmentPlan, address: int) -> bytes | None:
    segment = plan.segment_at(address)
    if segment is None:
        return None
    offset = address - segment.dest.start
    text, end, _ = bytes(segment.data[offset:]).partition(b"\0")
    return text if end else None
