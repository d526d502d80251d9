"""Device trees: what is built is parsed again, and broken bytes are refused in one way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykexec.boot.tree.chosen import ChosenInput, prepare_tree
from pykexec.errors import ImageError
from pykexec.formats.device_tree import (
    DeviceTree,
    Node,
    build_device_tree,
    parse_device_tree,
)
from pykexec.values.ranges import Range
from tests.builders.device_trees import Spec, board, build_blob, read_blob, wide
from tests.builders.fdt_trees import flatten

PRINTABLE = st.characters(min_codepoint=0x20, max_codepoint=0x7E)
PROPERTY_NAMES = st.one_of(
    st.sampled_from(["reg", "x-reg", "a,b", "#c?", "a_with_references", "/"]),
    st.text(PRINTABLE, min_size=1, max_size=12),
)
NODE_NAMES = st.text(st.characters(min_codepoint=0x30, max_codepoint=0x7E), min_size=1, max_size=12)
VALUES = st.one_of(
    st.binary(max_size=24),
    st.sampled_from([b"", b"\0", b"a\0\0b\0", b"ok\0", b"\xff\0", b"\r\n\0"]),
)
PROPERTIES = st.lists(st.tuples(PROPERTY_NAMES, VALUES), max_size=5).map(tuple)
NODES = st.recursive(
    st.builds(Node, NODE_NAMES, PROPERTIES),
    lambda inner: st.builds(Node, NODE_NAMES, PROPERTIES, st.lists(inner, max_size=4).map(tuple)),
    max_leaves=12,
)
ADDRESSES = st.integers(0, (1 << 64) - 1)
RANGES = st.builds(lambda a, b: Range(min(a, b), max(a, b)), ADDRESSES, ADDRESSES)
# One of no bytes ends the list, as for the kernel.
RESERVATIONS = st.lists(RANGES.filter(lambda r: r.size > 0), max_size=4).map(tuple)
TREES = st.builds(
    DeviceTree,
    NODES.map(lambda node: replace(node, name="")),
    RESERVATIONS,
    st.integers(0, 0xFFFFFFFF),
)


@given(TREES)
def test_a_tree_survives(tree: DeviceTree) -> None:
    assert parse_device_tree(build_device_tree(tree)) == tree


@given(TREES)
def test_two_writers_write_the_same_bytes(tree: DeviceTree) -> None:
    assert build_device_tree(tree) == flatten(tree)


@given(TREES)
def test_two_readers_agree_on_reservations(tree: DeviceTree) -> None:
    blob = build_device_tree(tree)
    assert read_blob(blob).reservations == tuple((r.start, r.size) for r in tree.reservations)


WHOLE = build_blob(
    board({"bootargs": "ro", "kaslr-seed": wide(0)}, Spec("a", {"b": b"\xff"})), [(1, 2)]
)


@given(st.integers(0, len(WHOLE)), st.binary(min_size=1, max_size=8))
def test_damage_is_an_image_error_or_a_tree(at: int, damage: bytes) -> None:
    blob = (WHOLE[:at] + damage + WHOLE[at + len(damage) :])[: len(WHOLE)]
    try:
        tree = parse_device_tree(blob)
    except ImageError:
        return
    assert parse_device_tree(build_device_tree(tree)) == tree


@given(st.integers(0, len(WHOLE) - 1))
def test_a_truncated_tree_is_refused(length: int) -> None:
    with pytest.raises(ImageError):
        parse_device_tree(WHOLE[:length])


@given(
    st.binary(max_size=40).map(lambda text: text.replace(b"\0", b"0")),
    st.none() | RANGES,
    st.none() | RANGES,
    st.lists(RANGES, max_size=2).map(tuple),
    st.none() | RANGES,
    RESERVATIONS,
)
def test_what_is_wished_is_told(
    cmdline: bytes,
    initrd: Range | None,
    core: Range | None,
    usable: tuple[Range, ...],
    ima: Range | None,
    reservations: tuple[Range, ...],
) -> None:
    """Also: a second jump adds nothing."""
    source = build_blob(board({"bootargs": "old"}), [(r.start, r.size) for r in reservations])
    wish = ChosenInput(cmdline, initrd, bytes(8), b"seed", core, usable, ima)
    blob = prepare_tree(source, wish)[0]
    chosen = read_blob(blob).properties["/chosen"]
    assert chosen["bootargs"] == cmdline + b"\0"
    assert chosen.get("linux,initrd-start") == (wide(initrd.start) if initrd else None)
    assert chosen.get("linux,elfcorehdr") == (wide(core.start, core.size) if core else None)
    assert chosen.get("linux,usable-memory-range", b"") == b"".join(
        wide(item.start, item.size) for item in usable
    )
    assert chosen.get("linux,ima-kexec-buffer") == (wide(ima.start, ima.size) if ima else None)
    again = read_blob(prepare_tree(blob, wish)[0])
    assert again.properties == read_blob(blob).properties
    # Fewer, where firmware's lies exactly under a buffer of ours; never more.
    assert set(again.reservations) <= set(read_blob(blob).reservations)
