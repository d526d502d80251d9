"""Dumps that are cut, split, or say of themselves what cannot be."""

from __future__ import annotations

import struct
import time
from itertools import pairwise

import pytest

from pykexec.crash.core_reading import VmcoreError
from pykexec.crash.makedumpfile import KdumpFile
from pykexec.crash.places import Segment, SegmentPlaces
from pykexec.crash.vmcore import open_core
from pykexec.crash.vmcore_dmesg import dmesg
from pykexec.crash.work import Work, size_of
from tests.builders.vmcore import Record, elf_core, flatten, kdump, lockless
from tests.unit.crash.test_vmcore import RECORDS, Bytes, refused


def log_of(*files: bytes) -> tuple[bytes, tuple[str, ...]]:
    memory = open_core(*map(Bytes, files))
    return b"".join(dmesg(memory)), memory.warnings


@pytest.mark.parametrize("missing", [1, 8, 16])
def test_a_flattened_dump_without_its_end_mark_is_read_with_a_warning(missing: int) -> None:
    """Its last block is the header's second copy, which it can do without."""
    for dump in (elf_core(lockless(RECORDS)), kdump(lockless(RECORDS))):
        log, warnings = log_of(flatten(dump)[:-missing])
        assert (log, log_of(dump)[1]) == (log_of(dump)[0], ())
        (warning,) = warnings
        assert "has no end mark: it was cut before 0x" in warning


def test_a_flattened_dump_that_lacks_a_part_of_the_log() -> None:
    whole = flatten(elf_core(lockless(RECORDS)))
    memory = open_core(Bytes(whole[: whole.index(b"twotwotwo")]))
    assert memory.warnings
    with pytest.raises(VmcoreError, match="cannot read memory"):
        list(dmesg(memory))


def test_a_flattened_dump_of_nothing() -> None:
    assert "has no block at all" in refused(flatten(b"x")[:4100]).message


def test_a_dump_that_says_that_it_is_incomplete() -> None:
    log, warnings = log_of(kdump(lockless(RECORDS), status=1 | 8))
    assert b"one" in log
    assert "the dump is incomplete" in warnings[0]


LONG = lockless([Record(b"%d " % number * 90) for number in range(100)], count_bits=7, size_bits=16)
CUTS = (0, 0x205, 0x205, 0x20A, 1 << 20)
"""Where the dump is split: inside of the log, with a part that has no page."""


def parts(version: int = 6) -> list[bytes]:
    return [kdump(LONG, part=part, version=version) for part in pairwise(CUTS)]


@pytest.mark.parametrize("version", [5, 6])
def test_parts_of_a_split_dump_are_one(version: int) -> None:
    whole, _ = log_of(kdump(LONG))
    assert whole.count(b"\n") == 100
    assert log_of(*parts(version)) == (whole, ())
    assert log_of(*reversed(parts(version))) == (whole, ())
    assert log_of(*map(flatten, parts(version)))[0] == whole


@pytest.mark.parametrize("version", [5, 6])
def test_a_part_has_its_own_pages_and_no_others(version: int) -> None:
    whole = KdumpFile(Bytes(kdump(LONG)), Work(1 << 20))
    for file, (start, end) in zip(parts(version), pairwise(CUTS), strict=True):
        part = KdumpFile(Bytes(file), Work(1 << 20))
        for number in range(0x200, 0x210):
            if start <= number < end:
                assert part.read_physical(number * 4096, 4096) == whole.read_physical(
                    number * 4096, 4096
                )
            else:
                with pytest.raises(VmcoreError, match="is in another part of the split") as caught:
                    part.read_physical(number * 4096, 1)
                assert caught.value.hint == "give all parts together"


def test_what_are_no_parts_of_one_dump() -> None:
    first, _, _, last = parts()
    other = first.replace(b"test", b"host", 1)
    for files, message in (
        ((first, first), "files 1 and 2 both have the pages from 0x0 on"),
        ((first, kdump(LONG)), "file 2 of 2 is a whole dump"),
        ((last, other), "file 2 of 2 is a part of another dump"),
        ((first, elf_core(LONG)), "of 2 files 1 are no compressed dumps"),
        ((first, parts()[1]), "page 0x3000 is in none of the 2 parts"),
    ):
        with pytest.raises(VmcoreError) as caught:
            log_of(*files)
        assert message in caught.value.message


def test_rings_that_no_dump_of_this_size_can_hold() -> None:
    """2^26 empty descriptors would take an hour; each page may stand for any number of them."""
    memory = lockless(RECORDS)
    ring = memory.data.index(struct.pack("<I4xQ", 4, memory.base + 1024))
    memory.data[ring : ring + 4] = struct.pack("<I", 26)
    head = ring + 24
    memory.data[head : head + 8] = struct.pack("<Q", (1 << 26) - 1)
    memory.data[head + 8 : head + 16] = bytes(8)
    started = time.process_time()
    for core in (elf_core(memory), kdump(memory)):
        with pytest.raises(VmcoreError, match="67108864 records in 1024 bytes, for which a dump"):
            log_of(core)
    assert time.process_time() - started < 2


def test_headers_and_notes_that_no_file_of_this_size_can_hold() -> None:
    core = bytearray(elf_core(lockless(RECORDS)))
    core[56:58] = struct.pack("<H", 0xFFFE)
    assert "65534 program headers, more than" in refused(bytes(core)).message
    hole = struct.pack(">qq", 1 << 40, 1) + b"x"
    error = refused(flatten(bytes(core))[:-16] + hole + struct.pack(">qq", -1, -1))
    assert "65534 program headers, more than" in error.message


def test_segments_are_found_soon_however_many_there_are() -> None:
    """Of two that overlap the one that begins first counts, up to its end."""
    places = SegmentPlaces(
        (start, Segment(offset=start, vaddr=0, paddr=0, filesz=size))
        for start, size in ((10, 10), (15, 10), (16, 2), (40, 1), (40, 5), (100, 0))
    )
    assert [places.find(at) for at in (9, 10, 19, 20, 24, 25, 40, 44, 45, 100)] == [
        (0, 0), (10, 10), (19, 1), (20, 5), (24, 1), (25, 0), (40, 5), (44, 1), (45, 0), (100, 0),
    ]  # fmt: skip


def test_the_size_of_a_file_is_found_by_reading() -> None:
    for size in (0, 1, 2, 3, 4095, 4096, 1 << 20):
        assert size_of(Bytes(bytes(size))) == size
