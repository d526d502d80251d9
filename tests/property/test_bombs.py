"""Files that are made to cost time or memory: a refusal, soon and in little memory."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable

import pytest

from pykexec.errors import ImageError
from pykexec.formats import MAX_DEPTH, identify
from pykexec.formats.compression import Codec
from pykexec.formats.initramfs import measure_initramfs
from tests.builders.bombs import busy, expanding, nested
from tests.builders.compressed import compress
from tests.builders.images import build_beoboot, build_uimage, build_uki, build_zboot
from tests.builders.pe_files import MACHINE_X86_64
from tests.property.test_mutations import MEMORY, SLOW, Memory

MIB = 1 << 20
SIZE = 2 * MIB
NAMES = [(codec, name) for codec in Codec for name in busy(codec, 64)]
WRITTEN_FAST = (Codec.GZIP, Codec.ZSTD, Codec.LZ4, Codec.XZ)
"""Compressions that a test can wrap many megabytes in."""


def refused(act: Callable[[memoryview], object], bomb: bytes) -> str:
    """Return the message of the refusal, which has come soon."""
    memory = Memory()
    memory.start()
    started = time.process_time()
    with pytest.raises(ImageError) as caught:
        act(memoryview(bomb))
    assert time.process_time() - started < SLOW
    assert memory.peak() < MEMORY
    return caught.value.message


def measure(data: memoryview) -> None:
    measure_initramfs(data, 4096)


@pytest.mark.parametrize(("codec", "name"), NAMES)
@pytest.mark.parametrize("act", [identify, measure], ids=["kernel", "initrd"])
def test_what_costs_time_and_gives_nothing(
    act: Callable[[memoryview], object], codec: Codec, name: str
) -> None:
    refused(act, busy(codec, SIZE)[name])


@pytest.mark.parametrize("codec", Codec)
def test_what_expands_without_end(codec: Codec) -> None:
    bomb = expanding(codec, 80 * MIB)
    assert "expand to more than 64 MiB" in refused(identify, bomb)


@pytest.mark.parametrize(("codec", "name"), NAMES)
def test_what_is_packed_once_more(codec: Codec, name: str) -> None:
    """Some 30 MB in a file of a few: the outer layer alone would not give it away."""
    noise = random.Random(1).randbytes(MIB)
    inner = busy(codec, 30 * MIB)[name]
    # What does not compress makes the outer layer large enough for an output of 32 MiB.
    refused(identify, nested(inner + noise, (Codec.ZSTD,)))


CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "zboot": lambda kernel: build_zboot(kernel, Codec.ZSTD, pad_to=0),
    "UKI": lambda kernel: build_uki(kernel, machine=MACHINE_X86_64),
    "uImage": build_uimage,
    "beoboot": build_beoboot,
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("codec", Codec)
def test_bombs_in_containers(container: str, codec: Codec) -> None:
    name, inner = next(iter(busy(codec, 4 * MIB).items()))
    assert name
    refused(identify, CONTAINERS[container](inner))


def depths(count: int) -> list[tuple[Codec, str, tuple[Codec, ...]]]:
    """Return bombs with what they are wrapped in, from one wrapping to too many."""
    rng = random.Random(7)
    turns = itertools.cycle(range(1, MAX_DEPTH + 1))
    return [
        (*rng.choice(NAMES), tuple(rng.choice(WRITTEN_FAST) for _ in range(next(turns))))
        for _ in range(count)
    ]


def check_depths(count: int, size: int) -> None:
    for codec, name, around in depths(count):
        refused(identify, nested(busy(codec, size)[name], around))


def test_bombs_at_every_depth() -> None:
    check_depths(36, 4 * MIB)


@pytest.mark.full
def test_many_bombs_at_every_depth() -> None:
    check_depths(600, 8 * MIB)


def test_layers_that_grow_one_in_another() -> None:
    """Each expands to some 60 MiB; together they are bounded as one is."""
    bomb = bytes(60 * MIB)
    for _ in range(3):
        bomb = compress(Codec.GZIP, bomb).ljust(60 * MIB, b"\0")
    refused(identify, compress(Codec.ZSTD, bomb))


def test_many_archives_share_one_bound() -> None:
    archive = compress(Codec.ZSTD, initramfs_of(100 * MIB))
    assert "expand to more than 256 MiB" in refused(measure, archive * 3)


def test_an_initrd_of_empty_entries() -> None:
    entries = (initramfs_of(0) + bytes(4)) * 270_000
    for data in (entries, compress(Codec.GZIP, entries)):
        assert "more than 262144 entries" in refused(measure, data)


def initramfs_of(size: int) -> bytes:
    """Return an archive of one file, whose name is a letter."""
    fields = (1, 0o100644, 0, 0, 1, 0, size, 0, 0, 0, 0, 2, 0)
    return b"070701" + b"".join(b"%08x" % field for field in fields) + b"a\0" + bytes(size)
