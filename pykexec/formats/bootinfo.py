"""The records by which a boot loader tells an m68k kernel of its machine. Pure.

Linux arch/m68k/include/uapi/asm/bootinfo.h: ``struct bi_record``, each with a tag and its size in
bytes, header included, both big-endian; a tag of 0, which has no size, is behind the last. What
the kernel does with them stands in arch/m68k/kernel/setup_mm.c, "m68k_parse_bootinfo".
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from pykexec.values.errors import ImageError
from pykexec.values.ranges import Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HEADER = Struct(">HH")
_LAST = Struct(">H")
_WORD = Struct(">I")
_PLACE = Struct(">II")
_SEED = Struct(">H")
_ALIGN = 4
SIZE_MAX = 1536
"""Bytes; of more a kernel keeps and shows none (arch/m68k/kernel/bootinfo_proc.c)."""
CHUNKS_MAX = 4
"""Chunks of memory that a kernel takes (arch/m68k/include/asm/setup.h, "NUM_MEMINFO")."""


class Tag(IntEnum):
    """Those that are the same on all machines."""

    LAST = 0
    MACHTYPE = 1
    CPUTYPE = 2
    FPUTYPE = 3
    MMUTYPE = 4
    MEMCHUNK = 5
    RAMDISK = 6
    COMMAND_LINE = 7
    RNG_SEED = 8


class Record(NamedTuple):
    """One record."""

    tag: int
    data: bytes

    @property
    def word(self) -> int | None:
        """The number that it has; None where it is shorter."""
        return _WORD.unpack_from(self.data)[0] if len(self.data) >= _WORD.size else None

    @property
    def place(self) -> Range | None:
        """The physical memory that it tells of; None where it is shorter, or has none."""
        if len(self.data) < _PLACE.size:
            return None
        start, size = _PLACE.unpack_from(self.data)
        return Range.fitting(start, size)


def parse_bootinfo(data: bytes) -> tuple[Record, ...]:
    """Decode the records in their order, without the last.

    Raises :class:`ImageError` for data that end before that, and for a record that is shorter than
    its header: a kernel would read it for ever.
    """
    return tuple(Record(tag, data[start:end]) for tag, start, end in _walk(data))


def _walk(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield tag, and where the data of each record begin and end."""
    at = 0
    while True:
        if at + _LAST.size > len(data):
            raise ImageError("the boot information ends without its last record", offset=at)
        if _LAST.unpack_from(data, at)[0] == Tag.LAST:
            return
        if at + _HEADER.size > len(data):
            raise ImageError("the boot information ends inside of a record", offset=at)
        tag, size = _HEADER.unpack_from(data, at)
        if size < _HEADER.size or at + size > len(data):
            raise ImageError(
                f"the boot information has a record (tag {tag:#x}) of {size} bytes", offset=at
            )
        yield tag, at + _HEADER.size, at + size
        at += size


def build_bootinfo(records: Iterable[Record]) -> bytes:
    """Encode records, each filled up with zeros to a multiple of 4 bytes, and the last."""
    parts = []
    for tag, data in records:
        padded = data + bytes(-len(data) % _ALIGN)
        parts.append(_HEADER.pack(tag, _HEADER.size + len(padded)) + padded)
    return b"".join((*parts, _LAST.pack(Tag.LAST)))


def without(data: bytes, tags: Iterable[int]) -> bytes:
    """Return the records with zeros for what those of ``tags`` say; raises as parsing does."""
    blank = bytearray(data)
    hidden = frozenset(tags)
    for tag, start, end in _walk(data):
        if tag in hidden:
            blank[start:end] = bytes(end - start)
    return bytes(blank)


def chunks_of(records: Iterable[Record]) -> tuple[Range, ...]:
    """Return the physical memory that a kernel takes for its own, in the order of the records."""
    found = (item.place for item in records if item.tag == Tag.MEMCHUNK)
    return tuple(item for item in found if item is not None and item.size)[:CHUNKS_MAX]


def place_record(tag: int, place: Range, size: int) -> Record:
    """Return one that tells of the ``size`` bytes from the start of ``place`` on."""
    return Record(tag, _PLACE.pack(place.start, size))


def seed_record(seed: bytes) -> Record:
    """Return one with a seed, which has its own length in front."""
    return Record(Tag.RNG_SEED, _SEED.pack(len(seed)) + seed)
