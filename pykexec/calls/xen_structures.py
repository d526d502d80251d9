"""What is handed to Xen and read back: structures and numbers of its public headers. Pure.

xen/include/public/xen.h, kexec.h (the interface since Xen 4.4) and memory.h, for programs of 64
bits, little endian.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

from pykexec.values.data_classes import dataclass
from pykexec.values.errors import PykexecError
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.units import MIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.planning.plans import SegmentPlan
    from pykexec.values.buffers import Buffer

MEMORY_OP = 12
"""__HYPERVISOR_memory_op."""
KEXEC_OP = 37
"""__HYPERVISOR_kexec_op."""
XENMEM_MACHINE_MEMORY_MAP = 10

PAGE = 4096
"""Bytes: the hypervisor's page, which is that of the machine."""
SEGMENTS_MAX = 15
"""KEXEC_SEGMENT_MAX is 16, and as many are refused (xen/common/kexec.c, "kexec_load")."""
FIRST_MIB = Range(0, MIB)


class KexecCommand(IntEnum):
    """``KEXEC_CMD_*``."""

    KEXEC_CMD_kexec = 0
    KEXEC_CMD_kexec_get_range = 3
    KEXEC_CMD_kexec_load = 4
    KEXEC_CMD_kexec_unload = 5
    KEXEC_CMD_kexec_status = 6


class KexecType(IntEnum):
    """``KEXEC_TYPE_*``."""

    KEXEC_TYPE_DEFAULT = 0
    KEXEC_TYPE_CRASH = 1


class KexecRange(IntEnum):
    """``KEXEC_RANGE_MA_*``; those that only Itanium had are left out."""

    KEXEC_RANGE_MA_CRASH = 0
    KEXEC_RANGE_MA_XEN = 1
    KEXEC_RANGE_MA_CPU = 2
    KEXEC_RANGE_MA_VMCOREINFO = 6


_EXEC = Struct("<i")
"""struct xen_kexec_exec."""
_TYPE = Struct("<B")
"""struct xen_kexec_unload, struct xen_kexec_status."""
RANGE = Struct("<iiQQ")
"""struct xen_kexec_range: range, nr, size, start."""
SEGMENT = Struct("<QQQQ")
"""struct xen_kexec_segment: buf, buf_size, dest_maddr, dest_size."""
LOAD = Struct("<BxHIQQ")
"""struct xen_kexec_load: type, arch (e_machine), nr_segments, segments, entry_maddr."""
MEMORY_MAP = Struct("<I4xQ")
"""struct xen_memory_map: nr_entries, buffer."""
E820_ENTRY = Struct("<QQI")
"""struct e820entry of the firmware's map: addr, size, type."""


def exec_argument(kind: KexecType) -> bytes:
    """Return the argument of KEXEC_CMD_kexec."""
    return _EXEC.pack(kind)


def type_argument(kind: KexecType) -> bytes:
    """Return the argument of KEXEC_CMD_kexec_unload and KEXEC_CMD_kexec_status."""
    return _TYPE.pack(kind)


def range_argument(wanted: KexecRange, number: int = 0) -> bytes:
    """Return the argument of KEXEC_CMD_kexec_get_range; ``number`` is a processor's."""
    return RANGE.pack(wanted, number, 0, 0)


def range_of(answer: bytes) -> Range | None:
    """Return what a get_range has found, in machine addresses; None for nothing there."""
    _, _, size, start = RANGE.unpack(answer)
    return Range.sized(start, size) if size else None


def e820_entries(data: bytes) -> list[tuple[int, int, int]]:
    """Return (machine address, bytes, type) of each entry of a map."""
    return list(E820_ENTRY.iter_unpack(data))


@dataclass(frozen=True, slots=True)
class XenSegment:
    """A part of an image. ``data`` None: nothing is copied, the place is only mapped."""

    data: Buffer | None
    dest: Range
    """Machine addresses, whole pages."""


def xen_segments(plan: SegmentPlan) -> tuple[XenSegment, ...]:
    """Return what the hypervisor is to load for ``plan``, by ascending address.

    The code that is entered sees the image's pages at their machine addresses and nothing else
    (kexec.h, at KEXEC_CMD_kexec). A kernel's first code also uses what firmware left in the first
    MiB, and a trampoline there (Linux arch/x86/boot/compressed/pgtable_64.c,
    "find_trampoline_placement"); a purgatory copies the memory below 640 KiB away. So all of the
    first MiB is mapped, as Xen itself does it for programs of the older interface. Raises
    :class:`PykexecError` where that makes too many.
    """
    own = [XenSegment(item.data, item.dest) for item in plan.segments]
    mapped = RangeSet([FIRST_MIB]).minus([item.dest for item in own])
    segments = [*own, *(XenSegment(None, part) for part in mapped)]
    if len(segments) > SEGMENTS_MAX:
        raise PykexecError(
            f"Xen takes {SEGMENTS_MAX} segments, and this load needs {len(segments)}",
            hint="leave out what the next kernel can do without, such as --ima",
        )
    return tuple(sorted(segments, key=lambda item: item.dest.start))


def pack_segments(segments: Sequence[XenSegment], addresses: Sequence[int]) -> bytes:
    """Return the array of segments; ``addresses`` are those of the data in this program.

    One without data to be zeroed has an address all the same, of nothing: the hypervisor tells
    what is to be mapped only by a null pointer.
    """
    return b"".join(
        SEGMENT.pack(
            address,
            0 if item.data is None else len(item.data),
            item.dest.start,
            item.dest.size,
        )
        for item, address in zip(segments, addresses, strict=True)
    )
