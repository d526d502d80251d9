"""Damaged structures of firmware-assisted dumps: each is a value or a refusal of ours.

Two hundred of each by default; with ``full`` ten thousand.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import pytest

from pykexec.crash.fadump.dump import Image, dump_of_sections, dumps_in
from pykexec.crash.fadump.header import parse_crash_info
from pykexec.crash.fadump.opal import parse_metadata, parse_mpipl
from pykexec.crash.fadump.registers import parse_opal_threads, parse_register_area
from pykexec.crash.fadump.sections import parse_kernel_dump
from pykexec.errors import ImageError
from tests.builders import fadump
from tests.property.test_mutations import MEMORY, Memory

EXTREMES = (0, 1, 7, 8, 0x7F, 0x80, 0xFE, 0xFF)
OLD = fadump.old_header() + b"\x7fELF" + bytes(64)
KINDS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "old": (OLD, parse_crash_info),
    "old, by its address": (OLD, partial(parse_crash_info, address=fadump.OLD_HEADER_AT)),
    "old, big-endian": (fadump.old_header(">") + b"\x7fELF" + bytes(64), parse_crash_info),
    "new": (fadump.new_header(), parse_crash_info),
    "new, big-endian": (fadump.new_header(">"), parse_crash_info),
    "of the mailing list": (fadump.unmerged_header(), parse_crash_info),
    "ibm,kernel-dump": (fadump.kernel_dump(), parse_kernel_dump),
    "ibm,kernel-dump, with memory": (
        fadump.kernel_dump(),
        partial(dump_of_sections, Image(fadump.register_area(), base=0x14000000)),
    ),
    "registers": (fadump.register_area(), parse_register_area),
    "threads": (
        fadump.opal_thread(1) + fadump.opal_thread(2),
        partial(parse_opal_threads, thread_size=0x400),
    ),
    "metadata": (fadump.opal_metadata(count=3), parse_metadata),
    "metadata, little-endian": (fadump.opal_metadata("<", count=3), parse_metadata),
    "mpipl": (fadump.mpipl(), parse_mpipl),
    "an image": (
        bytes(64) + fadump.new_header() + fadump.opal_metadata(header=64) + bytes(64),
        dumps_in,
    ),
}


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return ``data`` with a few bytes changed, most of them near its beginning, or cut."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(min(rng.choice((0x20, 0x40, 0xC8, 1 << 20)), len(changed)))
        size = min(rng.choice((1, 1, 2, 4, 8)), len(changed) - at)
        changed[at : at + size] = bytes(rng.choice(EXTREMES) for _ in range(size))
    if rng.random() < 0.2:
        del changed[rng.randrange(len(changed)) :]
    return bytes(changed)


def end_of(parse: Callable[[bytes], object], data: bytes) -> str:
    """Say how the reading of ``data`` ends; anything but our own error gets through."""
    try:
        parse(data)
    except ImageError as error:
        return "refusal" if error.message.isprintable() else error.message
    return "value"


def check(name: str, count: int) -> None:
    data, parse = KINDS[name]
    rng = random.Random(name)
    memory = Memory()
    ends = set()
    memory.start()
    for _ in range(count):
        ends.add(end_of(parse, damaged(data, rng)))
    assert memory.peak() < MEMORY
    assert ends <= {"value", "refusal"}
    assert ends == {"refusal"} if name == "of the mailing list" else "value" in ends


@pytest.mark.parametrize("name", KINDS)
def test_damaged_structures(name: str) -> None:
    check(name, 200)


@pytest.mark.full
@pytest.mark.parametrize("name", KINDS)
def test_many_damaged_structures(name: str) -> None:
    check(name, 10_000)
