"""The structures of a firmware-assisted dump that come in two byte orders. Pure.

What a kernel writes for itself is in its own byte order, what firmware reads or writes is
big-endian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash.fadump import _structures as tables
from pykexec.values.data_classes import dataclass

if TYPE_CHECKING:
    from types import SimpleNamespace
    from typing import Literal

    from pykexec.formats.structs import Structure

    ByteOrder = Literal["little", "big"]

PT_REGS_KNOWN = tables.PT_REGS_BIG.size
"""Bytes of a pt_regs that are the same in all kernels: uapi/asm/ptrace.h, "user_pt_regs"."""
HDAT_OFFSET_AT = 8
"""Where ``offset`` stands in a thread's header: it counts from there."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a kernel of one byte order writes."""

    pt_regs: Structure
    old_header: Structure
    header: Structure
    unmerged_header: Structure
    """Of a patch that no released kernel has."""
    opal_metadata: Structure
    opal_region: Structure


ORDERS: dict[ByteOrder, Layout] = {
    "little": Layout(
        tables.PT_REGS_LITTLE,
        tables.OLD_HEADER_LITTLE,
        tables.HEADER_LITTLE,
        tables.UNMERGED_HEADER_LITTLE,
        tables.OPAL_METADATA_LITTLE,
        tables.OPAL_REGION_LITTLE,
    ),
    "big": Layout(
        tables.PT_REGS_BIG,
        tables.OLD_HEADER_BIG,
        tables.HEADER_BIG,
        tables.UNMERGED_HEADER_BIG,
        tables.OPAL_METADATA_BIG,
        tables.OPAL_REGION_BIG,
    ),
}


def pt_regs_of(found: SimpleNamespace) -> tuple[tuple[str, int], ...]:
    """Return a pt_regs as names and values, in its order: ``gpr0`` to ``gpr31``, ``nip``…"""
    gprs = [(f"gpr{number}", value) for number, value in enumerate(found.gpr)]
    return (*gprs, *((name, value) for name, value in vars(found).items() if name != "gpr"))
