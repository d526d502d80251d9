"""arm64: the MMU and the caches while segments are hashed, in the emulator.

It translates by the tables that the purgatory makes, so that an access to what is not mapped, or
may not be done, would end there. It has no caches: what is done to them is looked at.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykexec.values.consoles import MemoryConsole, UartKind
from tests.purgatory.bench import AARCH64, BASE, MEMORY, RIGHT, SEGMENTS, WHAT, noise, wrong
from tests.purgatory.emulator import PAGE
from tests.purgatory.emulator_aarch64 import (
    CONTROLLED,
    CPTR,
    ISAR0,
    MAIR,
    MMFR0,
    SCTLR,
    SCTLR_C,
    SCTLR_I,
    SCTLR_M,
    TCR,
    TTBR0,
    VBAR,
    Aarch64Machine,
    Event,
    VheMachine,
)
from tests.purgatory.translation_aarch64 import (
    DEVICE_NGNRNE,
    INNER_SHAREABLE,
    NORMAL_WRITE_BACK,
    Mapped,
    joined,
)
from tests.purgatory.uarts import UART_BASE

LINE = 64
"""Bytes of the emulated processor's cache lines."""
WXN = 1 << 19
A72_MEMORY = 0x1124
"""ID_AA64MMFR0_EL1 of a Cortex-A72: 44 bits, pages of 4 and 64 KiB."""
SIXTEEN_KIB, NO_FOUR_KIB, NO_SIXTY_FOUR_KIB = 1 << 20, 0xF << 28, 0xF << 24

WILD_REGISTERS = {
    # With the MMU on, the purgatory could not be executed: it is written to.
    SCTLR: WXN,
    TCR: 0x0000_00A5_8550_1519,
    TTBR0: 0x0000_1234_5678_9000,
    MAIR: 0xDEAD_BEEF_0BAD_F00D,
    VBAR: 0x0000_0123_4567_8800,
}
"""What the old kernel may have left: with the MMU off it has no effect, but for exceptions."""

OTHER_BASES = tuple(base for base in AARCH64.bases if base != BASE)

full = pytest.mark.full
each_level = pytest.mark.parametrize("level", [1, 2])


def page_end(address: int, page: int = PAGE) -> int:
    return (address + page - 1) & -page


def prepare(
    segments: dict[int, bytes] = SEGMENTS, base: int = BASE, **others: Any
) -> Aarch64Machine:
    others.setdefault("console", AARCH64.serial)
    return AARCH64.prepare(AARCH64.covering(segments, **others), segments, base)


def run_watched(
    machine: Aarch64Machine, level: int, segments: Iterable[int]
) -> list[dict[str, int]]:
    """Return the system registers at each first access to a segment."""
    watched = [machine.watch_hashing(level, address) for address in segments]
    machine.run(level)
    return [registers[0] for registers in watched]


def expected(machine: Aarch64Machine, segments: dict[int, bytes], page: int = PAGE) -> list[Mapped]:
    """Return what is to be mapped: the purgatory, the segments, its UART."""
    own = Mapped(
        machine.base,
        page_end(machine.base + machine.obj.memsz, page),
        NORMAL_WRITE_BACK,
        INNER_SHAREABLE,
        writable=True,
        executable=True,
    )
    uart = Mapped(
        UART_BASE & -page,
        page_end(UART_BASE + 1, page),
        DEVICE_NGNRNE,
        INNER_SHAREABLE,
        writable=True,
        executable=False,
    )
    contents = [
        Mapped(
            start,
            page_end(start + len(data), page),
            NORMAL_WRITE_BACK,
            INNER_SHAREABLE,
            writable=False,
            executable=False,
        )
        for start, data in segments.items()
    ]
    return sorted([own, uart, *contents], key=lambda item: item.start)


