"""Damaged cores and dumps: each ends in a log or in a refusal, soon and in little memory.

A hundred of each kind by default; with ``full`` three thousand.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from pykexec.crash.core_reading import VmcoreError
from pykexec.crash.vmcore import open_core
from pykexec.crash.vmcore_dmesg import dmesg
from tests.builders.vmcore import Memory as Kernel
from tests.builders.vmcore import (
    Record,
    elf_core,
    flatten,
    kdump,
    legacy,
    lockless,
    lzo_page,
    structured,
)
from tests.property.test_mutations import MEMORY, SLOW, Memory

RECORDS = [Record(b"message %d " % number * 20) for number in range(60)]
DIGITS = re.compile(rb"[0-9]")
EXTREMES = (0, 1, 7, 0x1F, 0x7F, 0x80, 0xFE, 0xFF)


def ring() -> Kernel:
    return lockless(RECORDS, count_bits=6, size_bits=15)


CUTS = (0, 0x204, 0x208, 1 << 20)
DUMPS: dict[str, tuple[bytes, ...]] = {
    "ELF core": (elf_core(ring()),),
    "ELF core of 32 bits": (elf_core(lockless(RECORDS, count_bits=6, size_bits=15, word=4)),),
    "structured log": (elf_core(structured(RECORDS, size=1 << 15, wrap_after=30)),),
    "structured log, compressed": (kdump(structured(RECORDS, size=1 << 15, wrap_after=30)),),
    "legacy log": (elf_core(legacy(b"text" * 2000, size=4096)),),
    "zlib": (kdump(ring()),),
    "lzo": (kdump(ring(), compress=lzo_page),),
    "flattened": (flatten(kdump(ring())),),
    "flattened core": (flatten(elf_core(ring())),),
    "split": tuple(kdump(ring(), part=part) for part in pairwise(CUTS)),
}


class Bytes:
    """A core in memory."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self._data[offset : offset + size])


def damaged(file: bytes, rng: random.Random) -> bytearray:
    """Return ``file`` with damage: anywhere, or where its headers and numbers are."""
    data = bytearray(file)
    digits = [found.start() for found in DIGITS.finditer(file)] or [0]
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind = rng.random()
        if kind < 0.2:  # a number in VMCOREINFO, or a letter of the log
            data[rng.choice(digits)] = rng.choice(b"0123456789abcdef-x")
            continue
        at = rng.randrange(min(rng.choice((128, 512, 4400, 8300, 1 << 32)), len(data)))
        size = min(rng.choice((1, 1, 2, 4, 8)), len(data) - at)
        data[at : at + size] = bytes(rng.choice(EXTREMES) for _ in range(size))
    if rng.random() < 0.1:
        del data[rng.randrange(len(data)) :]
    return data


def logs(files: tuple[bytes, ...], count: int) -> Iterator[bytes | None]:
    """Read ``count`` damaged dumps; yields each log, or None where it ended in a refusal."""
    rng = random.Random(len(files[0]))
    memory = Memory()
    for number in range(count):
        broken = number % len(files)
        readers = [
            Bytes(damaged(file, rng) if index == broken else file)
            for index, file in enumerate(files)
        ]
        memory.start()
        started = time.process_time()
        log: bytes | None = None
        failure: VmcoreError | None = None
        try:
            log = b"".join(dmesg(open_core(*readers)))
        except VmcoreError as error:
            failure = error
        assert failure is None or (2 < failure.exit_code < 70 and failure.message.isprintable())
        assert time.process_time() - started < SLOW
        assert memory.peak() < MEMORY
        yield log


def check(name: str, count: int) -> None:
    whole = b"".join(dmesg(open_core(*map(Bytes, DUMPS[name]))))
    found = list(logs(DUMPS[name], count))
    assert whole in found
    assert None in found


@pytest.mark.parametrize("name", DUMPS)
def test_damaged_dumps(name: str) -> None:
    check(name, 100)


@pytest.mark.full
@pytest.mark.parametrize("name", DUMPS)
def test_many_damaged_dumps(name: str) -> None:
    check(name, 3000)
