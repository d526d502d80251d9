"""What a kernel leaves with OPAL, and what OPAL tells after a crash, on powernv. Pure.

Linux arch/powerpc/platforms/powernv/opal-fadump.h and include/asm/opal-api.h. A kernel wrote its
metadata in its own byte order before it took to OPAL's, which is big-endian; which of them it is
shows in the number of regions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash.fadump._structures import MPIPL
from pykexec.crash.fadump.layouts import ORDERS
from pykexec.formats.structs import parse_at
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.ranges import Range
from pykexec.values.units import counted

if TYPE_CHECKING:
    from pykexec.crash.fadump.layouts import ByteOrder
    from pykexec.values.buffers import Buffer

VERSION = 1
REGIONS_MAX = 128
HEADER_ADDRESS_AT = 8
"""Where ``fadumphdr_addr`` stands in the metadata."""
METADATA_SIZE = 16 + REGIONS_MAX * 24


@dataclass(frozen=True, slots=True)
class Region:
    """Memory that OPAL copies; physical."""

    source: Range
    destination: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """``opal_fadump_mem_struct``."""

    byte_order: ByteOrder
    registered: int
    """How many of the regions OPAL has taken. Less than all: the rest is not in the dump."""
    header_address: int
    """Physical, of the crash info header."""
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True)
class Mpipl:
    """``opal_mpipl_fadump``: what OPAL has done at the crash."""

    crashing_pir: int
    cpu_data_version: int
    thread_size: int
    """Bytes of a processor's registers, ``cpu_data_size``."""
    regions: tuple[Region, ...]
    """The first one is where the registers are."""


def parse_metadata(data: Buffer, offset: int = 0) -> Metadata:
    """Read a kernel's metadata at ``offset``; raises :class:`ImageError`."""
    orders: tuple[ByteOrder, ...] = ("big", "little")
    for order in orders:
        fields = parse_at(ORDERS[order].opal_metadata, data, offset, "the metadata for OPAL")
        if fields.version != VERSION:
            raise ImageError(
                f"no metadata for OPAL: version {fields.version}, known is {VERSION}",
                offset=offset,
                field="version",
            )
        # A number of regions that can be in one byte order cannot in the other, but for 0.
        if fields.region_cnt <= REGIONS_MAX and fields.registered_regions <= fields.region_cnt:
            return Metadata(
                byte_order=order,
                registered=fields.registered_regions,
                header_address=fields.fadumphdr_addr,
                regions=_regions(data, offset + 16, fields.region_cnt, order),
            )
    raise ImageError(
        "no metadata for OPAL: the number of its regions, or of those that are registered, is "
        f"more than {REGIONS_MAX} in either byte order",
        offset=offset + 4,
        field="region_cnt",
    )


def parse_mpipl(data: Buffer) -> Mpipl:
    """Read OPAL's result; raises :class:`ImageError`."""
    fields = parse_at(MPIPL, data, 0, "OPAL's result")
    if fields.version != VERSION or not 1 <= fields.region_cnt <= REGIONS_MAX:
        raise ImageError(
            f"not OPAL's result: version {fields.version} with "
            f"{counted(fields.region_cnt, 'region')}; known is {VERSION} with 1 to {REGIONS_MAX}",
            offset=0,
            field="version",
        )
    return Mpipl(
        crashing_pir=fields.crashing_pir,
        cpu_data_version=fields.cpu_data_version,
        thread_size=fields.cpu_data_size,
        regions=_regions(data, MPIPL.size, fields.region_cnt, "big"),
    )


def _regions(data: Buffer, offset: int, count: int, order: ByteOrder) -> tuple[Region, ...]:
    layout, found = ORDERS[order].opal_region, []
    for number in range(count):
        at = offset + number * layout.size
        fields = parse_at(layout, data, at, f"region {number}")
        source = Range.fitting(fields.src, fields.size)
        if source is None or Range.fitting(fields.dest, fields.size) is None:
            raise ImageError(
                f"region {number} ends behind 2^64: {fields.size:#x} bytes from {fields.src:#x} to "
                f"{fields.dest:#x}",
                offset=at,
                field="size",
            )
        found.append(Region(source, fields.dest))
    return tuple(found)
