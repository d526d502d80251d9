"""What a device tree says about memory is where segments go, or what a refusal names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from pykexec.boot.tree.chosen import read_chosen
from pykexec.boot.tree.memory import Kept, TreeMemory, tree_memory
from pykexec.errors import NoRoomError
from pykexec.formats.device_tree import parse_device_tree
from pykexec.planning.invariants import verify
from pykexec.planning.planner import plan
from pykexec.planning.plans import LoadRequest, SegmentPlan
from pykexec.planning.remedies import Change, remedies
from pykexec.values.calls import Target
from pykexec.values.facts import MachineFacts
from pykexec.values.memory import IomemEntry, MemoryKind
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from tests.builders.arm64 import build_facts, build_plan, build_request
from tests.builders.device_trees import Spec, board, build_blob, wide

LIMIT = "linux,usable-memory-range"
CORE = {"linux,elfcorehdr": wide(0x50000000, 0x1000)}
UEFI = {"linux,uefi-system-table": wide(0x7FFF0000)}


def reserved(*nodes: Spec) -> Spec:
    return Spec(
        "reserved-memory", {"#address-cells": [2], "#size-cells": [2], "ranges": b""}, nodes
    )


def region(name: str, start: int, size: int, more: Mapping[str, bytes | str] | None = None) -> Spec:
    return Spec(name, {"reg": wide(start, size), **(more or {})})


def memory_of(root: Spec, reservations: Sequence[tuple[int, int]] = ()) -> TreeMemory:
    return tree_memory(parse_device_tree(build_blob(root, reservations)))


def tree_of(plan: SegmentPlan) -> bytes:
    segment = plan.segment(Role.DTB)
    assert segment is not None
    return bytes(segment.data)


def test_what_is_kept_and_by_whom() -> None:
    nodes = reserved(
        region("secure@40000000", 0x40000000, MIB, {"no-map": b""}),
        region("cma@48000000", 0x48000000, MIB, {"reusable": b""}),
        region("off@4c000000", 0x4C000000, MIB, {"status": "disabled"}),
        Spec("two", {"reg": wide(0x50000000, MIB, 0x58000000, MIB)}),
        Spec("dynamic", {"size": wide(MIB)}),
    )
    found = memory_of(board({}, nodes), [(0x7F000000, 0x1000)])
    assert found.kept == (
        Kept(Range.sized(0x40000000, MIB), "secure@40000000", no_map=True),
        Kept(Range.sized(0x48000000, MIB), "cma@48000000"),
        Kept(Range.sized(0x50000000, MIB), "two"),
        Kept(Range.sized(0x58000000, MIB), "two"),
        Kept(Range.sized(0x7F000000, 0x1000), "/memreserve/"),
    )
    assert found.told == RangeSet([Range(GIB, 3 * GIB)])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        pytest.param(wide(0x50000000, MIB), [Range.sized(0x50000000, MIB)], id="one"),
        pytest.param(wide(0, MIB), [], id="elsewhere"),
        pytest.param(wide(0x50000000, 0), [Range(GIB, 3 * GIB)], id="empty"),
        pytest.param(b"", [Range(GIB, 3 * GIB)], id="nothing"),
        pytest.param(
            wide(0x50000000, MIB, 8 * GIB, MIB, 2 * GIB, MIB),
            [Range.sized(0x50000000, MIB), Range.sized(8 * GIB, MIB)],
            id="the-second-is-added-a-third-not-read",
        ),
        pytest.param(wide(0, 16 * GIB), [Range(GIB, 3 * GIB)], id="wider-than-what-there-is"),
    ],
)
def test_the_limit_as_a_kernel_reads_it(value: bytes, told: list[Range]) -> None:
    assert memory_of(board({LIMIT: value})).told == RangeSet(told)


def test_the_limit_in_cells_of_32_bits() -> None:
    memory = Spec("memory", {"device_type": "memory", "reg": [GIB, GIB]})
    chosen = Spec("chosen", {LIMIT: [0x50000000, MIB]})
    root = Spec("", {"#address-cells": [1], "#size-cells": [1]}, (memory, chosen))
    assert memory_of(root).told == RangeSet([Range.sized(0x50000000, MIB)])


def test_a_nodes_usable_part() -> None:
    """Linux reads ``linux,usable-memory`` in place of ``reg``."""
    root = board({}, memory=[(GIB, GIB)])
    node = replace(
        root.children[0],
        properties={**root.children[0].properties, "linux,usable-memory": wide(GIB, MIB)},
    )
    root = replace(root, children=(node, *root.children[1:]))
    assert memory_of(root).told == RangeSet([Range.sized(GIB, MIB)])


def test_with_efi_the_nodes_say_nothing_and_the_limit_holds() -> None:
    found = memory_of(board({**UEFI, LIMIT: wide(0x50000000, MIB)}))
    assert (found.told, found.limit) == (None, RangeSet([Range.sized(0x50000000, MIB)]))
    ram = RangeSet([Range(GIB, 2 * GIB)])
    assert found.free(ram) == found.limit
    assert memory_of(board(UEFI)).free(ram) == ram


# The plan.


def board_facts(root: Spec, reservations: Sequence[tuple[int, int]] = ()) -> MachineFacts:
    """Make a machine whose kernel sees 3 GiB and whose tree is ``root``."""
    return build_facts(device_tree=build_blob(root, reservations))


def test_segments_go_around_what_the_tree_keeps() -> None:
    nodes = reserved(region("secure@40000000", 0x40000000, 64 * MIB, {"no-map": b""}))
    dtb = build_blob(board({}, nodes), [(0x44000000, 0x1000)])
    facts = build_facts()
    made = build_plan(facts, dtb=dtb)
    assert verify(made, facts) == []
    assert min(item.dest.start for item in made.segments) == 0x44200000
    assert [(item.range, item.kind, item.name) for item in made.memory_map] == [
        (Range.sized(0x40000000, 64 * MIB), MemoryKind.RESERVED, "secure@40000000"),
        (Range(0x44000000, 3 * GIB), MemoryKind.RAM, "System RAM"),
    ]
    # The initrd's first choice is the end of what is there: the tree has 2 GiB, the machine 3.
    initrd = made.segment(Role.INITRD)
    assert initrd is not None
    assert initrd.dest.end == 3 * GIB


def test_a_plan_on_what_is_kept_is_refused_by_its_verifier() -> None:
    facts = build_facts()
    made = build_plan(facts)
    kernel = made.segment(Role.KERNEL)
    assert kernel is not None
    nodes = reserved(region("secure@40000000", kernel.dest.start, MIB, {"no-map": b""}))
    for root, words in (
        (board({}, nodes), "lies on secure@40000000"),
        (board({}, memory=[(2 * GIB, GIB)]), "outside the device tree's memory nodes"),
        (board({LIMIT: wide(2 * GIB, GIB)}), "outside the device tree's usable-memory-range"),
    ):
        other = build_plan(facts, dtb=build_blob(root))
        blob = tree_of(other)
        there = other.segment(Role.DTB)
        assert there is not None
        # The same layout, told by the other tree: as a loader would that looks at no tree.
        wrong = replace(
            other,
            segments=tuple(
                replace(item, dest=kernel.dest) if item.role is Role.KERNEL else item
                for item in other.segments
            ),
        ).with_data(Role.DTB, blob)
        found = [item for item in verify(wrong, facts) if item.invariant == "memory-is-told"]
        assert found, words
        assert any(words in item.detail for item in found)


@pytest.mark.parametrize(
    ("root", "reservations", "names"),
    [
        pytest.param(
            board({}, reserved(region("secure@40000000", GIB, 2 * GIB, {"no-map": b""}))),
            [],
            ["secure@40000000 0x40000000-0xbfffffff (no-map)"],
            id="no-map",
        ),
        pytest.param(board({}), [(GIB, 2 * GIB)], ["/memreserve/ 0x40000000"], id="memreserve"),
        pytest.param(
            board({}, reserved(region("cma", GIB, 2 * GIB, {"reusable": b""}))),
            [],
            ["cma 0x40000000-0xbfffffff"],
            id="reusable",
        ),
        pytest.param(board({LIMIT: wide(GIB, MIB)}), [], [LIMIT], id="limit"),
        pytest.param(
            board({}, memory=[(GIB, MIB)]),
            [],
            ["memory that no node tells of: 0x40100000-0x"],
            id="nodes",
        ),
    ],
)
def test_a_refusal_names_what_the_tree_withholds(
    root: Spec, reservations: list[tuple[int, int]], names: list[str]
) -> None:
    with pytest.raises(NoRoomError, match="cannot place kernel") as caught:
        build_plan(dtb=build_blob(root, reservations))
    hint = caught.value.hint or ""
    assert hint.startswith("it fits without what the device tree withholds: ")
    assert all(name in hint for name in names)
    request = build_request(dtb=build_blob(root, reservations))
    (remedy,) = remedies(build_facts(), request, caught.value)
    assert remedy.change is Change.DTB
    assert verify(plan(remedy.facts, remedy.request), remedy.facts) == []


def test_what_fits_nowhere_is_not_the_trees_fault() -> None:
    nodes = reserved(region("secure@40000000", GIB, MIB, {"no-map": b""}))
    with pytest.raises(NoRoomError) as caught:
        build_plan(
            build_facts([Range(GIB, GIB + 4 * MIB)]),
            dtb=build_blob(board({}, nodes)),
            initrd=bytes(8 * MIB),
        )
    assert "withholds" not in (caught.value.hint or "")


# Firmware's limit.


def limited(more: Mapping[str, bytes] | None = None) -> MachineFacts:
    """Make a machine that firmware limits to 256 MiB of the 8 GiB that its node tells of."""
    chosen = {LIMIT: wide(0x50000000, 256 * MIB), **(more or {})}
    tree = build_blob(board(chosen, memory=[(GIB, 8 * GIB)]))
    return build_facts([Range.sized(0x50000000, 256 * MIB)], device_tree=tree)


def test_a_limit_of_firmware_goes_on() -> None:
    facts = limited()
    made = build_plan(facts)
    assert verify(made, facts) == []
    assert read_chosen(tree_of(made)).usable == (Range.sized(0x50000000, 256 * MIB),)
    assert [item.range for item in made.memory_map] == [Range.sized(0x50000000, 256 * MIB)]
    assert f"firmware limits memory to 0x50000000-0x5fffffff ({LIMIT})" in made.notes


def test_it_goes_on_in_a_chain_of_jumps() -> None:
    facts = limited()
    for _ in range(3):
        facts = replace(facts, device_tree=tree_of(build_plan(facts)))
    assert read_chosen(facts.device_tree or b"").usable == (Range.sized(0x50000000, 256 * MIB),)


def test_a_plan_that_drops_it_is_refused() -> None:
    facts = limited()
    other = build_facts([Range.sized(0x50000000, 256 * MIB)])
    found = verify(build_plan(other), facts)
    assert [item.invariant for item in found] == ["memory-is-told"]
    assert "drops firmware's limit of memory to 0x50000000-0x5fffffff" in found[0].detail


def test_a_capture_kernels_limit_ends_with_it() -> None:
    facts = limited(CORE)
    made = build_plan(facts)
    told = read_chosen(tree_of(made))
    assert (told.usable, told.elfcorehdr) == ((), None)
    assert verify(made, facts) == []
    assert [item.range for item in made.memory_map] == [Range(GIB, 9 * GIB)]


def test_a_capture_kernel_is_told_of_its_own_region() -> None:
    region_ = Range.sized(0x58000000, 64 * MIB)
    facts = replace(
        limited(),
        iomem=build_facts(
            [Range.sized(0x50000000, 256 * MIB)], [IomemEntry(region_, "Crash kernel")]
        ).iomem,
    )
    made = build_plan(facts, target=Target.CRASH)
    assert read_chosen(tree_of(made)).usable == (region_,)
    assert verify(made, facts) == []


@pytest.mark.parametrize(
    ("chosen", "usable"),
    [
        pytest.param({}, Range.sized(0x50000000, 256 * MIB), id="none"),
        pytest.param(
            {LIMIT: wide(0x52000000, MIB * 32)}, Range.sized(0x52000000, 32 * MIB), id="own"
        ),
    ],
)
def test_with_a_given_tree(chosen: dict[str, bytes], usable: Range) -> None:
    facts = limited()
    dtb = build_blob(board(chosen, memory=[(GIB, 8 * GIB)]))
    made = build_plan(facts, dtb=dtb)
    assert read_chosen(tree_of(made)).usable == (usable,)
    assert verify(made, facts) == []
    noted = any("does not limit memory" in note for note in made.notes)
    assert noted is not bool(chosen)


def test_a_core_header_lies_where_the_trees_cells_reach() -> None:
    """A root of one cell cannot name what is above 4 GiB."""
    memory = Spec("memory", {"device_type": "memory", "reg": [GIB, 3 * GIB - 4096]})
    root = Spec("", {"#address-cells": [1], "#size-cells": [1]}, (memory, Spec("chosen")))
    ram = [Range(GIB, 4 * GIB - 4096), Range(4 * GIB, 6 * GIB)]
    facts = build_facts(ram, device_tree=build_blob(root))
    request: LoadRequest = build_request()
    assert request.initrd is not None
    made = build_plan(facts)
    assert max(item.dest.end for item in made.segments) <= 4 * GIB
    assert verify(made, facts) == []
