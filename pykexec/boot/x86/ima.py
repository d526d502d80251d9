"""Where IMA's measurement list goes on x86_64, and how the kernel is told. Pure.

``struct ima_setup_data``: Linux arch/x86/include/uapi/asm/setup_data.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.boot.ima import ImaPlan
from pykexec.boot.x86._structures import IMA_SETUP_DATA
from pykexec.boot.x86.kernels import ISA_DMA_END
from pykexec.boot.x86.setup_data import SetupNode, SetupType
from pykexec.planning.wanted import below
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import MIB, format_size
from pykexec.values.wishes import at_least, at_most

if TYPE_CHECKING:
    from pykexec.planning.plan_builder import PlanBuilder
    from pykexec.values.errors import NoRoomError

_KASLR_LOWEST = 512 * MIB
"""KASLR puts a kernel nowhere below this, or below the place that it was loaded to."""


def want_ima(builder: PlanBuilder, data: bytes, *, decompressed: bool) -> None:
    """Ask for a place for the list; ``decompressed``: the kernel unpacks itself.

    The new kernel's decompressor keeps off the setup_data list, but not off the buffer that a
    node in it tells of (Linux arch/x86/boot/compressed/kaslr.c, "mem_avoid_overlap"). So the
    buffer goes where KASLR never puts a kernel ("choose_random_location").
    """
    source = "IMA's list where KASLR puts no kernel"
    builder.want(
        Role.IMA_BUFFER,
        len(data),
        at_least(ISA_DMA_END, "IMA's list above ISA DMA memory"),
        at_most(_KASLR_LOWEST - 1, source),
        # Without its decompressor a kernel stays where it is put.
        *((below(Role.KERNEL, source),) if decompressed else ()),
        data=data,
    )


def without_ima(data: bytes, refusal: NoRoomError) -> ImaPlan:
    """Leave out a list with which the load has been refused, and say so."""
    size, wish = format_size(len(data)), refusal.wish
    reason = f"with its {size} there is no place for {refusal.role}"
    if refusal.role == Role.IMA_BUFFER:
        reason = f"no {size} are free between {wish.lowest:#x} and {wish.highest:#x}"
    return ImaPlan(None, (f"IMA's measurement list is not carried over: {reason}",))


def ima_node(buffer: Range) -> SetupNode:
    """Build SETUP_IMA. ``buffer`` is in whole pages, because the kernel frees it."""
    payload = IMA_SETUP_DATA.build({"addr": buffer.start, "size": buffer.size})
    return SetupNode(SetupType.SETUP_IMA, payload)


def parse_ima_node(payload: bytes) -> Range | None:
    """Return the buffer that a SETUP_IMA node tells of, None when it is too short for one."""
    if len(payload) < IMA_SETUP_DATA.size:
        return None
    fields = IMA_SETUP_DATA.parse(payload)
    return Range.fitting(fields.addr, fields.size)
