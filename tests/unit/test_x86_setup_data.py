"""The setup_data list, built and walked."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from pykexec.boot.x86.setup_data import (
    SetupNode,
    SetupType,
    build_efi_memmap,
    build_nodes,
    efi_node,
    nodes_size,
    walk_nodes,
)
from pykexec.values.facts import EfiFacts, EfiMemoryDescriptor
from pykexec.values.ranges import Range

BASE = 0x1_0000_1000

nodes = st.lists(
    st.builds(SetupNode, st.integers(1, 100), st.binary(min_size=1, max_size=80)), max_size=6
)


def reader(data: bytes, base: int = BASE) -> Callable[[Range], bytes | None]:
    def read(where: Range) -> bytes | None:
        inside = Range.sized(base, len(data)).contains(where)
        return data[where.start - base : where.end - base] if inside else None

    return read


@given(nodes)
def test_walking_finds_what_was_built(items: list[SetupNode]) -> None:
    data = build_nodes(items, BASE)
    assert len(data) == nodes_size(items)
    found = walk_nodes(BASE if items else 0, reader(data))
    assert found is not None
    assert [SetupNode(item.type, item.payload) for item in found] == items
    assert all(item.addr % 16 == 0 for item in found)


@given(st.binary(min_size=64, max_size=64), st.integers(BASE, BASE + 80))
def test_walking_nonsense_ends(data: bytes, head: int) -> None:
    walk_nodes(head, reader(data))


def test_a_circle_is_noticed() -> None:
    data = bytearray(build_nodes([SetupNode(1, b"a"), SetupNode(2, b"b")], BASE))
    data[32:40] = BASE.to_bytes(8, "little")
    assert walk_nodes(BASE, reader(bytes(data))) is None


def test_a_node_that_reaches_behind_all_memory_is_noticed() -> None:
    base = (1 << 64) - 4096
    data = bytearray(build_nodes([SetupNode(1, b"a")], base))
    data[12:16] = (4096).to_bytes(4, "little")
    assert walk_nodes(base, reader(bytes(data), base)) is None


def test_efi_needs_its_tables_and_nothing_else() -> None:
    assert efi_node(EfiFacts(fw_vendor=1)) is None
    node = efi_node(EfiFacts(fw_vendor=0x11, config_table=0x22))
    assert node is not None
    assert node.type == SetupType.SETUP_EFI
    words = [int.from_bytes(node.payload[i : i + 8], "little") for i in range(0, 96, 8)]
    assert words == [0x11, 0, 0x22, 0] + [0] * 8


def test_efi_descriptors_have_no_stray_bytes() -> None:
    data = build_efi_memmap([EfiMemoryDescriptor(5, 0x1000, 0xFFFF800000001000, 2, 1 << 63)])
    words = [int.from_bytes(data[i : i + 8], "little") for i in range(0, 40, 8)]
    assert words == [5, 0x1000, 0xFFFF800000001000, 2, 1 << 63]
