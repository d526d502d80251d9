"""The flash image, read back by what the format says."""

from __future__ import annotations

import struct
from functools import reduce
from operator import xor
from pathlib import Path

from tests.vm.pnor import SIZE, write_pnor


def words(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(data) // 4}I", data)


def test_table_of_the_flash(tmp_path: Path) -> None:
    write_pnor(tmp_path / "pnor")
    image = (tmp_path / "pnor").read_bytes()
    assert len(image) == SIZE
    header = image[:48]
    assert header[:4] == b"PART"
    assert reduce(xor, words(header)) == 0
    _, _, _, entry_size, count, block, blocks = words(header)[:7]
    assert block * blocks == SIZE
    found = {}
    for at in range(48, 48 + count * entry_size, entry_size):
        entry = image[at : at + entry_size]
        assert reduce(xor, words(entry)) == 0
        base, size = words(entry[16:24])
        found[entry[:16].rstrip(b"\0").decode()] = (base * block, size * block)
    assert found["part"] == (0, block)
    start, size = found["NVRAM"]
    assert image[start : start + size] == bytes(size)
