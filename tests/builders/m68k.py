"""Builds m68k kernels, machines and plans for tests, without any file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from pykexec.formats.bootinfo import Record, Tag, build_bootinfo
from pykexec.planning.planner import plan
from pykexec.planning.plans import LoadRequest, SegmentPlan
from pykexec.values.facts import MachineFacts
from pykexec.values.ranges import Range
from pykexec.values.units import KIB, MIB
from tests.builders.elf import ElfSpec, Load, build_elf
from tests.builders.machines import iomem_of
from tests.builders.tree_requests import request_for

LINKED = 0x1000
ENTRY = 0x2000
IMAGE_SIZE = 3 * MIB
RAM = (Range(0x0100_0000, 0x0900_0000), Range(0x2000_0000, 0x2400_0000))
"""Of an Amiga with two boards: neither begins at 0."""
AMIGA, VIRT = 1, 14
MODEL = Record(0x8000, struct.pack(">I", 7))


def build_kernel(
    *,
    memsz: int = IMAGE_SIZE,
    paddr: int = LINKED,
    magic: int = 0x4249561A,
    release: str = "6.12.0-m68k",
    entry: int = ENTRY,
) -> bytes:
    """Build a vmlinux: Linux arch/m68k/kernel/head.S, vmlinux-std.lds."""
    head = b"\x60\x4a" + struct.pack(">IIII", magic, AMIGA, 0x20000, 0)
    banner = f"Linux version {release} (builder@host)".encode() if release else b""
    text = head.ljust(ENTRY - LINKED, b"\0") + bytes(range(256)) * 256 + banner
    load = Load(paddr, text, max(memsz, len(text)))
    return build_elf(ElfSpec(loads=(load,), entry=entry, bits=32, machine=4, big_endian=True))


def build_image(*, image_size: int) -> bytes:
    """Build a kernel that needs so many bytes of memory."""
    return build_kernel(memsz=image_size)


KERNEL = build_kernel()


def number(tag: int, value: int) -> Record:
    """Return a record with one number."""
    return Record(tag, struct.pack(">I", value))


def chunk(place: Range) -> Record:
    """Return the record of a chunk of memory."""
    return Record(Tag.MEMCHUNK, struct.pack(">II", place.start, place.size))


def build_records(
    ram: Sequence[Range] = RAM, *more: Record, machine: int = AMIGA
) -> tuple[Record, ...]:
    """Return what a boot loader tells of a 68040 with ``ram``."""
    types = (number(Tag.CPUTYPE, 4), number(Tag.FPUTYPE, 4), number(Tag.MMUTYPE, 4))
    line = Record(Tag.COMMAND_LINE, b"root=/dev/sda1 ro\0")
    disk = Record(Tag.RAMDISK, struct.pack(">II", ram[0].end - 2 * MIB, 700 * KIB))
    return (number(Tag.MACHTYPE, machine), *types, *map(chunk, ram), MODEL, disk, line, *more)


def build_facts(ram: Sequence[Range] = RAM, **more: Any) -> MachineFacts:
    """Make facts of a machine with ``ram``."""
    given = {"iomem": iomem_of(ram), "bootinfo": build_bootinfo(build_records(ram))}
    return MachineFacts(arch="m68k", page_size=4 * KIB, **{**given, **more})


def build_request(**more: Any) -> LoadRequest:
    """Make a request for :data:`KERNEL` with an initrd, everything else as given."""
    return request_for(KERNEL, more)


def build_plan(facts: MachineFacts | None = None, **more: Any) -> SegmentPlan:
    """Make a plan of :func:`build_request`."""
    return plan(facts or build_facts(), build_request(**more))
