"""The emulated machine for a loongarch64 plan: one of EFI's, whose map decides what is free."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from pykexec.errors import SimulationError
from pykexec.planning.plans import SegmentPlan
from pykexec.purgatory_objects import load_start
from pykexec.simulation import loongarch64
from pykexec.simulation.emulated import Bank
from pykexec.simulation.rooms import emulate, simulation_room
from pykexec.values.calls import Target
from pykexec.values.ranges import Range
from pykexec.values.roles import Role
from pykexec.values.units import GIB, MIB
from tests.builders.loongarch import CRASH_REGION, build_facts, build_plan

HEARD = b"ro console=ttyS0,115200"
STAND = 0x180000
TABLE = 0xE00000
DESCRIPTOR = 48
CONVENTIONAL, RUNTIME_CODE, ACPI_RECLAIM = 7, 5, 9


def heard(cmdline: bytes = HEARD) -> SegmentPlan:
    return build_plan(cmdline=cmdline)


def firmware(*map_of: tuple[int, int, int], each: int = DESCRIPTOR) -> Callable[[int, int], bytes]:
    """Return a reader of memory with a map of (type, start, bytes) in it."""
    descriptors = b"".join(
        struct.pack("<IxxxxQQQQ", kind, start, 0, size >> 12, 8).ljust(each, b"\0")
        for kind, start, size in map_of
    )
    table = struct.pack("<QQQQQ", len(descriptors), each, 1, 0, 0) + descriptors
    memory = {STAND + 16: struct.pack("<Q", TABLE), TABLE: table}

    def read(address: int, size: int) -> bytes:
        start = max(at for at in memory if at <= address)
        return memory[start].ljust(1 << 17, b"\0")[address - start :][:size]

    return read


def test_memory_is_in_two_banks() -> None:
    plan = heard()
    machine = emulate(plan)
    assert machine.memory == 256 * MIB + 2 * GIB
    assert machine.banks == (
        Bank(Range(0, 256 * MIB), 0),
        Bank(Range(2 * GIB, 4 * GIB), 256 * MIB),
    )
    assert machine.board == "virt"
    assert loongarch64.FIRMWARE in machine.words
    assert (STAND + 24, plan.entry.to_bytes(8, "little")) in machine.contents


def test_the_board_begins_with_1_gib() -> None:
    small = build_facts((Range(2 * MIB, 254 * MIB),))
    assert emulate(build_plan(small, cmdline=HEARD)).memory == GIB


def test_a_capture_kernels_memory_is_there() -> None:
    facts = build_facts(children=[CRASH_REGION])
    machine = emulate(build_plan(facts, cmdline=HEARD, target=Target.CRASH))
    assert machine.banks[-1].range.contains(CRASH_REGION.range)


def test_the_start_program_is_one_of_efis() -> None:
    """PE Format: signature at what 0x3c leads to, then the machine; and not below its own page."""
    image = load_start("loongarch64")
    (at,) = struct.unpack_from("<I", image, 0x3C)
    assert (image[:2], image[at : at + 4]) == (b"MZ", b"PE\0\0")
    assert struct.unpack_from("<HH", image, at + 4) == (0x6264, 1)
    magic, entry = struct.unpack_from("<H14xI", image, at + 24)
    assert (magic, entry) == (0x20B, 0x1000)
    assert struct.unpack_from("<H", image, at + 24 + 68) == (10,)
    start = emulate(heard()).start
    assert start is not None
    assert (start.image, start.ready) == (image, (STAND + 8, (1).to_bytes(8, "little")))


def test_where_nothing_lies_on_what_firmware_keeps() -> None:
    start = emulate(heard()).start
    assert start is not None
    kept = (RUNTIME_CODE, 0xF000000, MIB)
    assert start.settle(firmware((CONVENTIONAL, 0, 0xF000000), kept)) == ()


@pytest.mark.parametrize("kind", [0, RUNTIME_CODE, 6, 8, ACPI_RECLAIM, 10, 11, 12])
def test_what_firmware_keeps_is_no_place_for_a_segment(kind: int) -> None:
    plan = heard()
    initrd = plan.segment(Role.INITRD)
    start = emulate(plan).start
    assert initrd is not None
    assert start is not None
    taken = firmware((CONVENTIONAL, 0, MIB), (kind, initrd.dest.start, 0x1000), each=56)
    with pytest.raises(SimulationError, match=r"initrd .* lies on .* emulated firmware uses"):
        start.settle(taken)


@pytest.mark.parametrize("each", [0, 24, 1 << 20])
def test_a_map_that_makes_no_sense_is_refused(each: int) -> None:
    start = emulate(heard()).start
    assert start is not None

    def read(address: int, size: int) -> bytes:
        return (
            struct.pack("<QQ", 480, each)[address - TABLE :][:size]
            if address >= TABLE
            else (TABLE.to_bytes(8, "little"))
        )

    with pytest.raises(SimulationError, match=f"gives no memory map at {TABLE:#x}"):
        start.settle(read)


def test_without_a_console_it_would_not_be_heard() -> None:
    with pytest.raises(SimulationError, match="no serial console") as caught:
        emulate(heard(cmdline=b"ro quiet"))
    assert caught.value.hint == "plan with console=ttyS0 in --append"


def test_memory_that_the_board_has_not_is_refused() -> None:
    facts = build_facts((Range(2 * MIB, 254 * MIB), Range(GIB, 2 * GIB)))
    with pytest.raises(SimulationError, match=r"QEMU's virt board has RAM in .* the plan uses"):
        emulate(build_plan(facts, cmdline=HEARD))


def test_where_the_processor_stands() -> None:
    match = simulation_room("loongarch64").COUNTER.search(" PC=90000000afe34004  FCSR0 0x00000000")
    assert match is not None
    assert int(match[1], 16) == 0x90000000AFE34004
