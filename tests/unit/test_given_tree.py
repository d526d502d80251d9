"""A user's tree, completed from the running one or refused."""

from __future__ import annotations

import time
from typing import Any

import pytest

from pykexec.boot.tree.given_tree import complete_tree
from pykexec.errors import ImageError
from tests.builders.device_trees import Spec, board, build_blob, cells, read_blob, wide

UEFI = {
    "linux,uefi-system-table": wide(0x7FFF0000),
    "linux,uefi-mmap-start": wide(0x7FFE0000),
    "linux,uefi-mmap-size": [0x990],
}
SPIN = (0x0, 0x1000)
FIRMWARE_REGION = Spec(
    "reserved-memory",
    {"#address-cells": [2], "#size-cells": [2], "ranges": b""},
    (
        Spec("monitor@40000000", {"reg": wide(0x40000000, 0x80000), "no-map": b"", "phandle": [9]}),
        Spec("pool", {"size": wide(0x100000)}),
    ),
)
NO_MEMORY = board({}, memory=())
RUNNING = board({"kaslr-seed": wide(7)}, FIRMWARE_REGION)


def complete(
    given: Spec, running: Spec | None = RUNNING, reservations: Any = (), kept: Any = ()
) -> tuple[Any, tuple[str, ...]]:
    other = None if running is None else build_blob(running, reservations)
    blob, notes = complete_tree(build_blob(given, kept, boot_cpuid=3), other)
    assert blob[28:32] == cells(3)
    return read_blob(blob), notes


def test_a_complete_tree_is_left_alone() -> None:
    given = board({"bootargs": "mine"}, FIRMWARE_REGION)
    tree, notes = complete(given)
    assert tree == read_blob(build_blob(given))
    assert notes == ()


@pytest.mark.parametrize(
    "memory",
    [
        Spec("psci"),
        Spec("memory", {"device_type": "memory", "reg": wide(0, 0)}),
        Spec("memory", {"device_type": "memory"}),
        Spec("memory", {"device_type": "memory", "reg": wide(1, 1), "status": "disabled"}),
    ],
)
def test_memory_that_a_boot_loader_was_to_fill_in_is_taken_over(memory: Spec) -> None:
    tree, notes = complete(board({}, memory, memory=()))
    assert tree.properties["/memory@40000000"]["reg"] == wide(0x40000000, 0x80000000)
    assert "/memory" not in tree.properties
    assert notes[0] == (
        "the given device tree has no memory: 0x40000000-0xbfffffff taken from the running one"
    )


def test_memory_that_differs_is_told_and_kept() -> None:
    tree, notes = complete(board({}, FIRMWARE_REGION, memory=((0x40000000, 0x1000),)))
    assert tree.properties["/memory@40000000"]["reg"] == wide(0x40000000, 0x1000)
    assert notes == (
        "the given device tree tells of 0x40000000-0x40000fff of memory, "
        "the running one of 0x40000000-0xbfffffff",
    )


def test_reserved_memory_is_taken_over_without_its_handles() -> None:
    tree, notes = complete(board({}))
    assert tree.properties["/reserved-memory"] == {
        "#address-cells": cells(2),
        "#size-cells": cells(2),
        "ranges": b"",
    }
    assert tree.properties["/reserved-memory/monitor@40000000"] == {
        "reg": wide(0x40000000, 0x80000),
        "no-map": b"",
    }
    assert notes == ("the given device tree has no /reserved-memory: taken from the running one",)


def reserving(**regions: Any) -> Spec:
    return board({}, Spec("reserved-memory", {}, tuple(Spec(k, v) for k, v in regions.items())))


def test_a_firmware_region_that_is_not_reserved_is_told() -> None:
    tree, notes = complete(reserving(own={"reg": wide(0x40000000, 0x7F000)}))
    assert "/reserved-memory/monitor@40000000" not in tree.properties
    assert notes == (
        "the given device tree does not reserve 0x40000000-0x4007ffff, which the running one "
        "keeps from every use (monitor@40000000)",
    )
    assert complete(reserving(a={"reg": wide(0x40000000, 0x90000)}))[1] == ()


def regions(count: int, start: int) -> bytes:
    return wide(*(word for at in range(count) for word in (start + 0x2000 * at, 0x1000)))


