"""The next kernel's device tree: what /chosen says, and what stays."""

from __future__ import annotations

from pykexec.boot.chosen import ChosenInput, prepare_tree
from pykexec.ranges import Range
from tests.builders.device_trees import Spec, board, build_blob, read_blob

SEED = bytes(range(1, 9))
RNG = bytes(range(64))
WISH = ChosenInput(b"root=/dev/vda ro", kaslr_seed=SEED, rng_seed=RNG)
CRASH = ChosenInput(
    b"",
    kaslr_seed=SEED,
    rng_seed=RNG,
    elfcorehdr=Range.sized(0x17FFF0000, 0x800),
    usable=(Range(0x140000000, 0x180000000), Range(0x50000000, 0x60000000)),
)


def chosen_of(source: bytes, wish: ChosenInput = WISH) -> dict[str, bytes]:
    return read_blob(prepare_tree(source, wish)[0]).properties["/chosen"]


def test_a_tree_without_chosen_gets_one() -> None:
    assert chosen_of(build_blob(board())) == {
        "bootargs": b"root=/dev/vda ro\0",
        "kaslr-seed": SEED,
        "rng-seed": RNG,
        "linux,booted-from-kexec": b"",
    }


def test_the_rest_of_the_tree_stays() -> None:
    source = build_blob(board({}, Spec("odd,node", {"e": b"", "b": b"\xff\0\0a"})))
    before, after = (read_blob(blob) for blob in (source, prepare_tree(source, WISH)[0]))
    assert list(after.properties) == list(before.properties)
    before.properties.pop("/chosen")
    assert {**after.properties, **before.properties} == after.properties