@each_level
class TestTranslation:
    @pytest.mark.parametrize(
        "base", [BASE, *(pytest.param(base, marks=full) for base in OTHER_BASES)], ids=hex
    )
    def test_what_is_mapped_is_what_is_needed(self, level: int, base: int) -> None:
        machine = prepare(base=base)
        for registers in run_watched(machine, level, SEGMENTS):
            assert registers["sctlr"] & (SCTLR_M | SCTLR_C | SCTLR_I)
            assert not registers["sctlr"] & WXN
            found = machine.translation(level, registers)
            assert found.mapped() == expected(machine, SEGMENTS)
            highest = max(item.end for item in found.mapped()) - 1
            assert found.address_bits == max(32, highest.bit_length())
            assert found.output_bits == 44
        assert machine.text == RIGHT.format(what=WHAT)

    def test_large_segments_take_blocks(self, level: int) -> None:
        """Where a whole block is in one, that is; on both sides of it are pages."""
        start = 0x4000_0000 - PAGE
        segments = {start: noise((2 << 20) + 2 * PAGE)}
        machine = prepare(segments)
        (registers,) = run_watched(machine, level, segments)
        found = machine.translation(level, registers)
        assert found.mapped() == expected(machine, segments)
        kinds = {}
        for address in (start, 0x4000_0000, 0x4020_0000):
            level_2 = found.entry(found.root, address >> 30) & -PAGE
            kinds[address] = found.entry(level_2, address >> 21 & 511) & 3
        assert list(kinds.values()) == [3, 1, 3]

    @pytest.mark.parametrize(
        ("memory", "page"),
        [
            (A72_MEMORY, PAGE),
            (A72_MEMORY | NO_FOUR_KIB | SIXTEEN_KIB, 16 << 10),
            (A72_MEMORY | NO_FOUR_KIB, 64 << 10),
        ],
        ids=["4K", "16K", "64K"],
    )
    def test_the_smallest_pages_of_the_processor(self, level: int, memory: int, page: int) -> None:
        segments = {0x200_0000: noise(70_000), 0x5_0000_0000: b"x", 0x8_0001_0000: noise(200)}
        machine = prepare(segments, 0x7FFF_0000)
        machine.put(machine.base + machine.obj.memsz, bytes(64 << 10))
        machine.pretend(MMFR0, memory)
        for registers in run_watched(machine, level, segments):
            found = machine.translation(level, registers)
            assert found.granule.bits == page.bit_length() - 1
            assert found.mapped() == expected(machine, segments, page)
        assert machine.entered_kernel
        assert machine.way == f"EL{level}, pages of {page >> 10} KiB, SHA instructions"

    @pytest.mark.parametrize(
        ("size", "bits"),
        [
            (2, 40),
            (6, 48),
            *(
                pytest.param(*pair, marks=full)
                for pair in ((0, 32), (1, 36), (3, 42), (4, 44), (5, 48), (7, 48))
            ),
        ],
    )
    def test_output_addresses_are_the_processors(self, level: int, size: int, bits: int) -> None:
        segments = {MEMORY: b"kernel"}
        machine = prepare(segments)
        machine.pretend(MMFR0, A72_MEMORY & ~0xF | size)
        (registers,) = run_watched(machine, level, segments)
        assert machine.translation(level, registers).output_bits == bits
        assert machine.entered_kernel

    def test_without_a_console_it_has_no_page(self, level: int) -> None:
        machine = prepare(console=None)
        registers = run_watched(machine, level, SEGMENTS)[0]
        found = machine.translation(level, registers).mapped()
        assert not [item for item in found if item.memory_type == DEVICE_NGNRNE]

    def test_a_uart_may_lie_across_pages(self, level: int) -> None:
        """Its status register is on the next one."""
        segments = {MEMORY: b"kernel"}
        console = MemoryConsole(UART_BASE + PAGE - 4, UartKind.PL011, 4)
        machine = prepare(segments, console=console)
        machine.uart.base = console.console_sink

        def status(_uc: object, offset: int, size: int, _data: object) -> int:
            return machine.uart.read(offset + 4, size)

        machine.uc.mmio_map(UART_BASE + PAGE, PAGE, status, None, None, None)
        (registers,) = run_watched(machine, level, segments)
        found = machine.translation(level, registers).mapped()
        assert [(item.start, item.end) for item in found if item.memory_type == DEVICE_NGNRNE] == [
            (UART_BASE, UART_BASE + 2 * PAGE)
        ]


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_segments_anywhere(data: st.DataObject) -> None:
    """Neighbours, and pages around the ends of tables."""
    pages = st.builds(
        lambda table, page: ((table << 9) + page) * PAGE,
        st.sampled_from([0x10, 0x11, 0x200, 0x201, 0x8000, 0x3F_FFFF]),
        st.sampled_from([0, 1, 2, 510, 511]),
    )
    starts = sorted(data.draw(st.sets(pages, min_size=1, max_size=16)))
    segments = {start: noise(data.draw(st.integers(1, PAGE)), seed=start) for start in starts}
    level = data.draw(st.sampled_from([1, 2]))
    machine = prepare(segments)
    registers = run_watched(machine, level, segments)[0]
    found = machine.translation(level, registers).mapped()
    assert found == joined(expected(machine, segments))
    assert machine.entered_kernel


