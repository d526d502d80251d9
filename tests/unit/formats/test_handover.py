"""What kexec handover shows in debugfs, read back."""

from __future__ import annotations

import struct

import pytest

from pykexec.errors import ImageError
from pykexec.formats.handover import (
    HandoverTree,
    Orchestrator,
    Predecessor,
    Registered,
    known_layouts,
    parse_handover_tree,
    parse_metadata,
    parse_orchestrator,
    parse_scratch,
)
from pykexec.values.ranges import Range
from tests.builders.device_trees import Spec, build_blob


def number(value: int) -> bytes:
    return struct.pack("=Q", value)


def tree(compatible: str = "kho-v4", **nodes: dict[str, bytes | str]) -> bytes:
    children = tuple(Spec(name, item) for name, item in nodes.items())
    properties: dict[str, bytes | str] = {"compatible": compatible}
    return build_blob(Spec("", {**properties, "preserved-memory-map": number(0x5000)}, children))


def test_a_tree_names_what_is_handed_over() -> None:
    place: dict[str, bytes | str] = {
        "preserved-data": number(0x1_2345_6000),
        "blob-size": number(32),
    }
    assert parse_handover_tree(tree(LUO=place)) == HandoverTree(
        "kho-v4", 0x5000, (Registered("LUO", Range.sized(0x1_2345_6000, 32)),)
    )


def test_nothing_is_handed_over_yet() -> None:
    blob = build_blob(Spec("", {"compatible": "kho-v2"}))
    assert parse_handover_tree(blob) == HandoverTree("kho-v2", 0, ())


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (tree("linux,dummy-virt"), "it calls itself 'linux,dummy-virt'"),
        (tree(LUO={"preserved-data": number(1)}), "no place is given for 'LUO'"),
        (
            tree(LUO={"preserved-data": b"1", "blob-size": number(1)}),
            "no place is given for 'LUO'",
        ),
        (
            tree(LUO={"preserved-data": number((1 << 64) - 8), "blob-size": number(9)}),
            "no place is given for 'LUO'",
        ),
    ],
)
def test_what_is_no_such_tree(blob: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        parse_handover_tree(blob)


def test_the_orchestrator() -> None:
    data = struct.pack("=8sQQQ", b"luo-v5", 2, 0, 0)
    assert parse_orchestrator(data) == Orchestrator("luo-v5", 2)
    with pytest.raises(ImageError, match="it calls itself 'noise'"):
        parse_orchestrator(struct.pack("=8sQQQ", b"noise", 2, 0, 0))
    with pytest.raises(ImageError, match="orchestrator is too short: 31 bytes, of 32"):
        parse_orchestrator(data[:-1])


def test_the_kernel_before() -> None:
    data = struct.pack("=I65sI", 1, b"7.2.13", 3)
    assert parse_metadata(data) == Predecessor("7.2.13", 3)
    with pytest.raises(ImageError, match="of version 2, not 1"):
        parse_metadata(struct.pack("=I65sI", 2, b"7.2.13", 3))
    with pytest.raises(ImageError, match="of the kernels before is too short: 4 bytes"):
        parse_metadata(data[:4])


def test_scratch_areas() -> None:
    found = parse_scratch("0x1000000\n0x40000000\n", "0x400000\n0x800000\n")
    assert found == (Range(0x1000000, 0x1400000), Range(0x40000000, 0x40800000))
    assert parse_scratch("", "") == ()


@pytest.mark.parametrize(("addresses", "sizes"), [("0x1", ""), ("x", "0x1"), ("0x1", "-0x1")])
def test_scratch_areas_that_are_none(addresses: str, sizes: str) -> None:
    with pytest.raises(ImageError, match="scratch areas cannot be read"):
        parse_scratch(addresses, sizes)


def test_a_kernel_knows_its_layouts_by_name() -> None:
    strings = b"\0Kexec\0kho-v4\0LUO\0luo-v5\0memfd-v2\0kho-v4 is\0xkho-v9\0kho-v\0"
    assert known_layouts(memoryview(strings)) == {"kho-v4", "luo-v5", "memfd-v2"}
    assert known_layouts(b"") == frozenset()
