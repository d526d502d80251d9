"""arm64's translation tables of every form, among them those that no emulator here translates by.

tables.c is compiled for this machine; its tables lie in memory of the test and are walked as a
processor would (:mod:`tests.purgatory.translation_aarch64`).
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.needs import unavailable
from tests.purgatory.translation_aarch64 import (
    GRANULES,
    INNER_SHAREABLE,
    NORMAL_WRITE_BACK,
    Granule,
    Mapped,
    Translation,
    joined,
)
from tests.toolchain import MISSING, find_toolchain

ROOT = Path(__file__).resolve().parents[2]
POOL_SIZE = 1 << 20
MAPPED, NO_TABLE_LEFT, MAPPED_BEFORE = range(3)

READ_ONLY, SHAREABLE, ACCESSED, NEVER = 1 << 7, 3 << 8, 1 << 10, 3 << 53
TCR_WALKS, EPD1, DS = 0x3500, 1 << 23, 1 << 59
IPS_48, IPS_52 = 5, 6


class Tables(ctypes.Structure):
    """struct tables."""

    _fields_ = (
        ("page_bits", ctypes.c_uint32),
        ("address_bits", ctypes.c_uint32),
        ("wide", ctypes.c_bool),
        ("root", ctypes.c_uint64),
        ("next", ctypes.c_uint64),
        ("end", ctypes.c_uint64),
    )


@dataclass
class Builder:
    """Tables in a pool of this process: their addresses are this process's."""

    library: ctypes.CDLL
    granule: Granule
    address_bits: int
    wide: bool
    size: int = POOL_SIZE
    """Bytes of the pool, which begins 8 bytes behind the start of a page of any size."""

    def __post_init__(self) -> None:
        """Start with an empty table."""
        length = self.size + (128 << 10)
        self.pool = ctypes.create_string_buffer(b"\xff" * length, length)
        start = (ctypes.addressof(self.pool) | (64 << 10) - 1) + 1 + 8
        self.tables = Tables(self.granule.bits, self.address_bits, self.wide)
        self.started = bool(
            self.library.tables_start(
                ctypes.byref(self.tables),
                ctypes.c_uint64(start),
                ctypes.c_uint64(start + self.size),
            )
        )

    def map(self, start: int, end: int) -> int:
        """Map memory that is only read, and tell how that went."""
        attributes = READ_ONLY | ACCESSED | NEVER | (0 if self.wide else SHAREABLE)
        words = [ctypes.c_uint64(item) for item in (start, end, attributes)]
        return int(self.library.tables_map(ctypes.byref(self.tables), *words))

    def walked(self) -> list[Mapped]:
        """Return what a processor finds."""
        offset = 64 - self.address_bits
        size = IPS_52 if self.address_bits > 48 else IPS_48
        tcr = offset | TCR_WALKS | self.granule.tg0 << 14 | offset << 16 | EPD1
        tcr |= self.granule.tg1 << 30 | size << 32 | (DS if self.wide else 0)
        return Translation(
            has_el0=True,
            tcr=tcr,
            ttbr0=self.tables.root,
            mair=NORMAL_WRITE_BACK,
            read=ctypes.string_at,
        ).mapped()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """Return tables.c as a library of this machine."""
    toolchain = find_toolchain()
    if toolchain is None:
        unavailable(MISSING, "CLANG")
    path = tmp_path_factory.mktemp("tables") / "tables.so"
    flags = [
        "-std=c17",
        "-O1",
        "-fPIC",
        "-shared",
        "-nostdlib",
        f"--ld-path={shutil.which(toolchain[1])}",
    ]
    source = ROOT / "purgatory" / "arch" / "aarch64" / "tables.c"
    subprocess.run([toolchain[0], *flags, str(source), "-o", str(path)], check=True)
    loaded = ctypes.CDLL(str(path))
    loaded.tables_start.restype = ctypes.c_bool
    return loaded


def memory(start: int, end: int) -> Mapped:
    return Mapped(start, end, NORMAL_WRITE_BACK, INNER_SHAREABLE, writable=False, executable=False)


