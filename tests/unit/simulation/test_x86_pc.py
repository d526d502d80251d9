"""The emulated PC for a plan: its memory, its page tables, and what is refused."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykexec.errors import SimulationError
from pykexec.planning.plans import SegmentPlan
from pykexec.purgatory_objects import load_start
from pykexec.simulation.emulated import Bank, check_room
from pykexec.simulation.rooms import emulate
from pykexec.simulation.x86 import PAGE_TABLES, START, build_identity_map, firmware_ram
from pykexec.values.memory import MemoryKind, MemoryMap, MemoryRegion
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import GIB, KIB, MIB
from tests.builders.machines import EFI
from tests.builders.plans import build_facts, build_plan
from tests.builders.wrong_plans import segment_of
from tests.unit.test_x86_plan import RUNNING

HEARD = b"console=ttyS0"
LARGE_PAGE = 2 * MIB
PRESENT_WRITABLE, LARGE = 3, 1 << 7


def plan_with(*ram: Range, cmdline: bytes = HEARD) -> SegmentPlan:
    return build_plan(build_facts(ram), cmdline=cmdline)


def translate(tables: bytes, address: int) -> int | None:
    """Walk four levels as a processor does: Intel SDM, volume 3, 4.5."""
    table = PAGE_TABLES
    for shift in (39, 30, 21):
        index = table - PAGE_TABLES + (address >> shift & 511) * 8
        entry = int.from_bytes(tables[index : index + 8], "little")
        if entry & PRESENT_WRITABLE != PRESENT_WRITABLE:
            return None
        if shift == 21:
            assert entry & LARGE
            return (entry & ~0x1FFFFF & (1 << 52) - 1) + address % LARGE_PAGE
        assert not entry & LARGE
        table = entry & ~0xFFF
    raise AssertionError


@given(
    starts=st.lists(st.integers(0, 64 * GIB), min_size=1, max_size=5),
    sizes=st.lists(st.integers(1, 5 * MIB), min_size=5, max_size=5),
    probes=st.lists(st.integers(0, 65 * GIB), max_size=5),
)
@settings(max_examples=50)
def test_memory_is_mapped_to_itself_and_nothing_else_is(
    starts: list[int], sizes: list[int], probes: list[int]
) -> None:
    memory = RangeSet(Range.sized(*pair) for pair in zip(starts, sizes, strict=False))
    tables = build_identity_map(memory, PAGE_TABLES)
    edges = [edge for item in memory for edge in (item.start, item.last, item.end + LARGE_PAGE)]
    for address in (*edges, *probes):
        page = Range.sized(address // LARGE_PAGE * LARGE_PAGE, LARGE_PAGE)
        mapped = memory.overlapping(page) is not None
        assert translate(tables, address) == (address if mapped else None)


def test_page_tables_have_a_limit() -> None:
    with pytest.raises(SimulationError, match="needs 202 page tables, there is room for 127"):
        build_identity_map(RangeSet([Range(0, 200 * GIB)]), PAGE_TABLES)


@pytest.mark.parametrize(
    ("ram", "memory", "banks"),
    [
        # As QEMU itself lays 512 MiB and 8 GiB out, its BIOS at the end of RAM below 4 GiB.
        ([Range(MIB, 0x1FFE0000)], 512 * MIB, [Bank(Range(0, 512 * MIB), 0)]),
        (
            [Range(MIB, 0xBFFE0000), Range(4 * GIB, 9 * GIB)],
            8 * GIB,
            [Bank(Range(0, 3 * GIB), 0), Bank(Range(4 * GIB, 9 * GIB), 3 * GIB)],
        ),
        ([Range(MIB, 0x1FFF0000)], 513 * MIB, [Bank(Range(0, 513 * MIB), 0)]),
        # What QEMU gives nobody by itself; nothing of it may be missing.
        (
            [Range(MIB, 0x7A3F1000), Range(0x7B000000, 0x7C001000)],
            0x7C100000,
            [Bank(Range(0, 0x7C100000), 0)],
        ),
    ],
)
def test_all_memory_that_is_told_is_there(
    ram: Sequence[Range], memory: int, banks: list[Bank]
) -> None:
    machine = emulate(plan_with(*ram))
    assert (machine.memory, list(machine.banks)) == (memory, banks)
    for item in ram:
        assert machine.locate(item) == item.start - (GIB if item.start >= 4 * GIB else 0)


def test_the_plan_is_in_memory_as_the_kernel_would_have_it() -> None:
    plan = plan_with(Range(2 * MIB, 64 * MIB))
    machine = emulate(plan)
    memory = bytearray(b"\xee" * machine.memory)
    for address, data in machine.contents:
        offset = machine.locate(Range.sized(address, len(data)))
        memory[offset : offset + len(data)] = data
    for segment in plan.segments:
        expected = bytes(segment.data) + bytes(segment.dest.size - len(segment.data))
        assert memory[segment.dest.start : segment.dest.end] == expected
    assert machine.start is not None
    assert machine.start.image == load_start("x86_64")
    assert translate(bytes(memory[PAGE_TABLES:]), plan.entry) == plan.entry
    # A running kernel has the first MiB mapped, whatever is there: the VGA text of a purgatory.
    assert translate(bytes(memory[PAGE_TABLES:]), 0xB8000) == 0xB8000
    # Behind the Multiboot header of 32 bytes: state, information, entry.
    assert machine.start.image[32:48] == bytes(16)
    assert memory[START + 40 : START + 48] == struct.pack("<Q", plan.entry)


def test_segments_outside_of_what_is_told_have_memory_too() -> None:
    """Those that a capture kernel must not take for free memory."""
    plan = plan_with(Range(MIB, 512 * MIB))
    machine = emulate(replace(plan, memory_map=MemoryMap()))
    assert all(machine.locate(item.dest) == item.dest.start for item in plan.segments)
    tables = next(data for address, data in machine.contents if address == PAGE_TABLES)
    assert translate(bytes(tables), plan.entry) == plan.entry


@pytest.mark.parametrize(
    ("plan", "message", "hint"),
    [
        (
            plan_with(Range(MIB, GIB), cmdline=b"ro quiet console=tty0"),
            "no serial console",
            "console=ttyS0",
        ),
        (
            plan_with(Range(MIB, 0xDFF01000)),
            "below 4 GiB reaches up to 0xdff01000, the emulated machine's up to 0xdff00000",
            None,
        ),
        (
            plan_with(Range(MIB, 0xC0001000), Range(4 * GIB, 5 * GIB)),
            "below 4 GiB reaches up to 0xc0001000, the emulated machine's up to 0xc0000000",
            None,
        ),
        (
            replace(plan_with(Range(MIB, GIB)), arch="i386"),
            "a plan for i386: x86_64, aarch64, riscv64, ppc64le, arm, s390x, loongarch64 only",
            None,
        ),
    ],
    ids=["no console", "high", "high with more above", "architecture"],
)
def test_what_cannot_be_emulated_is_refused(
    plan: SegmentPlan, message: str, hint: str | None
) -> None:
    with pytest.raises(SimulationError, match=message) as caught:
        emulate(plan)
    assert hint is None or (caught.value.hint is not None and hint in caught.value.hint)


def test_efi_is_not_emulated() -> None:
    facts = build_facts([Range(MIB, GIB)], efi=EFI, boot_params=RUNNING)
    assert emulate(build_plan(facts, cmdline=HEARD, no_efi=True))
    plan = build_plan(facts, cmdline=HEARD)
    with pytest.raises(SimulationError, match="hands EFI over") as caught:
        emulate(plan)
    assert caught.value.hint == "plan with --noefi to try out the layout"


def test_a_segment_in_the_first_mib_is_refused() -> None:
    plan = plan_with(Range(MIB, GIB))
    initrd = segment_of(plan, Role.INITRD)
    low = replace(initrd, dest=Range.sized(0x20000, initrd.dest.size))
    others = [item for item in plan.segments if item.role is not Role.INITRD]
    with pytest.raises(SimulationError, match=r"initrd 0x20000-0x.* lies in the first MiB"):
        emulate(replace(plan, segments=(low, *others)))


def test_a_machine_that_is_too_large_for_this_one_is_refused() -> None:
    plan = plan_with(Range(MIB, GIB))
    huge = MemoryRegion(Range(4 * GIB, 68 * GIB), MemoryKind.RAM, "System RAM")
    machine = emulate(replace(plan, memory_map=MemoryMap((*plan.memory_map, huge))))
    assert machine.memory == 67 * GIB
    check_room(machine, 2 * GIB)
    check_room(machine, None)
    with pytest.raises(SimulationError, match=r"67 GiB of RAM takes up to 1\.3 GiB here"):
        check_room(machine, GIB)


class Firmware:
    """Physical memory with what a Multiboot loader leaves."""

    def __init__(
        self, ram: Sequence[tuple[Range, int]], flags: int = 1 << 6, bios: bytes = b""
    ) -> None:
        # Entries of two sizes: what a field ``size`` does not count is left out.
        entries = b"".join(
            struct.pack("<IQQI", 20 + 4 * ((at + 1) % 2), item.start, item.size, kind)
            + b"\xaa" * 4 * ((at + 1) % 2)
            for at, (item, kind) in enumerate(ram)
        )
        self.pieces = {
            START + 0x24: struct.pack("<I", 0x9500),
            0x9500: struct.pack("<I", flags),
            0x9500 + 44: struct.pack("<II", len(entries), 0x9000),
            0x9000: entries,
            0xE0000: bios.ljust(0x20000, b"\0"),
        }

    def read(self, address: int, size: int) -> bytes:
        data = self.pieces[address]
        assert len(data) == size
        return data


def test_memory_that_the_firmware_keeps_is_noticed() -> None:
    plan = plan_with(Range(MIB, 0x1FFE0000))
    start = emulate(plan).start
    assert start is not None
    low, kept = Range(0, 0x9FC00), Range(0x1FFE0000, 0x20000000)
    firmware = Firmware([(low, 1), (Range(MIB, 0x1FFE0000), 1), (kept, 2)])
    assert start.settle(firmware.read) == ()
    more = Firmware([(low, 1), (Range(MIB, 0x1FFD0000), 1), (Range(0x1FFD0000, 0x20000000), 2)])
    assert firmware_ram(more.read) == RangeSet([low, Range(MIB, 0x1FFD0000)])
    with pytest.raises(SimulationError, match="the emulated firmware keeps") as caught:
        start.settle(more.read)
    lost = next(item for item in plan.segments if item.dest.end > 0x1FFD0000)
    assert f"{lost.role} {lost.dest} lies" in caught.value.message


def rsdp(*, right: bool) -> bytes:
    """Build what ACPI tables begin with; 16 bytes of something else follow."""
    data = b"RSD PTR \0BOCHS \0" + struct.pack("<I", 0x1FFE1550)
    return data[:8] + bytes([-sum(data) % 256 + (not right)]) + data[9:] + b"\x55" * 16


@pytest.mark.parametrize("told", [0xF59D0, 0x30000014])
def test_acpi_tables_begin_where_the_plan_says(told: int) -> None:
    """Where the machine of the plan has other firmware, or more of its tables."""
    params = bytearray(RUNNING)
    params[0x70:0x78] = struct.pack("<Q", told)
    facts = build_facts([Range(MIB, 0x1FFE0000)], boot_params=bytes(params))
    machine = emulate(build_plan(facts, cmdline=HEARD))
    assert machine.locate(Range.sized(told, 36)) == told
    assert machine.start is not None
    ram = [(Range(MIB, 0x1FFE0000), 1)]
    bios = bytes(16) + rsdp(right=False).ljust(48, b"\0") + rsdp(right=True)
    assert machine.start.settle(Firmware(ram, bios=bios).read) == ((told, rsdp(right=True)),)
    with pytest.raises(SimulationError, match="the emulated firmware has no ACPI tables"):
        machine.start.settle(Firmware(ram, bios=rsdp(right=False)).read)


def test_acpi_tables_in_a_segment_are_refused() -> None:
    params = bytearray(RUNNING)
    params[0x70:0x78] = struct.pack("<Q", 0x1FFDFF00)
    facts = build_facts([Range(MIB, 0x1FFE0000)], boot_params=bytes(params))
    start = emulate(build_plan(facts, cmdline=HEARD)).start
    assert start is not None
    with pytest.raises(SimulationError, match=r"purgatory .* lies on memory that the emulated"):
        start.settle(Firmware([(Range(MIB, 0x1FFE0000), 1)]).read)


def test_firmware_without_a_memory_map() -> None:
    with pytest.raises(SimulationError, match="gives no memory map: flags 0x1"):
        firmware_ram(Firmware([(Range(0, 640 * KIB), 1)], flags=1).read)
