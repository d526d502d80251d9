"""32-bit ARM: the MMU and the caches while segments are hashed, in the emulator, in SVC mode.

It translates by the tables that the purgatory makes, so that an access to what is not mapped, or
may not be done, would end there. It has no caches: what is done to them is looked at.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unicorn import arm_const

from pykexec.purgatory_objects.parameters import build_purgatory
from pykexec.values.consoles import MemoryConsole, UartKind
from tests.purgatory.bench import noise, wrong
from tests.purgatory.emulator import PAGE
from tests.purgatory.emulator_arm import (
    CACHED,
    ORDERED,
    SCTLR_C,
    SCTLR_I,
    SCTLR_M,
    ArmMachine,
    Event,
    Mapped,
    joined,
)
from tests.purgatory.test_purgatory_arm import (
    BASES,
    KERNEL,
    OBJECT,
    RIGHT,
    SEGMENTS,
    covering,
    prepare,
)
from tests.purgatory.uarts import UART_BASE

LINE = 64
"""Bytes of the emulated processor's cache lines."""
WXN, UWXN, TRE, AFE = 1 << 19, 1 << 20, 1 << 28, 1 << 29

WILD_REGISTERS = {"sctlr": WXN | UWXN | TRE | AFE, "ttbr0": 0x1234_5678, "dacr": 0x5555_5550}
"""What the old kernel may have left: with the MMU off it has no effect."""


def page_end(address: int) -> int:
    return (address + PAGE - 1) & -PAGE


def expected(machine: ArmMachine, segments: dict[int, bytes]) -> list[Mapped]:
    """Return what is to be mapped: the purgatory, the segments, its UART."""
    own_end = page_end(machine.base + machine.obj.memsz)
    found = [
        Mapped(machine.base, own_end, (CACHED, True, True)),
        Mapped(UART_BASE & -PAGE, page_end(UART_BASE + 1), (ORDERED, True, False)),
    ]
    found += [
        Mapped(start, page_end(start + len(data)), (CACHED, False, False))
        for start, data in segments.items()
    ]
    return joined(sorted(found, key=lambda item: item.start))


def while_hashing(machine: ArmMachine, segments: Iterable[int]) -> list[dict[str, int]]:
    """Return the system registers at the first access to each segment."""
    watched = [machine.watch_hashing(address) for address in segments]
    machine.run()
    return [registers[0] for registers in watched]


@pytest.mark.parametrize("base", BASES, ids=hex)
def test_what_is_mapped_is_what_is_needed(base: int) -> None:
    machine = prepare(covering(), base=base)
    for registers in while_hashing(machine, SEGMENTS):
        assert registers["sctlr"] & (SCTLR_M | SCTLR_C | SCTLR_I) == SCTLR_M | SCTLR_C | SCTLR_I
        assert not registers["sctlr"] & (WXN | UWXN | TRE | AFE)
        assert machine.mapped(registers) == expected(machine, SEGMENTS)
    assert machine.way == "SVC mode"
    assert machine.text == RIGHT


def test_large_segments_take_blocks() -> None:
    """Where a whole section is in one, that is; on both sides of it are pages."""
    start = 0x4000_0000 - PAGE
    segments = {start: noise((1 << 20) + 2 * PAGE)}
    machine = prepare(covering(segments), segments=segments)
    (registers,) = while_hashing(machine, segments)
    assert machine.mapped(registers) == expected(machine, segments)
    kinds = []
    for address in (start, 0x4000_0000, 0x4010_0000):
        entry = machine.get(registers["ttbr0"] + (address >> 20) * 4, 4)
        kinds.append(entry[0] & 3)
    assert kinds == [1, 2, 1]


def test_without_a_console_it_has_no_page() -> None:
    machine = prepare(covering(console=None))
    registers = while_hashing(machine, SEGMENTS)[0]
    assert not [item for item in machine.mapped(registers) if item.attributes[0] == ORDERED]


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_segments_anywhere(data: st.DataObject) -> None:
    """Neighbours, and pages around the ends of tables; the tables suffice for all of them."""
    pages = st.builds(
        lambda table, page: ((table << 8) + page) * PAGE,
        st.sampled_from([0x20, 0x21, 0x400, 0x401, 0xA00, 0xFFE]),
        st.sampled_from([0, 1, 2, 254, 255]),
    )
    starts = sorted(data.draw(st.sets(pages, min_size=1, max_size=16)))
    segments = {start: noise(data.draw(st.integers(1, PAGE)), seed=start) for start in starts}
    machine = prepare(covering(segments), segments=segments)
    registers = while_hashing(machine, segments)[0]
    assert machine.mapped(registers) == expected(machine, segments)
    assert machine.entered_kernel


def test_sixteen_segments_far_apart_across_blocks() -> None:
    """The most tables that a load can take: each segment begins and ends in a block of its own."""
    segments = {
        0x1000_0000 * number + (1 << 20) - PAGE: noise(2 * PAGE, seed=number)
        for number in range(15)
    }
    segments[0x0888_0000] = noise(3 << 20)
    machine = prepare(covering(segments), segments=segments, base=0xFE8F_F000)
    registers = while_hashing(machine, segments)[0]
    assert machine.mapped(registers) == expected(machine, segments)
    assert machine.entered_kernel


