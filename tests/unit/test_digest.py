"""What the purgatory is to check: which memory, in which pieces, by which digests."""

from __future__ import annotations

import threading
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykexec.planning.digest import piece_size_for, table_in, table_of
from pykexec.planning.plans import PurgatoryOptions, Segment
from pykexec.purgatory_objects.digest_table import PIECES_MAX
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, KIB, MIB
from tests.builders.plans import build_plan

PAGE = 4096
SOME = build_plan().segments[0]


def segment(start: int, data: bytes, memory: int = 0, *, checked: bool = True) -> Segment:
    size = max(-(-len(data) // PAGE) * PAGE, memory)
    dest = Range.sized(start, size)
    return replace(SOME, role=Role.INITRD, dest=dest, data=memoryview(data), checked=checked)


@pytest.mark.parametrize(
    ("sizes", "piece_size"),
    [
        ([], 4 * KIB),
        ([1], 4 * KIB),
        ([480 * 4 * KIB], 4 * KIB),
        ([480 * 4 * KIB + 1], 8 * KIB),
        # A piece is of one segment.
        ([479 * 4 * KIB, 1, 1], 8 * KIB),
        ([64 * MIB], 256 * KIB),
        ([500 * MIB, 60 * MIB, 4 * KIB], 2 * MIB),
        ([1024 * GIB] * 16, 64 * GIB),
    ],
)
def test_the_smallest_piece_that_suffices(sizes: list[int], piece_size: int) -> None:
    regions = [Range.sized(index * 1024 * GIB, size) for index, size in enumerate(sizes)]
    assert piece_size_for(regions) == piece_size


def test_pieces_are_few_hundred_for_whatever_is_large() -> None:
    for size in range(2 * MIB, 500 * MIB, 7 * MIB + 4 * KIB):
        pieces = -(-size // piece_size_for([Range.sized(0, size)]))
        assert PIECES_MAX // 2 <= pieces <= PIECES_MAX


@given(
    sizes=st.lists(st.integers(1, 5 * PAGE), max_size=6),
    seed=st.binary(min_size=1, max_size=9),
)
@settings(max_examples=50, deadline=None)
def test_each_digest_is_of_memory_as_it_will_be(sizes: list[int], seed: bytes) -> None:
    """In the order of addresses, with the zeros behind the data and not those behind the page."""
    segments = [
        segment(0x10_0000 * (9 - i), (seed * size)[:size], 8 * PAGE) for i, size in enumerate(sizes)
    ]
    table = table_of([*segments, segment(0x1000, b"not checked", checked=False)], PAGE)
    expected = []
    for item in reversed(segments):
        memory = bytes(item.data).ljust(-(-len(item.data) // PAGE) * PAGE, b"\0")
        expected += [sha256(memory[at : at + PAGE]).digest() for at in range(0, len(memory), PAGE)]
    assert table.piece_size == PAGE
    assert list(table.digests) == expected
    assert [start for start, _ in table.regions] == sorted(s.dest.start for s in segments)


LARGE = segment(0x100_0000, bytes(range(251)) * 20_000)


def test_threads_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    start = threading.Thread.start

    def counted_start(thread: threading.Thread) -> None:
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", counted_start)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    by_many = table_of([LARGE], PAGE)
    assert 1 < len(started) < 16, "5 MB are not worth more"
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    assert table_of([LARGE], PAGE) == by_many


def test_threads_that_cannot_be_had_are_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = table_of([LARGE], PAGE)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert table_of([LARGE], PAGE) == expected


def test_what_fails_in_a_thread_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr("pykexec.planning.digest.sha256", fail)
    with pytest.raises(MemoryError):
        table_of([LARGE], PAGE)


def test_what_a_plan_checks_is_read_out_of_its_bytes() -> None:
    made = build_plan()
    assert table_in(made) == table_of(made.segments, made.page_size)
    assert table_in(build_plan(purgatory=PurgatoryOptions(skip_checks=True))) is None
    assert table_in(replace(made, segments=())) is None
