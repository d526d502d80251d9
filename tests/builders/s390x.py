"""Builds s390x kernels and machines for tests, without any file."""

from __future__ import annotations

import struct
from typing import Any

from pykexec.planning.planner import plan
from pykexec.planning.plans import LoadRequest, SegmentPlan
from pykexec.values.facts import MachineFacts
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.units import GIB, MIB
from tests.builders.elf import ElfSpec, Load, build_elf

RAM = Range(0, 4 * GIB)
REGION = Range(768 * MIB, 896 * MIB)
RELEASE_AT = 0x12000
EM_S390 = 22


def build_image(
    *, cmdline_size: int = 4096, release: str = "6.12.0-z", image_size: int = 3 * MIB
) -> bytes:
    """Build a flat image: Linux arch/s390/boot/head.S."""
    image = bytearray(range(256)) * (image_size // 256)
    image[0x10008:0x10010] = b"S390EP\0\1"
    named = RELEASE_AT if release else 0
    image[0x10400:0x10480] = struct.pack(">7Q", 0, 0, 0, 0, 0, named, cmdline_size).ljust(
        128, b"\0"
    )
    image[RELEASE_AT : RELEASE_AT + 64] = f"{release} (builder@host) #1".encode().ljust(64, b"\0")
    return bytes(image)


IMAGE = build_image()


def build_elf_image() -> bytes:
    """Build the bootable ELF file that is the same."""
    load = Load(0, IMAGE, len(IMAGE) + MIB, 0, 0x1000)
    return build_elf(ElfSpec(loads=(load,), entry=0x10000, machine=EM_S390, big_endian=True))


def build_facts(*, crash: bool = False) -> MachineFacts:
    """Return a machine; its crash region is an entry of its own, as Linux shows it."""
    system = "System RAM"
    iomem: tuple[IomemEntry, ...] = (IomemEntry(RAM, system),)
    if crash:
        iomem = (
            IomemEntry(Range(0, REGION.start), system),
            IomemEntry(REGION, "Crash kernel"),
            IomemEntry(Range(REGION.end, RAM.end), system),
        )
    return MachineFacts(arch="s390x", page_size=4096, iomem=iomem)


def build_request(**asked: Any) -> LoadRequest:
    """Ask for a load of IMAGE."""
    return LoadRequest(**({"kernel": IMAGE, "cmdline": b"root=/dev/x"} | asked))


def build_plan(facts: MachineFacts, **asked: Any) -> SegmentPlan:
    """Plan a load of IMAGE."""
    return plan(facts, build_request(**asked))
