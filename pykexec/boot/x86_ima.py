"""Where IMA's measurement list goes on x86_64, and how the kernel is told. Pure.

``struct ima_setup_data``: Linux arch/x86/include/uapi/asm/setup_data.h.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from construct import Int64ul, Struct

from pykexec.boot.ima import plan_ima
from pykexec.boot.x86_kernels import ISA_DMA_END
from pykexec.boot.x86_setup_data import SetupNode, SetupType
from pykexec.errors import NoRoomError
from pykexec.formats.bzimage import BzImage
from pykexec.formats.ikconfig import unpacked
from pykexec.placement import at_least, at_most
from pykexec.plans import Role
from pykexec.ranges import Range
from pykexec.units import MIB, format_size

if TYPE_CHECKING:
    from pykexec.facts import MachineFacts
    from pykexec.formats.x86_elf import X86Elf
    from pykexec.plans import LoadRequest, PlanBuilder

_IMA_SETUP_DATA = Struct("addr" / Int64ul, "size" / Int64ul)
_KASLR_LOWEST = 512 * MIB
"""KASLR puts a kernel nowhere below this, or below the place that it was loaded to."""


def place_ima(
    builder: PlanBuilder, facts: MachineFacts, request: LoadRequest, image: BzImage | X86Elf
) -> tuple[tuple[SetupNode, ...], tuple[str, ...]]:
    """Place the list if it is to be carried; returns nodes of the setup_data list, and notes.

    The new kernel's decompressor keeps off the setup_data list, but not off the buffer that a
    node in it tells of (Linux arch/x86/boot/compressed/kaslr.c, "mem_avoid_overlap"). So the
    buffer goes where KASLR never puts a kernel ("choose_random_location"). Raises
    :class:`NoRoomError` only when the user insists.
    """
    ima = plan_ima(facts, request, lambda: unpacked(image))
    if ima.data is None:
        return (), ima.notes
    # Without its decompressor a kernel stays where it is put.
    bound = builder.place_of(Role.KERNEL).start if isinstance(image, BzImage) else _KASLR_LOWEST
    last = min(bound, _KASLR_LOWEST) - 1
    limits = (
        at_least(ISA_DMA_END, "IMA's list above ISA DMA memory"),
        at_most(last, "IMA's list where KASLR puts no kernel"),
    )
    try:
        dest = builder.place(Role.IMA_BUFFER, len(ima.data), *limits, data=ima.data)
    except NoRoomError:
        if request.ima is True:
            raise
        size = format_size(len(ima.data))
        reason = f"no {size} are free between {ISA_DMA_END:#x} and {last:#x}"
        return (), (f"IMA's measurement list is not carried over: {reason}",)
    return (ima_node(dest),), ima.notes


def ima_node(buffer: Range) -> SetupNode:
    """Build SETUP_IMA. ``buffer`` is in whole pages, because the kernel frees it."""
    payload = _IMA_SETUP_DATA.build({"addr": buffer.start, "size": buffer.size})
    return SetupNode(SetupType.SETUP_IMA, bytes(payload))


def parse_ima_node(payload: bytes) -> Range | None:
    """Return the buffer that a SETUP_IMA node tells of, None when it is too short for one."""
    if len(payload) < _IMA_SETUP_DATA.sizeof():
        return None
    fields = _IMA_SETUP_DATA.parse(payload)
    return Range.fitting(fields.addr, fields.size)
