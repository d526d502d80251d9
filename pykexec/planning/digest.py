"""The digests that the purgatory checks before it enters the new kernel. Pure."""

from __future__ import annotations

import os
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING

from pykexec.purgatory_objects.digest_table import (
    PIECE_SIZE_MIN,
    PIECES_MAX,
    DigestTable,
    pieces_needed,
)
from pykexec.values.ranges import Range
from pykexec.values.roles import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from threading import Thread

    from pykexec.planning.plans import Segment, SegmentPlan

_ALONE = 1 << 20
"""Bytes that are hashed before further threads would have begun."""
_THREADS_MAX = 16
"""From there on the time is that of memory, and each thread costs some of it."""


def digest_regions(segments: Iterable[Segment], page_size: int) -> tuple[Range, ...]:
    """Return the memory that the digest covers, in ascending order of address."""
    regions = (segment.digest_range(page_size) for segment in segments)
    return tuple(sorted(region for region in regions if region.size))


def piece_size_for(regions: Iterable[Range]) -> int:
    """Return the smallest power of two, in bytes, in whose pieces ``regions`` fit the table."""
    lengths = [region.size for region in regions]
    piece_size = PIECE_SIZE_MIN
    while pieces_needed(lengths, piece_size) > PIECES_MAX:
        piece_size *= 2
    return piece_size


def table_of(segments: Iterable[Segment], page_size: int) -> DigestTable:
    """Return the digests over :func:`digest_regions` as memory will hold them.

    That is each checked segment's data followed by zeros. The data is hashed where it lies: a
    mapped file is read, not copied, and by all processors at once, so that one hashes while
    another waits for the disk.
    """
    checked = {segment.dest.start: segment for segment in segments if segment.checked}
    regions = tuple((item.start, item.size) for item in digest_regions(segments, page_size))
    piece_size = piece_size_for(Range.sized(*region) for region in regions)
    pieces = [
        (memoryview(checked[start].data), offset, min(piece_size, length - offset))
        for start, length in regions
        for offset in range(0, length, piece_size)
    ]
    digests = [b""] * len(pieces)
    turns = count()

    def hash_in_turn() -> None:
        while (index := next(turns)) < len(pieces):
            data, offset, size = pieces[index]
            content = data[offset : offset + size]
            hasher = sha256(content)
            if len(content) < size:
                hasher.update(bytes(size - len(content)))
            digests[index] = hasher.digest()

    _in_threads(hash_in_turn, sum(length for _, length in regions))
    return DigestTable(regions, piece_size, tuple(digests))


def table_in(plan: SegmentPlan) -> DigestTable | None:
    """Return what the plan's purgatory checks, out of its bytes; None: nothing."""
    from pykexec.purgatory_objects import load
    from pykexec.purgatory_objects.parameters import read_parameters

    purgatory = plan.segment(Role.PURGATORY)
    if purgatory is None:
        return None
    parameters = read_parameters(load(plan.arch), bytes(purgatory.data))
    return None if parameters.skip_checks else parameters.table


def _in_threads(task: Callable[[], None], size: int) -> None:
    """Call ``task`` in as many threads as help with ``size`` bytes, this one among them."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            task()
        except BaseException as error:  # raised below, in the caller's thread
            failures.append(error)

    wanted = min(len(os.sched_getaffinity(0)), _THREADS_MAX, size // _ALONE + 1)
    helpers = _started(guarded, wanted - 1)
    guarded()
    for thread in helpers:
        thread.join()
    if failures:
        raise failures[0]


def _started(task: Callable[[], None], wanted: int) -> list[Thread]:
    """Return up to ``wanted`` threads that run ``task``: as many as this user may have."""
    if wanted < 1:
        return []
    from threading import Thread

    threads: list[Thread] = []
    for _ in range(wanted):
        thread = Thread(target=task, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            break
        threads.append(thread)
    return threads