@each_level
class TestRegisters:
    @pytest.mark.parametrize("right", [True, False])
    def test_they_are_at_the_exit_what_they_were(self, level: int, right: bool) -> None:
        params = AARCH64.covering(SEGMENTS, console=AARCH64.serial)
        machine = AARCH64.prepare(params if right else wrong(params), SEGMENTS)
        for register, value in WILD_REGISTERS.items():
            now = machine.read_system(level, register) if register == SCTLR else 0
            machine.write_system(level, register, now | value)
        before = machine.system_registers(level)
        hashing = run_watched(machine, level, SEGMENTS)[0]
        assert {name for name in before if hashing[name] != before[name]} >= {
            *("sctlr", "tcr", "ttbr0", "mair")
        }
        assert machine.system_registers(level) == before
        assert machine.entered_kernel is right

    def test_the_instruction_cache_may_be_on(self, level: int) -> None:
        machine = prepare()
        machine.write_system(level, SCTLR, machine.read_system(level, SCTLR) | SCTLR_I)
        before = machine.system_registers(level)
        machine.run(level)
        assert machine.entered_kernel
        assert machine.system_registers(level) == before


@functools.cache
def watched_run(level: int) -> tuple[Aarch64Machine, list[Event]]:
    """Return a machine that has done its work, and all that was done to caches meanwhile."""
    machine = prepare()
    events = machine.watch_system(level)
    machine.watch_own_writes(level, events)
    machine.run(level)
    assert machine.entered_kernel
    return machine, events


@each_level
class TestCaches:
    """Order of what is done to them. The Arm manual's "Cache support", D7.5."""

    @staticmethod
    def phases(events: list[Event]) -> tuple[list[Event], list[Event], list[Event]]:
        """Return what is done before the MMU is on, while it is, and after that."""
        on = [bool(event.sctlr & SCTLR_M) for event in events]
        start, end = on.index(True), len(on) - on[::-1].index(True)
        assert all(on[start:end])
        return events[:start], events[start:end], events[end:]

    @staticmethod
    def lines(events: Iterable[Event], kind: str) -> set[int]:
        return {event.address & -LINE for event in events if event.kind == kind}

    @staticmethod
    def own(machine: Aarch64Machine) -> set[int]:
        return set(range(machine.base, machine.base + machine.obj.memsz, LINE))

    @staticmethod
    def segments() -> set[int]:
        return {
            line
            for start, data in SEGMENTS.items()
            for line in range(start, page_end(start + len(data)), LINE)
        }

    def test_before(self, level: int) -> None:
        """What was written is invalidated, segments are cleaned too, translations go last."""
        machine, events = watched_run(level)
        before, _, _ = self.phases(events)
        assert self.lines(before, "ivac") == self.own(machine)
        assert self.lines(before, "civac") == self.segments()
        assert [event.kind for event in before[-2:]] == ["iallu", "tlbi"]
        assert all(event.sctlr & SCTLR_I for event in before if event.kind.endswith("vac"))

    def test_on(self, level: int) -> None:
        """All that was written is cleaned, and nothing is written after that."""
        machine, events = watched_run(level)
        _, on, _ = self.phases(events)
        kinds = [event.kind for event in on]
        first = kinds.index("civac")
        assert set(kinds[first:]) == {"civac"}
        assert self.lines(on, "civac") == self.own(machine)
        assert set(kinds[:first]) == {"write"}

    def test_after(self, level: int) -> None:
        """Translations go, then each line that was read; the instruction cache at the end."""
        machine, events = watched_run(level)
        _, _, after = self.phases(events)
        assert after[0].kind == "tlbi"
        assert self.lines(after, "civac") == self.own(machine) | self.segments()
        assert all(event.sctlr & SCTLR_I for event in after if event.kind == "civac")
        assert not any(event.sctlr & SCTLR_I for event in after[-2:])
        assert after[-1].kind == "iallu"
        assert not self.lines(after, "ivac")


