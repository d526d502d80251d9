"""The digest that the purgatory checks before it enters the new kernel. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pykexec.planning.plans import Segment
    from pykexec.values.ranges import Range


def digest_regions(segments: Iterable[Segment], page_size: int) -> tuple[Range, ...]:
    """Return the memory that the digest covers, in ascending order of address."""
    regions = (segment.digest_range(page_size) for segment in segments)
    return tuple(sorted(region for region in regions if region.size))


def digest_of(segments: Iterable[Segment], page_size: int) -> bytes:
    """Return the SHA-256 over :func:`digest_regions` as memory will hold them.

    That is each checked segment's data followed by zeros, one after the other. The data
    is hashed where it lies: a mapped file is read, not copied.
    """
    hasher = sha256()
    for segment in sorted(segments, key=lambda item: item.dest):
        region = segment.digest_range(page_size)
        if not region.size:
            continue
        hasher.update(segment.data)
        hasher.update(bytes(region.size - len(segment.data)))
    return hasher.digest()
