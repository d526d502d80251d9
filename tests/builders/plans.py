"""Builds facts, requests and plans for tests, without any file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pykexec.planning.planner import plan
from pykexec.planning.plans import LoadRequest, SegmentPlan
from pykexec.values.facts import MachineFacts
from pykexec.values.memory import IomemEntry, MemoryKind, MemoryMap, MemoryRegion
from pykexec.values.ranges import Range
from pykexec.values.units import GIB, MIB
from tests.builders.bzimage import KernelSpec, build_bzimage
from tests.builders.machines import iomem_of

SMALL_KERNEL = KernelSpec(payload_size=64 * 1024)
KERNEL = build_bzimage(SMALL_KERNEL)
# Debian's own 32-bit kernels say this of themselves.
I386_SPEC = replace(
    SMALL_KERNEL,
    xloadflags=0,
    kernel_alignment=0x1000000,
    pref_address=0x1000000,
    init_size=0x1400000,
)
I386_KERNEL = build_bzimage(I386_SPEC)
INITRD = bytes(range(256)) * 40 + b"end"
RAM = (Range(0x1000, 0x9FC00), Range(MIB, 3 * GIB), Range(4 * GIB, 6 * GIB))


def build_facts(
    ram: Sequence[Range] = RAM, children: Sequence[IomemEntry] = (), **more: Any
) -> MachineFacts:
    """Make facts of a machine with ``ram``, all of it told by firmware."""
    regions = tuple(MemoryRegion(item, MemoryKind.RAM, "System RAM") for item in ram)
    more.setdefault("firmware_map", MemoryMap(regions))
    return MachineFacts(
        arch="x86_64", page_size=4096, iomem=iomem_of(ram, children=children), **more
    )


def build_request(**more: Any) -> LoadRequest:
    """Make a request for :data:`KERNEL` with :data:`INITRD`, everything else as given."""
    given = {"kernel": KERNEL, "initrd": INITRD, "cmdline": b"ro quiet", "rng_seed": bytes(32)}
    return LoadRequest(**{**given, **more})


def kernel_for(arch: str) -> bytes:
    """Return a kernel that a running one of ``arch``, an x86 one, can crash into."""
    return I386_KERNEL if arch == "i386" else KERNEL


def build_plan(facts: MachineFacts | None = None, **more: Any) -> SegmentPlan:
    """Make a plan of :func:`build_request`."""
    return plan(facts or build_facts(), build_request(**more))