class TestCachesStayOff:
    """Where something is not as expected, that is said, and the hashing is done as it was."""

    def said(self, machine: Aarch64Machine, level: int = 1) -> str:
        before = machine.system_registers(level) if level < 3 else {}
        events = machine.watch_system(level) if level < 3 else []
        machine.run(level)
        assert machine.entered_kernel
        assert not [event for event in events if event.sctlr & SCTLR_M or event.kind == "tlbi"]
        assert before == (machine.system_registers(level) if level < 3 else {})
        assert machine.way is None
        first, reason, *rest = machine.text.splitlines()
        assert "verifying" in first
        assert "SHA-256 is right" in rest[0]
        assert len(reason) < 80
        start = "pykexec purgatory: caches stay off: "
        assert reason.startswith(start)
        return reason.removeprefix(start)

    def test_exception_level(self) -> None:
        assert self.said(prepare(), 3) == "unknown exception level 0x3"

    @each_level
    def test_a_cache_is_on(self, level: int) -> None:
        machine = prepare()
        sctlr = machine.read_system(level, SCTLR) | SCTLR_C
        machine.write_system(level, SCTLR, sctlr)
        assert self.said(machine, level) == f"SCTLR has them on: {sctlr:#x}"

    @each_level
    def test_address(self, level: int) -> None:
        machine = prepare()
        machine.pretend(MMFR0, A72_MEMORY & ~0xF | 0)
        assert self.said(machine, level) == "the processor ends below 0x500000fff"

    def test_no_granule(self) -> None:
        machine = prepare()
        machine.pretend(MMFR0, A72_MEMORY | NO_FOUR_KIB | NO_SIXTY_FOUR_KIB)
        assert self.said(machine) == "no size of pages reaches 0x500000fff"

    @each_level
    def test_segment_within_a_page(self, level: int) -> None:
        assert self.said(prepare({MEMORY + 64: b"kernel"}), level) == "no page begins at 0x2000040"

    def test_large_pages(self) -> None:
        machine = prepare({0x200_1000: b"kernel"})
        machine.pretend(MMFR0, A72_MEMORY | NO_FOUR_KIB)
        assert self.said(machine) == "no page begins at 0x2001000"

    def test_segments_in_one_page(self) -> None:
        machine = prepare({MEMORY: bytes(2 * PAGE), MEMORY + PAGE: bytes(PAGE)})
        assert self.said(machine) == "mapped twice: 0x2001000"

    def test_too_many_tables(self) -> None:
        """Pages of 64 KiB take tables of 64 KiB: seven of them are there."""
        segments = {0x1_0000_0000 * (index + 1): b"x" for index in range(8)}
        machine = prepare(segments)
        machine.pretend(MMFR0, A72_MEMORY | NO_FOUR_KIB)
        assert self.said(machine).startswith("no page table is left for 0x")


WITHOUT_INSTRUCTIONS = 0x0001_0000
"""ID_AA64ISAR0_EL1 of a processor with CRC32 and nothing else."""
TRAPPED = {1: 3 << 16, 2: 0x32FF | 1 << 10}
"""CPACR_EL1 and CPTR_EL2 with which an instruction that uses vector registers is an exception, and
one of SVE is not, where vectors themselves would not be."""
WHILE_HASHING = {1: 3 << 20, 2: 0x33FF}
"""With vectors, and without SVE."""


