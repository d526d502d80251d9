"""The purgatory's table of digests: what memory was at the load, piece by piece. Pure.

``struct sha256_table`` in purgatory/include/purgatory.h is the other side.
"""

from __future__ import annotations

from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass
from pykexec.values.errors import PykexecError
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

REGIONS_MAX = 16
PIECES_MAX = 480
DIGEST_SIZE = 32
"""Bytes of a SHA-256."""
PIECE_SIZE_MIN = 4096
PIECE_SIZE_MAX = 1 << 51

_ADDRESS_END = 1 << 64
_ALIGN = 4
_REGION = Struct("<QQ")
_REGIONS_SIZE = REGIONS_MAX * _REGION.size
_PIECES = Struct("<II")
_BIG_REGION = Struct(">QQ")
_BIG_PIECES = Struct(">II")
_HEADER_SIZE = _REGIONS_SIZE + _PIECES.size
TABLE_SIZE = _HEADER_SIZE + PIECES_MAX * DIGEST_SIZE
"""Bytes of memory that the purgatory has for it."""


@dataclass(frozen=True, slots=True)
class DigestTable:
    """Memory to verify, and the digest of each piece of it."""

    regions: tuple[tuple[int, int], ...] = ()
    """Physical memory: start and length in bytes, in order."""
    piece_size: int = PIECE_SIZE_MIN
    """Bytes, a power of two. Each region is cut from its start; its last piece may be shorter."""
    digests: tuple[bytes, ...] = ()
    """SHA-256 of each piece, in the order of the regions."""
    big_endian: bool = False
    """How its numbers lie in memory."""

    def __post_init__(self) -> None:
        """Refuse what the purgatory could not work with."""
        if len(self.regions) > REGIONS_MAX:
            raise PykexecError(
                f"the purgatory can verify {REGIONS_MAX} segments, the plan has "
                f"{len(self.regions)}",
                hint="load fewer segments, or load without verification (--no-checks)",
            )
        for start, length in self.regions:
            if start < 0 or start % _ALIGN or length <= 0 or start + length > _ADDRESS_END:
                raise PykexecError(
                    f"the purgatory cannot verify {counted(length, 'byte')} at {start:#x}"
                )
        size = self.piece_size
        if size & size - 1 or not PIECE_SIZE_MIN <= size <= PIECE_SIZE_MAX:
            raise PykexecError(f"the purgatory cannot hash in pieces of {counted(size, 'byte')}")
        needed = pieces_needed((length for _, length in self.regions), size)
        if needed != len(self.digests) or needed > PIECES_MAX:
            raise PykexecError(
                f"the purgatory's table of digests does not fit: {counted(needed, 'piece')}, "
                f"{counted(len(self.digests), 'digest')}, room for {PIECES_MAX}"
            )
        other = next((item for item in self.digests if len(item) != DIGEST_SIZE), None)
        if other is not None:
            raise PykexecError(f"a SHA-256 has {DIGEST_SIZE} bytes, this has {len(other)}")

    @property
    def size(self) -> int:
        """Bytes that are verified."""
        return sum(length for _, length in self.regions)

    def encode(self) -> bytes:
        """Return it as it lies in memory, without the entries that are not used."""
        unused = bytes(_REGIONS_SIZE - len(self.regions) * _REGION.size)
        form, count = (_BIG_REGION, _BIG_PIECES) if self.big_endian else (_REGION, _PIECES)
        regions = b"".join(form.pack(*region) for region in self.regions)
        pieces = count.pack(self.piece_size.bit_length() - 1, len(self.digests))
        return b"".join((regions, unused, pieces, *self.digests))

    def digest(self) -> bytes:
        """Return the SHA-256 by which the purgatory knows that the table is right."""
        return sha256(self.encode()).digest()


def pieces_needed(lengths: Iterable[int], piece_size: int) -> int:
    """Return into how many pieces regions of ``lengths`` bytes are cut."""
    return sum(-(-length // piece_size) for length in lengths)


def decode_table(data: bytes, *, big_endian: bool = False) -> DigestTable:
    """Read a table back that begins at ``data``.

    Raises :class:`PykexecError` for one that no :meth:`DigestTable.encode` wrote.
    """
    if len(data) < _HEADER_SIZE:
        raise PykexecError(f"the table of digests ends after {counted(len(data), 'byte')}")
    pieces, region = (_BIG_PIECES, _BIG_REGION) if big_endian else (_PIECES, _REGION)
    shift, count = pieces.unpack_from(data, _REGIONS_SIZE)
    end = _HEADER_SIZE + count * DIGEST_SIZE
    if shift >= PIECE_SIZE_MAX.bit_length() or end > len(data):
        raise PykexecError(
            f"the table of digests is damaged: {count} pieces of 2^{shift} bytes, in "
            f"{counted(len(data), 'byte')}"
        )
    regions = region.iter_unpack(data[:_REGIONS_SIZE])
    return DigestTable(
        regions=tuple((start, length) for start, length in regions if length),
        piece_size=1 << shift,
        digests=tuple(data[at : at + DIGEST_SIZE] for at in range(_HEADER_SIZE, end, DIGEST_SIZE)),
        big_endian=big_endian,
    )