def test_many_regions_take_no_time_and_few_notes() -> None:
    firmware = Spec("a@1", {"reg": regions(20_000, 0x50000000), "no-map": b""})
    running = board({}, Spec("reserved-memory", {}, (firmware,)))
    started = time.process_time()
    _, notes = complete(reserving(a={"reg": regions(20_000, 0x50001000)}), running)
    assert time.process_time() - started < 4
    assert notes[-1] == "nor does it reserve 19997 others of these"
    assert len(notes) == 4


def test_a_region_that_kernels_may_use_is_the_users_choice() -> None:
    mapped = Spec("reserved-memory", {}, (Spec("gpu@1", {"reg": wide(0x50000000, 0x1000)}),))
    assert complete(reserving(), board({}, mapped))[1] == ()


def test_firmwares_reservations_are_added_but_not_the_old_kernels() -> None:
    old = {"linux,initrd-start": wide(0x44000000), "linux,initrd-end": wide(0x44000800)}
    running = (SPIN, (0x44000000, 0x800), (0x9000, 0x1000))
    tree, notes = complete(board({}, FIRMWARE_REGION), board(old), running, kept=[(0x9000, 0x1000)])
    assert tree.reservations == ((0x9000, 0x1000), SPIN)
    assert notes == ("memory reservations taken from the running tree: 0x0-0xfff",)


def test_a_node_may_tell_of_several_ranges() -> None:
    reg = wide(0x40000000, 0x1000, 0x50000000, 0x2000)
    two = Spec("memory", {"device_type": "memory", "reg": reg})
    _, notes = complete(board({}, FIRMWARE_REGION, two, memory=()))
    told = "0x40000000-0x40000fff, 0x50000000-0x50001fff"
    assert notes[0].startswith(f"the given device tree tells of {told} of memory, ")


def test_efi_is_taken_over_into_a_tree_without_chosen() -> None:
    tree, _ = complete(board(None, memory=()), Spec("", {}, (Spec("chosen", UEFI),)))
    assert list(tree.properties["/chosen"]) == list(UEFI)


def test_efi_is_taken_over_as_a_whole() -> None:
    running = Spec("", {}, (Spec("chosen", {**UEFI, "bootargs": "old"}),))
    tree, notes = complete(NO_MEMORY, running)
    names = list(tree.properties["/chosen"])
    assert names == list(UEFI)
    assert notes == ("the given device tree lacks linux,uefi-*: taken from the running one",)


def test_efi_that_the_user_gives_is_the_users() -> None:
    given = board({"linux,uefi-system-table": wide(1)}, memory=())
    running = Spec("", {}, (Spec("chosen", UEFI),))
    tree, notes = complete(given, running)
    assert tree.properties["/chosen"] == {"linux,uefi-system-table": wide(1)}
    assert notes == ()


def test_cells_that_differ_are_refused_when_something_must_be_copied() -> None:
    narrow = Spec("", {"#address-cells": [1], "#size-cells": [1]}, (Spec("soc"),))
    with pytest.raises(ImageError, match=r"no memory, and .* are 1 and 1, .* 2 and 2"):
        complete(narrow)
    memory = Spec("memory", {"device_type": "memory", "reg": [0x40000000, 0x80000000]})
    has_memory = Spec("", narrow.properties, (memory,))
    with pytest.raises(ImageError, match=r"no /reserved-memory, and .* are 1 and 1, .* 2 and 2"):
        complete(has_memory)
    tree, notes = complete(has_memory, board({}))
    assert notes == ()
    assert "/reserved-memory" not in tree.properties


def test_no_memory_anywhere_is_refused() -> None:
    with pytest.raises(ImageError, match="has no memory, nor has the running one") as caught:
        complete(NO_MEMORY, NO_MEMORY)
    assert caught.value.hint == (
        "give a tree with memory nodes, or leave out --dtb to use the running one"
    )


def test_without_a_running_tree_the_given_one_must_do() -> None:
    assert complete(RUNNING, None)[0] == read_blob(build_blob(RUNNING))
    with pytest.raises(ImageError, match="there is no running tree to take it from"):
        complete(NO_MEMORY, None)
