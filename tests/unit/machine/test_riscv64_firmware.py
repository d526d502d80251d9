"""boot/riscv64/firmware.py: what a capture kernel must leave alone."""

from __future__ import annotations

import pytest

from pykexec.boot.riscv64.firmware import firmware_memory
from pykexec.values.ranges import Range
from pykexec.values.units import KIB
from tests.builders import riscv64

FIRST = Range.sized(0x80000000, 256 * KIB)
SECOND = Range.sized(FIRST.end, 256 * KIB)


@pytest.mark.parametrize("no_map", [False, True])
def test_what_the_firmware_keeps(no_map: bool) -> None:
    assert sorted(firmware_memory(riscv64.build_tree(no_map=no_map))) == [FIRST, SECOND]


def test_other_reservations_are_memory() -> None:
    tree = riscv64.build_tree().replace(b"mmode_resv", b"linux_resv")
    assert firmware_memory(tree) == ()
