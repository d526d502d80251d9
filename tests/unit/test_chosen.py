"""The next kernel's device tree: what /chosen says, and what stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pykexec.boot.tree.chosen import ChosenInput, prepare_tree
from pykexec.errors import ImageError
from pykexec.values.ranges import Range
from pykexec.values.units import KIB
from tests.builders.device_trees import Spec, board, build_blob, cells, read_blob, wide

SEED = bytes(range(1, 9))
RNG = bytes(range(64))
WISH = ChosenInput(b"root=/dev/vda ro", kaslr_seed=SEED, rng_seed=RNG)
INITRD = Range.sized(0x48000000, 0x12345)
CORE = Range.sized(0x17FFF0000, 0x800)
USABLE = (Range(0x140000000, 0x180000000), Range(0x50000000, 0x60000000))
IMA = Range.sized(0x49000000, 0x3000)
CRASH = replace(WISH, elfcorehdr=CORE, usable=USABLE)
OLD: dict[str, Any] = {
    "bootargs": "root=/dev/old",
    "linux,initrd-start": [0x44000000],
    "linux,initrd-end": [0x44001001],
    "linux,elfcorehdr": wide(0x46000000, 0x1000),
    "linux,usable-memory-range": wide(0x45000000, 0x8000000),
    "linux,ima-kexec-buffer": wide(0x47000000, 0x2000),
    "linux,tpm-kexec-buffer": wide(0x47800000, 0x1000),
    "linux,kho-fdt": wide(0x47900000, 0x1000),
    "linux,kho-scratch": wide(0x47A00000, 0x1000),
    "kaslr-seed": bytes(8),
    "rng-seed": bytes(16),
}
LASTING: dict[str, Any] = {
    "stdout-path": "/serial@9000000:115200",
    "linux,stdout-path": "/serial@9000000",
    "linux,pci-probe-only": [1],
    "linux,uefi-system-table": wide(0x7FFF0000),
    "u-boot,version": "2026.01",
}
FRESH = {
    "bootargs": b"root=/dev/vda ro\0",
    "kaslr-seed": SEED,
    "rng-seed": RNG,
    "linux,booted-from-kexec": b"",
}


def chosen_of(source: bytes, wish: ChosenInput = WISH) -> dict[str, bytes]:
    return read_blob(prepare_tree(source, wish)[0]).properties["/chosen"]


def reservations_of(source: bytes, wish: ChosenInput = WISH) -> tuple[tuple[int, int], ...]:
    return read_blob(prepare_tree(source, wish)[0]).reservations


def test_a_tree_without_chosen_gets_one() -> None:
    assert chosen_of(build_blob(board())) == FRESH


def test_chosen_with_a_unit_address_is_chosen() -> None:
    """A kernel reads /chosen@0 only where there is no /chosen."""
    source = build_blob(board(None, Spec("chosen@0", {"bootargs": "old"})))
    properties = read_blob(prepare_tree(source, WISH)[0]).properties
    assert properties["/chosen@0"] == FRESH
    assert "/chosen" not in properties


def test_the_rest_of_the_tree_stays() -> None:
    source = build_blob(board({}, Spec("odd,node", {"e": b"", "b": b"\xff\0\0a"})), boot_cpuid=5)
    blob = prepare_tree(source, WISH)[0]
    before, after = read_blob(source).properties, read_blob(blob).properties
    assert list(after) == list(before)
    assert {**after, "/chosen": {}} == before
    assert blob[28:32] == cells(5)


def test_nothing_of_the_old_kernel_is_passed_on() -> None:
    assert chosen_of(build_blob(board(OLD))) == FRESH


def test_what_belongs_to_the_machine_is_kept() -> None:
    chosen = chosen_of(build_blob(board({**LASTING, **OLD})))
    kept = {
        name: read_blob(build_blob(board(LASTING))).properties["/chosen"][name] for name in LASTING
    }
    assert chosen == {**kept, **FRESH}


def test_the_running_command_line_is_never_kept_by_accident() -> None:
    assert chosen_of(build_blob(board(OLD)), ChosenInput(b""))["bootargs"] == b"\0"


def test_an_initrd_is_told_in_64_bits() -> None:
    chosen = chosen_of(build_blob(board(OLD)), replace(WISH, initrd=INITRD))
    assert chosen["linux,initrd-start"] == wide(0x48000000)
    assert chosen["linux,initrd-end"] == wide(0x48012345)


def test_a_crash_load_tells_the_kernels_region_first() -> None:
    chosen = chosen_of(build_blob(board(OLD)), CRASH)
    assert chosen["linux,elfcorehdr"] == wide(0x17FFF0000, 0x800)
    assert chosen["linux,usable-memory-range"] == wide(
        *(0x140000000, 0x40000000), *(0x50000000, 0x10000000)
    )


def with_cells(address: int | None, size: int | None) -> bytes:
    given = {"#address-cells": address, "#size-cells": size}
    properties: dict[str, Any] = {k: [v] for k, v in given.items() if v is not None}
    return build_blob(Spec("", properties, (Spec("soc"), Spec("chosen"))))


@pytest.mark.parametrize(
    ("address", "size", "expected"),
    [
        (1, 1, cells(0x50000000, 0x800)),
        (None, None, cells(0x50000000, 0x800)),
        (2, 1, cells(0, 0x50000000, 0x800)),
        (1, 2, cells(0x50000000, 0, 0x800)),
        (3, 2, cells(0, 0, 0x50000000, 0, 0x800)),
    ],
)
def test_ranges_are_in_the_cells_of_the_root(
    address: int | None, size: int | None, expected: bytes
) -> None:
    wish = replace(WISH, elfcorehdr=Range.sized(0x50000000, 0x800))
    assert chosen_of(with_cells(address, size), wish)["linux,elfcorehdr"] == expected


def test_what_the_cells_cannot_express_is_refused() -> None:
    with pytest.raises(ImageError, match=r"cannot express 0x17fff0000: #address-cells .* is 1"):
        prepare_tree(with_cells(1, 1), CRASH)
    with pytest.raises(ImageError, match=r"cannot express 0x100000000: #size-cells .* is 1"):
        prepare_tree(with_cells(2, 1), replace(WISH, usable=(Range(0, 1 << 32),)))


@pytest.mark.parametrize("value", [b"", b"\0\2", cells(0), cells(5), cells(0, 2)])
def test_cells_that_are_none_are_refused(value: bytes) -> None:
    source = build_blob(Spec("", {"#size-cells": value}, (Spec("soc"),)))
    with pytest.raises(ImageError, match=r"#size-cells of the root is .*a cell from 1 to 4"):
        prepare_tree(source, WISH)


@pytest.mark.parametrize("properties", [{}, {"#address-cells": [1], "#size-cells": [1]}])
def test_the_tree_of_an_acpi_machine_gets_wide_cells(properties: dict[str, Any]) -> None:
    source = build_blob(Spec("", properties, (Spec("chosen", LASTING),)))
    tree = read_blob(prepare_tree(source, CRASH)[0]).properties
    assert tree["/"] == {"#address-cells": cells(2), "#size-cells": cells(2)}
    assert tree["/chosen"]["linux,elfcorehdr"] == wide(0x17FFF0000, 0x800)


FIRMWARE = ((0x0, 0x1000), (0x7F000000, 0x20000))


def test_reservations_are_kept_exactly_and_once() -> None:
    source = build_blob(board(OLD), (*FIRMWARE, FIRMWARE[1], (0x1000, 0)))
    assert reservations_of(source) == FIRMWARE


@pytest.mark.parametrize(
    "stale",
    [
        (0x44000000, 0x1001),  # the initrd's bytes
        (0x44000000, 0x2000),  # its pages
        (0x44000000, 0x10000),  # its pages of 64 KiB
        (0x46000000, 0x1000),
        (0x47000000, 0x2000),
        (0x47800000, 0x1000),
    ],
)
def test_reservations_of_old_buffers_go_with_them(stale: tuple[int, int]) -> None:
    assert reservations_of(build_blob(board(OLD), (*FIRMWARE, stale))) == FIRMWARE


@pytest.mark.parametrize(
    "other", [(0x44000000, 0x3000), (0x44001000, 0x1001), (0x47900000, 0x1000)]
)
def test_other_reservations_stay(other: tuple[int, int]) -> None:
    assert reservations_of(build_blob(board(OLD), [other])) == (other,)


def test_an_ima_buffer_is_told_and_reserved() -> None:
    wish = replace(WISH, ima_buffer=IMA)
    source = build_blob(board(OLD), FIRMWARE)
    assert chosen_of(source, wish)["linux,ima-kexec-buffer"] == wide(0x49000000, 0x3000)
    assert reservations_of(source, wish) == (*FIRMWARE, (0x49000000, 0x3000))


def test_a_chain_of_jumps_does_not_grow_the_tree() -> None:
    wish = replace(CRASH, initrd=INITRD, ima_buffer=IMA)
    first = prepare_tree(build_blob(board(OLD), FIRMWARE), wish)[0]
    second = prepare_tree(first, wish)[0]
    assert read_blob(second) == read_blob(first)
    moved = replace(wish, ima_buffer=Range.sized(0x4A000000, 0x3000))
    assert len(prepare_tree(second, moved)[0]) == len(second) == len(first)


@pytest.mark.parametrize(
    "malformed",
    [
        {"linux,elfcorehdr": [1, 2, 3]},
        {"linux,ima-kexec-buffer": b"\xff" * 16},
        {"linux,initrd-start": b"", "linux,initrd-end": b"\1"},
        {"linux,initrd-start": [9], "linux,initrd-end": [1]},
        {"linux,initrd-start": [1], "linux,initrd-end": b"\xff" * 12},
    ],
)
def test_old_pointers_to_nowhere_are_only_removed(
    malformed: dict[str, bytes | str | Sequence[int]],
) -> None:
    source = build_blob(board(malformed), FIRMWARE)
    assert chosen_of(source) == FRESH
    assert reservations_of(source) == FIRMWARE


NO_KASLR = "no kaslr-seed is handed over: the new kernel may lie at a known address"
NO_RNG = "no RNG seed is handed over"
NOT_WIPED = "the old kaslr-seed in the device tree was not wiped by the kernel that used it"


def test_seeds_are_removed_when_there_are_no_fresh_ones() -> None:
    source = build_blob(board(OLD))
    blob, notes = prepare_tree(source, ChosenInput(b"ro"))
    assert read_blob(blob).properties["/chosen"] == {
        "bootargs": b"ro\0",
        "linux,booted-from-kexec": b"",
    }
    assert notes == (NO_KASLR, NO_RNG)


def test_a_seed_that_was_not_wiped_is_told_and_replaced() -> None:
    source = build_blob(board({"kaslr-seed": wide(1)}))
    blob, notes = prepare_tree(source, WISH)
    assert notes == (NOT_WIPED,)
    assert read_blob(blob).properties["/chosen"]["kaslr-seed"] == SEED
    assert prepare_tree(build_blob(board(OLD)), WISH)[1] == ()


def test_a_tree_that_is_none_is_refused() -> None:
    with pytest.raises(ImageError, match="not a device tree"):
        prepare_tree(bytes(KIB), WISH)
