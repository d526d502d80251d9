"""Flattened device trees: what is read, what is refused and where, what is written."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pykexec.errors import ImageError
from pykexec.formats import device_tree
from pykexec.formats.device_tree import (
    DeviceTree,
    Node,
    build_device_tree,
    parse_device_tree,
)
from pykexec.values.ranges import Range
from tests.builders.device_trees import (
    BEGIN_NODE,
    END,
    END_NODE,
    NOP,
    PROP,
    Spec,
    board,
    build_blob,
    cells,
    read_blob,
)
from tests.builders.fdt_trees import flatten
from tests.needs import unavailable

EMPTY_NAME = bytes(4)
ROOT = cells(BEGIN_NODE) + EMPTY_NAME


def test_values_are_the_bytes_that_they_were() -> None:
    values: dict[str, Any] = {
        "empty": b"",
        "zero": b"\0",
        "strings": b"a\0\0b\0",
        "bytes": b"\xff\x80z",
        "word": b"abc\0",
        "name,with#odd?chars": b"\n",
    }
    root = parse_device_tree(build_blob(Spec("", values))).root
    assert root == Node("", tuple(values.items()))


def test_nodes_keep_their_order_and_their_children() -> None:
    inner = Spec("inner@1,f00", {"reg": [1]})
    tree = parse_device_tree(build_blob(Spec("", {}, (Spec("b", {}, (inner,)), Spec("a")))))
    assert [node.name for node in tree.root.children] == ["b", "a"]
    assert tree.root.children[0].children == (Node("inner@1,f00", (("reg", cells(1)),)),)


def test_a_running_kernels_tree_has_holes() -> None:
    """The kernel writes FDT_NOP over rng-seed, over what it must not pass on."""
    blob = build_blob(Spec("", {}, (Spec("chosen", {"bootargs": "ro"}, nops=5),)))
    chosen = parse_device_tree(blob).root.child("chosen")
    assert chosen == Node("chosen", (("bootargs", b"ro\0"),))


def test_reservations_do_not_leak_from_tree_to_tree() -> None:
    blob = build_blob(Spec(), [(0x1000, 0x2000), (0, 0x1000), (0x5000, 0), (0x9000, 1)])
    expected = (Range(0x1000, 0x3000), Range(0, 0x1000))
    for _ in range(2):
        tree = parse_device_tree(blob)
        assert tree.reservations == expected
        assert parse_device_tree(build_device_tree(tree)) == tree
    assert parse_device_tree(build_device_tree(DeviceTree(Node("")))).reservations == ()


def test_the_header_is_read_and_written() -> None:
    tree = parse_device_tree(build_blob(board({}), boot_cpuid=7))
    assert tree.boot_cpuid == 7
    blob = build_device_tree(tree)
    # off_mem_rsvmap, version, last_comp_version, boot_cpuid_phys
    assert blob[16:32] == cells(40, 17, 16, 7)


def test_what_follows_the_tree_is_ignored() -> None:
    blob = build_blob(board({}))
    assert parse_device_tree(blob + b"more") == parse_device_tree(blob)


def test_version_17_may_be_the_oldest_that_can_read_it() -> None:
    blob = build_blob(board({}), [(1 << 63, 1 << 63)], last_comp_version=17)
    assert parse_device_tree(blob).reservations == (Range(1 << 63, 1 << 64),)


def test_version_16_has_no_size_of_the_structure() -> None:
    blob = build_blob(board({}), version=16, size_dt_struct=0)
    assert parse_device_tree(blob) == parse_device_tree(build_blob(board({})))


def test_a_name_that_a_longer_one_ends_in_is_written_once() -> None:
    root = Node("", (("a,reg", b"1"), ("reg", b"2"), ("a,reg", b"3")))
    blob = build_device_tree(DeviceTree(root))
    assert blob.endswith(cells(END) + b"a,reg\0")
    assert parse_device_tree(blob).root == root


MACHINES = Path(__file__).parents[1] / "data/machines"


@pytest.mark.parametrize("blob", sorted(MACHINES.glob("*/sys/firmware/fdt")), ids=str)
def test_machines_trees_are_written_as_by_the_package(blob: Path) -> None:
    tree = parse_device_tree(blob.read_bytes())
    assert build_device_tree(tree) == flatten(tree)


def test_names_with_the_packages_own_marks_are_written() -> None:
    root = Node("", (("x_with_references", b"1"), ("_with_references", b"")))
    assert parse_device_tree(build_device_tree(DeviceTree(root))).root == root


def test_the_first_of_two_counts_and_both_are_kept() -> None:
    root = Node("", (("a", b"1"), ("a", b"2")), (Node("n", (("x", b""),)), Node("n")))
    tree = DeviceTree(root)
    assert parse_device_tree(build_device_tree(tree)) == tree
    assert root.get("a") == b"1"
    assert root.child("n") == Node("n", (("x", b""),))
    assert root.with_property("a", b"3") == Node("", (("a", b"3"),), root.children)
    assert root.with_child(Node("n")).children == (Node("n"), Node("n"))


def test_editing_keeps_places() -> None:
    x, y, z = (Node(name) for name in "xyz")
    root = Node("", (("a", b"1"), ("b", b"2"), ("c", b"3")), (x, y, z))
    assert root.with_property("b", b"").properties == (("a", b"1"), ("b", b""), ("c", b"3"))
    assert root.with_property("d", b"").properties == (*root.properties, ("d", b""))
    assert root.without("a".__eq__).properties == (("b", b"2"), ("c", b"3"))
    new = Node("y", (("p", b""),))
    assert root.with_child(new).children == (x, new, z)
    assert root.with_child(Node("w")).children == (x, y, z, Node("w"))


def structure_blob(tokens: bytes, strings: bytes = b"p\0") -> bytes:
    return build_blob(Spec(), structure=tokens, strings=strings)


def nested(levels: int) -> bytes:
    inner = (cells(BEGIN_NODE) + b"n\0\0\0") * levels + cells(END_NODE) * levels
    return structure_blob(ROOT + inner + cells(END_NODE, END))


def prop(size: int, name: int, value: bytes = b"") -> bytes:
    return ROOT + cells(PROP, size, name) + value


MALFORMED = [
    (b"/dts-v1/;", r"magic 0x2f647473 at offset 0, not 0xd00dfeed", 0),
    (b"", r"40 bytes needed \(totalsize\), 0 found", 0),
    (b"\xd0\x0d\xfe\xed" + bytes(35), r"40 bytes needed \(totalsize\), 39 found", 39),
    (build_blob(Spec(), totalsize=39), r"totalsize 39 is less than its header's 40", 4),
    (build_blob(Spec(), totalsize=1000), r"1000 bytes needed \(totalsize\), 72 found", 72),
    (build_blob(Spec(), version=3, last_comp_version=2), r"version 3, readable by 2", 20),
    (build_blob(Spec(), version=18, last_comp_version=18), r"version 18, readable by 18", 20),
    (build_blob(Spec(), size_dt_struct=4096), r"the structure block ends at 0x1038", 72),
    (build_blob(Spec(), size_dt_strings=4096), r"the strings block ends at 0x1048", 72),
    (build_blob(Spec(), off_dt_struct=1 << 31), r"the structure block ends at 0x80000010", 72),
    (build_blob(Spec(), [(1, 1)], terminated=False), r"reservation block has no end", 72),
    (build_blob(Spec(), off_mem_rsvmap=1 << 31), r"reservation block has no end", 1 << 31),
    (build_blob(Spec(), [(1 << 63, 1 << 63 | 1)]), r"0x8000000000000001 bytes at 0x80000", 40),
    (structure_blob(b""), r"token of 4 bytes, where 0 are left", 56),
    (structure_blob(cells(END)), r"the tree ends inside a node", 56),
    (structure_blob(cells(END_NODE)), r"token 0x2 before the root node", 56),
    (structure_blob(ROOT + cells(END)), r"the tree ends inside a node", 64),
    (structure_blob(ROOT + cells(7)), r"unknown token 0x7 at offset 0x40", 64),
    (structure_blob(ROOT + cells(END_NODE) + ROOT), r"token 0x1 behind the root node", 68),
    (structure_blob(ROOT + cells(BEGIN_NODE) + b"open"), r"a node's name without an end", 68),
    (structure_blob(ROOT + cells(BEGIN_NODE, 0)), r"'' cannot be the name of a node", 68),
    (
        structure_blob(ROOT + cells(BEGIN_NODE) + b"a/b\0"),
        r"'a/b' cannot be the name of a node",
        68,
    ),
    (structure_blob(ROOT + cells(BEGIN_NODE) + b"\xc3\xa4\0\0"), r"cannot be the name of", 68),
    (structure_blob(prop(1, 0, b"abcd"), b"\xff\0"), r"cannot be the name of a property", 80),
    (structure_blob(prop(1, 0, b"abcd"), b"\0"), r"'' cannot be the name of a property", 80),
    (structure_blob(prop(0, 2)), r"no property name at 0x2 in the strings block of 2 bytes", 78),
    (structure_blob(prop(0, 1 << 31)), r"no property name at 0x80000000", None),
    (structure_blob(prop(0, 0), b"open"), r"no property name at 0x0", 76),
    (structure_blob(prop(9, 0, bytes(8))), r"property 'p' of 9 bytes, where 8 are left", 76),
    (structure_blob(ROOT + cells(PROP)), r"a property's length of 4 bytes, where 0", 68),
    (
        structure_blob(ROOT + ROOT[:4] + b"n\0\0\0" + cells(END_NODE, PROP, 0, 0)),
        r"a property behind a child node at offset 0x4c",
        76,
    ),
    (nested(64), r"more than 64 levels of nodes", None),
]


@pytest.mark.parametrize(("blob", "message", "offset"), MALFORMED)
def test_malformed_trees_are_refused_with_the_place(
    blob: bytes, message: str, offset: int | None
) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        parse_device_tree(blob)
    if offset is not None:
        assert caught.value.offset == offset


def test_the_deepest_tree_passes_both_ways() -> None:
    tree = parse_device_tree(nested(63))
    assert parse_device_tree(build_device_tree(tree)) == tree


PLAIN = tuple((f"p{number}", b"") for number in range((1 << 13) + 1))


@pytest.mark.parametrize(
    ("root", "message"),
    [
        (Node("", (), (Node(""),)), "'' cannot be the name of a node"),
        (Node("", (("ä", b""),)), "'ä' cannot be the name of a property"),
        (Node("", (("p" * 256, b""),)), "the name of a property has more than 255 characters"),
        (Node("", (), (Node("n" * 256),)), "the name of a node has more than 255 characters"),
        (Node("", (), (Node("n"),) * (1 << 15)), "more than 32768 nodes"),
        (Node("", (("p", b""),) * ((1 << 17) + 1)), "more than 131072 properties"),
        (Node("", PLAIN), "more than 8192 names of properties"),
    ],
)
def test_what_no_blob_can_hold_is_not_written(root: Node, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        build_device_tree(DeviceTree(root))


def test_more_than_offsets_reach_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_tree, "_STRUCTURE_MAX", 100)
    root = Node("", (("p", bytes(60)), ("p", bytes(60))))
    with pytest.raises(ImageError, match="more than 100 bytes"):
        build_device_tree(DeviceTree(root))


def test_too_many_levels_are_not_written() -> None:
    node = Node("n")
    for _ in range(64):
        node = Node("n", (), (node,))
    with pytest.raises(ImageError, match="more than 64 levels"):
        build_device_tree(DeviceTree(node))


def test_nops_may_stand_anywhere() -> None:
    tokens = (
        cells(NOP) + ROOT + cells(NOP, PROP, 1, 0) + b"x\0\0\0" + cells(NOP, END_NODE, NOP, END)
    )
    assert parse_device_tree(structure_blob(tokens)).root == Node("", (("p", b"x"),))


SOURCE = rb"""/dts-v1/;
/memreserve/ 0x1000 0x2000;
/memreserve/ 0x80000000 0x1;
/ {
    #address-cells = <1>; empty; odd = [ff 00 61]; two = "a", "b";
    none = ""; text = "\xe4"; mixed = "a", <1>;
    node@1,0 { reg = <1>; phandle = <1>; deeper { link = <&{/node@1,0}>; }; };
    vendor,thing { };
};
"""


def test_a_compilers_tree_passes_unchanged() -> None:
    """With dtc, whose reading and writing share nothing with ours."""
    if shutil.which("dtc") is None:
        unavailable("there is no dtc here (Debian package device-tree-compiler)")

    def dtc(data: bytes, given: str, wanted: str) -> bytes:
        command = ["dtc", "-q", "-I", given, "-O", wanted, "-b", "3"]
        return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout

    blob = dtc(SOURCE, "dts", "dtb")
    rebuilt = build_device_tree(parse_device_tree(blob))
    assert dtc(rebuilt, "dtb", "dts") == dtc(blob, "dtb", "dts")
    assert read_blob(rebuilt) == read_blob(blob)
    assert parse_device_tree(rebuilt).boot_cpuid == 3
