"""Builds ppc64le kernels, machines and plans for tests, without any file."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pykexec.planning.planner import plan
from pykexec.planning.plans import LoadRequest, SegmentPlan
from pykexec.values.facts import CrashFacts, MachineFacts
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from pykexec.values.units import GIB, KIB, MIB
from tests.builders.device_trees import Spec, build_blob, wide
from tests.builders.elf import ElfSpec, Load, build_elf
from tests.builders.machines import iomem_of
from tests.builders.tree_requests import request_for

LINEAR = 0xC000000000000000
RAM = (Range(0, 2 * GIB),)
KERNEL_END = 0x2A0_0000
RTAS = Range.sized(0x2FFF_0000, 64 * KIB)
MEMSZ = 0x5_8000
CRASH_REGION = IomemEntry(Range(512 * MIB, 768 * MIB), "Crash kernel")
CRASH_FACTS = CrashFacts(
    crash_notes=((0, Range.sized(0x7E000000, 0x180)), (1, Range.sized(0x7E001000, 0x180))),
    vmcoreinfo=Range.sized(0x7D000000, 0x1000),
    page_offset_vaddr=LINEAR,
)


def build_kernel(
    *,
    begin: bytes | None = None,
    word: bytes | None = None,
    memsz: int = MEMSZ,
    release: str = "6.12.0-power",
    machine: int = 21,
    kind: int = 2,
    entry: int = LINEAR,
    paddr: int = 0,
    big_endian: bool = False,
) -> bytes:
    """Build a vmlinux: Linux arch/powerpc/kernel/head_64.S."""
    begin = begin or bytes.fromhex("08000048" if big_endian else "48000008")
    word = word or (b"run0" if big_endian else b"0nur")
    head = begin + bytes(range(4, 0x5C)) + word + bytes(range(0x60, 0x100))
    banner = f"Linux version {release} (builder@host)".encode() if release else b""
    text = head + bytes(range(256)) * 512 + banner
    load = Load(paddr, text, max(memsz, len(text)), LINEAR + paddr, 0x10000)
    return build_elf(
        ElfSpec(
            loads=(load,),
            entry=entry + paddr,
            machine=machine,
            type=kind,
            big_endian=big_endian,
        )
    )


def build_image(*, image_size: int) -> bytes:
    """Build a kernel that needs so many bytes of memory."""
    return build_kernel(memsz=image_size)


def lmb_list(*lmbs: tuple[int, int]) -> bytes:
    """Return ``ibm,dynamic-memory`` for (address, flags) of each block."""
    entries = (struct.pack(">QIIII", base, 0x80000000, 0, 0, flags) for base, flags in lmbs)
    return struct.pack(">I", len(lmbs)) + b"".join(entries)


def lmb_sets(*sets: tuple[int, int, int]) -> bytes:
    """Return ``ibm,dynamic-memory-v2`` for (number, address, flags) of each set."""
    entries = (struct.pack(">IQIII", n, base, 0x80000000, 0, flags) for n, base, flags in sets)
    return struct.pack(">I", len(sets)) + b"".join(entries)


def build_tree(
    ram: Sequence[Range] = RAM,
    chosen: Mapping[str, Any] | None = None,
    *children: Spec,
    rtas: Mapping[str, Any] | None = None,
    root: Mapping[str, Any] | None = None,
    reservations: Sequence[tuple[int, int]] = (),
    cpu_version: int = 0x4E1202,
    bare: bool = False,
    processors: Spec | None = None,
) -> bytes:
    """Build the live tree of a guest (pseries) with ``ram``, of which each range is a node."""
    memory = (
        Spec(
            f"memory@{item.start:x}",
            {"device_type": "memory", "reg": wide(item.start, item.size)},
        )
        for item in ram
    )
    cpu: dict[str, Any] = {"device_type": "cpu", "reg": [0], "cpu-version": [cpu_version]}
    firmware = Spec(
        "rtas", {"linux,rtas-base": [RTAS.start], "rtas-size": [RTAS.size], **(rtas or {})}
    )
    own: dict[str, Any] = {
        "bootargs": "console=hvc0",
        "linux,kernel-end": wide(KERNEL_END),
        "linux,stdout-path": "/vdevice/vty@71000000",
        "ibm,architecture-vec-5": b"\0\1",
        **(chosen or {}),
    }
    nodes = (
        Spec("chosen", own),
        *memory,
        processors
        or Spec("cpus", {"#address-cells": [1], "#size-cells": [0]}, (Spec("cpu@0", cpu),)),
        *(() if bare else (firmware,)),
        *children,
    )
    cells: dict[str, Any] = {
        "#address-cells": [2],
        "#size-cells": [2],
        "compatible": "qemu,pseries",
    }
    return build_blob(Spec("", {**cells, **(root or {})}, nodes), reservations)


def build_facts(
    ram: Sequence[Range] = RAM, children: Sequence[IomemEntry] = (), **more: Any
) -> MachineFacts:
    """Make facts of a guest with ``ram`` and hashed page tables."""
    given = {
        "page_size": 4096,
        "iomem": iomem_of(ram, children=children),
        "device_tree": build_tree(ram),
        "device_tree_source": "/sys/firmware/devicetree/base, flattened",
        "crash": CRASH_FACTS,
        "hashed_page_tables": True,
    }
    return MachineFacts(arch="ppc64le", **{**given, **more})


KERNEL = build_kernel()


def build_request(**more: Any) -> LoadRequest:
    """Make a request for :data:`KERNEL` with an initrd, everything else as given."""
    return request_for(KERNEL, more)


def build_plan(facts: MachineFacts | None = None, **more: Any) -> SegmentPlan:
    """Make a plan of :func:`build_request`."""
    return plan(facts or build_facts(), build_request(**more))