@each_level
class TestInstructions:
    """SHA-256 by the processor's instructions, where ID_AA64ISAR0_EL1 has them."""

    def machine(self, segments: dict[int, bytes], *, has_them: bool) -> Aarch64Machine:
        machine = prepare(segments)
        if not has_them:
            machine.pretend(ISAR0, WITHOUT_INSTRUCTIONS)
        return machine

    @pytest.mark.parametrize(
        "size", [64, 70_000, *(pytest.param(size, marks=full) for size in (1, 63, 65, 4095, 4096))]
    )
    @pytest.mark.parametrize("has_them", [True, False])
    def test_both_ways(self, level: int, size: int, has_them: bool) -> None:
        segments = {MEMORY: noise(size)}
        machine = self.machine(segments, has_them=has_them)
        machine.run(level)
        assert machine.entered_kernel
        assert machine.vectors_are_untouched is not has_them
        way = "SHA instructions" if has_them else "no SHA instructions"
        assert machine.way == f"EL{level}, pages of 4 KiB, {way}"
        machine = self.machine(segments, has_them=has_them)
        machine.put(MEMORY + size // 2, bytes([segments[MEMORY][size // 2] ^ 4]))
        machine.run(level)
        assert machine.halted

    @pytest.mark.parametrize("has_them", [True, False])
    def test_traps_are_lifted_for_it_alone(self, level: int, has_them: bool) -> None:
        machine = self.machine(SEGMENTS, has_them=has_them)
        name = "cpacr" if level == 1 else "cptr"
        machine.write_system(level, CONTROLLED[level][name], TRAPPED[level])
        before = machine.system_registers(level)
        hashing = run_watched(machine, level, SEGMENTS)
        expected = WHILE_HASHING[level] if has_them else TRAPPED[level]
        assert {registers[name] for registers in hashing} == {expected}
        assert machine.system_registers(level) == before

    def test_with_caches_off_they_are_not_used(self, level: int) -> None:
        machine = prepare({MEMORY + 64: bytes(1000)})
        machine.run(level)
        assert "caches stay off" in machine.text
        assert machine.vectors_are_untouched

    @pytest.mark.parametrize(("has_them", "most"), [(True, 4), (False, 32)])
    def test_instructions_a_byte(self, level: int, has_them: bool, most: float) -> None:
        counts = []
        for size in (4096, 4096 + 16384):
            machine = self.machine({MEMORY: bytes(size)}, has_them=has_them)
            counts.append(machine.count_instructions(level))
        a_byte = (counts[1] - counts[0]) / 16384
        print(f"purgatory aarch64: {a_byte:.2f} instructions a byte")
        assert a_byte <= most


@pytest.mark.parametrize("has_them", [True, False])
def test_el2_with_e2h(has_them: bool) -> None:
    """There TCR_EL2 and CPTR_EL2 have the formats of EL1's registers."""
    params = AARCH64.covering(SEGMENTS, console=AARCH64.serial)
    machine = replace(AARCH64, machine=VheMachine).prepare(params, SEGMENTS)
    assert isinstance(machine, VheMachine)
    if not has_them:
        machine.pretend(ISAR0, WITHOUT_INSTRUCTIONS)
    for register, value in {**WILD_REGISTERS, CPTR: TRAPPED[1]}.items():
        now = machine.read_system(2, register) if register == SCTLR else 0
        machine.write_system(2, register, now | value)
    before = machine.system_registers(2)
    for registers in run_watched(machine, 2, SEGMENTS):
        assert machine.translation(2, registers).mapped() == expected(machine, SEGMENTS)
        assert registers["cptr"] == (WHILE_HASHING if has_them else TRAPPED)[1]
    assert machine.text == RIGHT.format(what=WHAT)
    assert machine.way is not None
    assert machine.way.startswith("EL2 with VHE, pages of 4 KiB, ")
    assert machine.vectors_are_untouched is not has_them
    assert machine.system_registers(2) == before