FORMS = [
    *((granule, bits, False) for granule in GRANULES for bits in (32, 36, 42, 48)),
    *((GRANULES[0], bits, True) for bits in (49, 52)),
    *((GRANULES[1], bits, True) for bits in (49, 52)),
    *((GRANULES[2], bits, False) for bits in (49, 52)),
]

each_form = pytest.mark.parametrize(
    ("granule", "bits", "wide"),
    [
        pytest.param(*form, id=f"{(1 << form[0].bits) >> 10}K-{form[1]}{'-DS' if form[2] else ''}")
        for form in FORMS
    ],
)


@each_form
def test_the_ends_of_all_addresses(
    library: ctypes.CDLL, granule: Granule, bits: int, wide: bool
) -> None:
    page = 1 << granule.bits
    builder = Builder(library, granule, bits, wide)
    assert builder.started
    pieces = [
        (0, page),
        (1 << bits - 1, (1 << bits - 1) + 3 * page),
        ((1 << bits) - page, 1 << bits),
    ]
    assert [builder.map(*piece) for piece in pieces] == [MAPPED] * 3
    assert builder.walked() == [memory(*piece) for piece in pieces]


@each_form
@given(data=st.data())
@settings(max_examples=3, deadline=None)
def test_any_pieces(
    library: ctypes.CDLL, granule: Granule, bits: int, wide: bool, data: st.DataObject
) -> None:
    """By pages, and by blocks where there is a whole one."""
    page, block = 1 << granule.bits, 1 << 2 * granule.bits - 3

    def edges(most: int) -> st.SearchStrategy[int]:
        return st.builds(
            lambda blocks, pages: blocks * block + pages * page,
            st.integers(0, most // block - 4),
            st.integers(0, 3) | st.integers(0, block // page - 1),
        )

    first = data.draw(edges(1 << bits - 1))
    second = data.draw(edges(1 << bits - 1)) + (1 << bits - 1)
    sizes = data.draw(st.tuples(edges(6 * block), edges(6 * block)))
    pieces = [
        (start, min(start + size + page, end))
        for start, size, end in zip((first, second), sizes, (1 << bits - 1, 1 << bits), strict=True)
    ]
    builder = Builder(library, granule, bits, wide)
    assert [builder.map(*piece) for piece in pieces] == [MAPPED] * 2
    assert builder.walked() == joined(memory(*piece) for piece in pieces)


@each_form
def test_nothing_is_mapped_twice(
    library: ctypes.CDLL, granule: Granule, bits: int, wide: bool
) -> None:
    page, block = 1 << granule.bits, 1 << 2 * granule.bits - 3
    builder = Builder(library, granule, bits, wide)
    assert builder.map(block, 2 * block) == MAPPED
    assert builder.map(2 * block + page, 2 * block + 2 * page) == MAPPED
    assert builder.map(block + page, block + 2 * page) == MAPPED_BEFORE
    assert builder.map(block, 2 * block) == MAPPED_BEFORE
    assert builder.map(2 * block + page, 2 * block + 2 * page) == MAPPED_BEFORE
    assert builder.map(2 * block, 3 * block) == MAPPED_BEFORE


@pytest.mark.parametrize("granule", GRANULES, ids=lambda item: f"{(1 << item.bits) >> 10}K")
def test_tables_end(library: ctypes.CDLL, granule: Granule) -> None:
    """What lies in front of the first whole page is no table, nor what is behind the last."""
    page = 1 << granule.bits
    assert not Builder(library, granule, 32, wide=False, size=2 * page - 9).started
    assert Builder(library, granule, 32, wide=False, size=2 * page - 8).started
    builder = Builder(library, granule, 32, wide=False, size=4 * page)
    blocks = [index << 2 * granule.bits - 3 for index in range(4)]
    results = [builder.map(start, start + page) for start in blocks]
    # Three tables, of which the last level gets those that are left by the levels above it.
    room = 1 if granule.bits == 12 else 2
    assert results == [MAPPED] * room + [NO_TABLE_LEFT] * (4 - room)
