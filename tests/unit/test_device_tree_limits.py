"""Device trees that are made to cost time or memory, and what ends a reservation block."""

from __future__ import annotations

import struct
import time

import pytest

from pykexec.errors import ImageError
from pykexec.formats.device_tree import DeviceTree, Node, build_device_tree, parse_device_tree
from pykexec.values.ranges import Range

BEGIN, END, PROPERTY = (word.to_bytes(4, "big") for word in (1, 2, 3))


def tree(inside: bytes, strings: bytes = b"reg\0", reservations: bytes = b"") -> bytes:
    """Build a blob around what is in the root node."""
    structure = BEGIN + bytes(4) + inside + END + struct.pack(">I", 9)
    start = 40 + len(reservations) + 16
    return (
        struct.pack(
            ">10I", 0xD00DFEED, start + len(structure) + len(strings), start,
            start + len(structure), 40, 17, 16, 0, len(strings), len(structure),
        ) + reservations + bytes(16) + structure + strings
    )  # fmt: skip


def properties(names: list[int]) -> bytes:
    return b"".join(PROPERTY + struct.pack(">II", 0, name) for name in names)


HOSTILE = {
    "ends of one string": tree(properties(list(range(60_000))), b"a" * 60_000 + b"\0"),
    "siblings": tree(b"".join(BEGIN + b"%07x\0" % n + END for n in range(100_000))),
    "properties": tree(properties([0] * 200_000)),
    "names": tree(
        properties([9 * n for n in range(60_000)]), b"".join(b"p%07x\0" % n for n in range(60_000))
    ),
    "a long name": tree(BEGIN + b"n" * 1000 + bytes(4) + END),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_machine_has_is_refused_soon(name: str) -> None:
    started = time.process_time()
    with pytest.raises(ImageError, match=r"has more than \d+"):
        parse_device_tree(HOSTILE[name])
    assert time.process_time() - started < 2


def test_as_many_names_as_are_taken_are_written_soon() -> None:
    """Each is looked for as the end of all before it."""
    names = tuple((f"p{number:07x}".ljust(255, "x"), b"") for number in range(1 << 13))
    started = time.process_time()
    assert parse_device_tree(build_device_tree(DeviceTree(Node("", names)))).root.properties
    assert time.process_time() - started < 4


def test_names_longer_than_the_specification_has_them_are_taken() -> None:
    name = "rockchip,system-power-controller"
    found = parse_device_tree(tree(properties([0]), name.encode() + b"\0"))
    assert found.root.get(name) == b""


def test_a_reservation_without_a_size_ends_the_list() -> None:
    entries = struct.pack(">6Q", 0x1000, 0x2000, 0x5000, 0, 0x8000, 0x1000)
    assert parse_device_tree(tree(b"", reservations=entries)).reservations == (
        Range.sized(0x1000, 0x2000),
    )
