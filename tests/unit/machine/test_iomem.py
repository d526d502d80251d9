"""/proc/iomem: nesting, tolerated oddities, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykexec.errors import MachineError
from pykexec.machine.files import MachineFiles
from pykexec.machine.iomem import parse_iomem, read_iomem
from pykexec.values.memory import IomemEntry, MemoryKind, memory_map_from_iomem
from pykexec.values.ranges import Range
from tests.builders.machines import MachineDirectory, format_iomem

NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")) | st.just("\x0b"), max_size=12
).map(str.strip)
RANGES = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)).map(
    lambda pair: Range.inclusive(max(1, min(pair)), max(1, *pair))
)
TREES = st.lists(
    st.recursive(
        st.builds(IomemEntry, RANGES, NAMES),
        lambda children: st.builds(
            IomemEntry, RANGES, NAMES, st.lists(children, max_size=4).map(tuple)
        ),
        max_leaves=30,
    ),
    max_size=6,
).map(tuple)


@given(TREES, st.integers(1, 9))
def test_a_written_tree_is_read_back(tree: tuple[IomemEntry, ...], indent: int) -> None:
    text = format_iomem(tree, indent)
    assert parse_iomem(text) == tree
    assert parse_iomem(text.replace("\n", "\r\n")) == tree


@given(st.text(st.sampled_from("0123456789abcdef- :\nSystem RAM\r\t"), max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        entries = parse_iomem(text)
    except MachineError:
        return
    lines = [line for line in text.split("\n") if line.strip()]
    assert sum(1 for entry in entries for _ in entry.walk()) == len(lines)


def test_more_entries_and_levels_than_any_fixed_table() -> None:
    flat = "".join(f"{n << 12:x}-{(n << 12) + 0xFFF:x} : System RAM\n" for n in range(40000))
    assert len(parse_iomem(flat)) == 40000
    deep = "".join(f"{'  ' * n}0-fff : level {n}\n" for n in range(60))
    entry = parse_iomem(deep)[0]
    for _ in range(59):
        entry = entry.children[0]
    assert (entry.name, entry.children) == ("level 59", ())


def test_indentation_counts_only_against_the_lines_above() -> None:
    text = "0-ff : a\n     0-1 : b\n  2-3 : c\n   2-2 : d\n4-5 : e\n"
    first, second = parse_iomem(text)
    assert [child.name for child in first.children] == ["b", "c"]
    assert [child.name for child in first.children[1].children] == ["d"]
    assert second.name == "e"


def test_a_part_that_starts_indented_is_top_level() -> None:
    assert [entry.name for entry in parse_iomem("  0-1 : a\n  2-3 : b\n")] == ["a", "b"]


@pytest.mark.parametrize("line", ["00000000-00000fff : ", "00000000-00000fff :"])
def test_an_entry_may_have_no_name(line: str) -> None:
    assert parse_iomem(line + "\n") == (IomemEntry(Range(0, 0x1000), ""),)


def test_a_name_may_contain_what_separates_names() -> None:
    assert parse_iomem("0-f : PCI ECAM 0000 [bus 00-00] : x\n")[0].name == (
        "PCI ECAM 0000 [bus 00-00] : x"
    )


@pytest.mark.parametrize("name", ["Reserved", "reserved"])
def test_either_capitalisation_of_reserved_is_reserved(name: str) -> None:
    regions = memory_map_from_iomem(parse_iomem(f"0-fff : {name}\n")).regions
    assert [(item.kind, item.name) for item in regions] == [(MemoryKind.RESERVED, name)]


@pytest.mark.parametrize(
    "line",
    ["garbage", "0-g : x", "0x0-0x1 : x", "1_0-2_0 : x", "0-1: x", "0-1", "0 - 1 : x", "-1 : x"],
)
def test_a_malformed_line_is_named_with_its_number(line: str) -> None:
    with pytest.raises(MachineError, match="line 2") as caught:
        parse_iomem(f"0-1 : a\n{line}\n2-3 : b\n", "/proc/iomem")
    assert caught.value.message == (
        f'/proc/iomem, line 2: "START-END : NAME" is needed, found {line!r}'
    )


def test_an_end_before_the_start_is_refused() -> None:
    with pytest.raises(MachineError, match=r"line 1: the end lies before the start: '2-1 : x'"):
        parse_iomem("2-1 : x\n")


def test_an_address_beyond_64_bits_is_refused() -> None:
    with pytest.raises(MachineError, match="more than 64 bits"):
        parse_iomem("0-10000000000000000 : x\n")


def test_zeros_everywhere_name_the_missing_privilege(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write_iomem("0-0 : System RAM\n  0-0 : Kernel code\n0-0 : x\n")
    with pytest.raises(MachineError, match="CAP_SYS_ADMIN") as caught:
        read_iomem(MachineFiles(tmp_path))
    assert str(tmp_path / "proc/iomem") in caught.value.message
    assert caught.value.hint == ("run as root, or plan for a recorded machine with --machine DIR")


def test_one_zero_entry_among_others_is_legitimate(tmp_path: Path) -> None:
    MachineDirectory(tmp_path).write_iomem(
        "00000000-0009ebff : System RAM\n  00000000-00000000 : Crash kernel\n"
    )
    child = read_iomem(MachineFiles(tmp_path))[0].children[0]
    assert (child.range, child.name) == (Range(0, 1), "Crash kernel")


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_map_is_refused(tmp_path: Path, text: str) -> None:
    MachineDirectory(tmp_path).write_iomem(text)
    with pytest.raises(MachineError, match="is empty"):
        read_iomem(MachineFiles(tmp_path))


def test_a_missing_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"proc/iomem is missing"):
        read_iomem(MachineFiles(tmp_path))


def test_an_unreadable_map_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "proc/iomem").mkdir(parents=True)
    with pytest.raises(MachineError, match="layout of physical memory: Is a directory"):
        read_iomem(MachineFiles(tmp_path))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0-ffffffffffffffff : Reserved", "line 1: nothing covers all 64 bits"),
        ("1000-1fff : System RAM\n0-ffffffffffffffff : System RAM", "line 2: nothing covers"),
        (f"{'f' * 33}-{'f' * 33} : System RAM", "line 1: .* is needed"),
        (f"0-{'f' * 17} : System RAM", "line 1: the address needs more than 64 bits"),
        ("\n".join(" " * n + "0-1 : a" for n in range(65)), "line 65: nested more than 64 deep"),
        ("\n".join(" " * n + "0-1 : a" for n in range(2000)), "line 65: nested more than 64 deep"),
        ("0-1 : a\n" * ((1 << 16) + 1), "more than 65536 lines"),
    ],
)
def test_no_machine_has_such_a_map(text: str, reason: str) -> None:
    with pytest.raises(MachineError, match=f"^x(?:,|:) {reason}"):
        parse_iomem(text, "x")


def test_nesting_as_deep_as_may_be() -> None:
    (top,) = parse_iomem("\n".join(" " * n + "0-1 : a" for n in range(64)))
    assert len(list(top.walk())) == 64


def test_the_last_address_belongs_to_a_map() -> None:
    (entry,) = parse_iomem("1-ffffffffffffffff : Reserved")
    assert entry.range.end == 1 << 64