@pytest.mark.parametrize("right", [True, False])
def test_registers_are_at_the_exit_what_they_were(right: bool) -> None:
    params = covering()
    machine = prepare(params if right else wrong(params))
    for name, value in WILD_REGISTERS.items():
        now = machine.read_system(name) if name == "sctlr" else 0
        machine.write_system(name, now | value)
    before = machine.system_registers()
    hashing = while_hashing(machine, SEGMENTS)[0]
    assert {name for name in before if hashing[name] != before[name]} == {"sctlr", "ttbr0", "dacr"}
    # Where it stands still nobody follows who would miss the instruction cache as it was.
    after = machine.system_registers()
    assert {**after, "sctlr": after["sctlr"] & ~SCTLR_I} == before
    assert bool(after["sctlr"] & SCTLR_I) is not right
    assert machine.entered_kernel is right


def test_instructions_a_byte() -> None:
    """What the speed that plans reckon with is made of."""
    counts = []
    for size in (4096, 4096 + 16384):
        segments = {KERNEL: bytes(size)}
        counts.append(prepare(covering(segments), segments=segments).count_instructions())
    a_byte = (counts[1] - counts[0]) / 16384
    print(f"purgatory arm: {a_byte:.2f} instructions a byte")
    assert 35 <= a_byte <= 42


@functools.cache
def watched_run() -> tuple[ArmMachine, list[Event]]:
    """Return a machine that has done its work, and all that was done to caches meanwhile."""
    machine = prepare(covering())
    events = machine.watch_system()
    machine.run()
    assert machine.entered_kernel
    return machine, events


class TestCaches:
    """Order of what is done to them. The Arm manual's "Caches and branch predictors", B2.2."""

    @staticmethod
    def phases() -> tuple[list[Event], list[Event], list[Event]]:
        """Return what is done before the MMU is on, while it is, and after that."""
        _, events = watched_run()
        on = [bool(event.sctlr & SCTLR_M) for event in events]
        start, end = on.index(True), len(on) - on[::-1].index(True)
        assert all(on[start:end])
        return events[:start], events[start:end], events[end:]

    @staticmethod
    def lines(events: Iterable[Event], kind: str) -> set[int]:
        return {event.address & -LINE for event in events if event.kind == kind}

    @staticmethod
    def own() -> set[int]:
        machine, _ = watched_run()
        return set(range(machine.base, machine.base + machine.obj.memsz, LINE))

    @staticmethod
    def segments() -> set[int]:
        return {
            line
            for start, data in SEGMENTS.items()
            for line in range(start, page_end(start + len(data)), LINE)
        }

    def test_before(self) -> None:
        """What was written is invalidated, segments are cleaned too, translations go last."""
        before, _, _ = self.phases()
        assert self.lines(before, "imvac") == self.own()
        assert self.lines(before, "cimvac") == self.segments()
        assert [event.kind for event in before[-2:]] == ["iallu", "tlbi"]

    def test_on(self) -> None:
        """All that was written is cleaned, and nothing is written after that."""
        _, on, _ = self.phases()
        kinds = [event.kind for event in on]
        first = kinds.index("cimvac")
        assert set(kinds[first:]) == {"cimvac"}
        assert self.lines(on, "cimvac") == self.own()
        assert set(kinds[:first]) == {"write"}

    def test_after(self) -> None:
        """Translations go, then each line that was read; the instruction cache at the end."""
        _, _, after = self.phases()
        assert after[0].kind == "tlbi"
        assert self.lines(after, "cimvac") == self.own() | self.segments()
        assert after[-1].kind == "iallu"
        assert not self.lines(after, "imvac")


class OldMachine(ArmMachine):
    """A processor before ARMv7, whose cache type register has another form."""

    model = arm_const.UC_CPU_ARM_1176


class TestCachesStayOff:
    """Where something is not as expected, that is said, and the hashing is done as it was."""

    def said(self, machine: ArmMachine) -> str:
        before = machine.system_registers()
        events = machine.watch_system()
        machine.run()
        assert machine.entered_kernel
        assert not [event for event in events if event.sctlr & SCTLR_M or event.kind == "tlbi"]
        assert before == machine.system_registers()
        assert machine.way is None
        first, reason, *rest = machine.text.splitlines()
        assert "verifying" in first
        assert "SHA-256 is right" in rest[0]
        assert len(reason) < 80
        start = "pykexec purgatory: caches stay off: "
        assert reason.startswith(start)
        return reason.removeprefix(start)

    def test_an_old_processor(self) -> None:
        machine = OldMachine(OBJECT, BASES[1], build_purgatory(OBJECT, BASES[1], covering()))
        for start, data in SEGMENTS.items():
            machine.put(start, data)
        assert self.said(machine) == "before ARMv7, processor 0x410fb767"

    def test_a_cache_is_on(self) -> None:
        machine = prepare(covering())
        control = machine.control | SCTLR_C
        machine.write_system("sctlr", control)
        said = self.said(machine)
        assert said == f"the control register has them on: {control | SCTLR_I:#x}"

    def test_a_uart_in_the_page_in_which_a_segment_ends(self) -> None:
        """Neither is such a page memory nor is it not; what is said goes to no UART here."""
        place = KERNEL + len(SEGMENTS[KERNEL]) + 16
        assert place % PAGE
        machine = prepare(covering(console=MemoryConsole(place, UartKind.PLAIN, 1)))
        events = machine.watch_system()
        machine.run()
        assert machine.entered_kernel
        assert machine.get(place, 1) == b"\n"
        assert not [event for event in events if event.sctlr & SCTLR_M or event.kind == "tlbi"]
