"""AArch64: the state in which the kernel is entered, what needs no MMU, and UARTs in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykexec.purgatory_objects.parameters import Aarch64Registers
from pykexec.values.consoles import Console, MemoryConsole, UartKind
from tests.purgatory.bench import (
    AARCH64,
    BASE,
    MEMORY,
    RIGHT,
    SEGMENTS,
    WHAT,
    noise,
    wrong,
)
from tests.purgatory.emulator import KERNEL_ENTRY, PAGE
from tests.purgatory.emulator_aarch64 import Aarch64Machine
from tests.purgatory.uarts import (
    UART_BASE,
    MemoryUart,
    Pl011,
    Uart8250,
    WriteOnly,
)

DTB = 0x4800_0000
POLLS_MAX = 1 << 20
PL011 = MemoryConsole(UART_BASE, UartKind.PL011, 4)
UART_8250 = MemoryConsole(UART_BASE + 0x400, UartKind.UART_8250, 4, 2)
AN_8250 = partial(Uart8250, base=UART_BASE + 0x400, reg_shift=2)
UARTS = [
    pytest.param(PL011, Pl011, id="pl011, sbsa"),
    pytest.param(replace(PL011, console_width=2), partial(Pl011, width=2), id="pl011"),
    pytest.param(
        MemoryConsole(UART_BASE, UartKind.UART_8250, 1), partial(Uart8250, width=1), id="8250"
    ),
    pytest.param(UART_8250, AN_8250, id="8250, words"),
    pytest.param(
        MemoryConsole(UART_BASE, UartKind.PLAIN, 1), partial(WriteOnly, width=1), id="plain"
    ),
]


def prepare(console: Console, uart: MemoryUart, digest_is_right: bool = True) -> Aarch64Machine:
    params = AARCH64.covering(SEGMENTS, console=console)
    machine = AARCH64.prepare(params if digest_is_right else wrong(params), SEGMENTS)
    machine.uart = uart
    return machine


class TestKernelEntryState:
    """Linux Documentation/arch/arm64/booting.rst, "Call the kernel image"."""

    @pytest.mark.parametrize("level", [1, 2])
    @pytest.mark.parametrize("base", AARCH64.bases, ids=hex)
    def test_general_registers(self, base: int, level: int) -> None:
        registers = Aarch64Registers(x0=DTB, pc=KERNEL_ENTRY)
        params = replace(AARCH64.covering(SEGMENTS), registers=registers)
        machine = AARCH64.prepare(params, SEGMENTS, base)
        machine.run(level)
        assert machine.registers == {"x0": DTB, "x1": 0, "x2": 0, "x3": 0, "pc": KERNEL_ENTRY}

    @pytest.mark.parametrize("level", [1, 2])
    @pytest.mark.parametrize("right", [True, False])
    def test_processor_mode(self, level: int, right: bool) -> None:
        """Interrupts were open; the exception level stays what the old kernel chose."""
        machine = prepare(PL011, Pl011(), right)
        machine.run(level)
        assert machine.entered_kernel is right
        assert machine.halted is not right
        assert machine.exception_level == level
        assert machine.masked
        assert machine.mmu_is_off

    def test_the_stack_is_the_purgatorys_own(self) -> None:
        machine = AARCH64.run(AARCH64.covering(SEGMENTS), SEGMENTS)
        assert machine.register("sp") == BASE + AARCH64.obj.symbols["stack_end"].offset


class TestWithoutTheMmu:
    """All memory is Device memory: Arm Architecture Reference Manual (DDI 0487), D8.2."""

    @given(data=st.data())
    @settings(max_examples=15, deadline=None)
    def test_each_access_is_aligned(self, data: st.DataObject) -> None:
        """Wherever a segment begins, and whatever comes before it in the digest."""
        sizes = data.draw(st.lists(st.integers(1, 200), min_size=1, max_size=4))
        shifts = data.draw(st.lists(st.integers(0, 63), min_size=4, max_size=4))
        segments = {
            MEMORY + 0x1000 * index + shifts[index]: noise(size) for index, size in enumerate(sizes)
        }
        right = data.draw(st.booleans())
        params = AARCH64.covering(segments, console=PL011)
        machine = AARCH64.prepare(params if right else wrong(params), segments)
        machine.watch_accesses()
        machine.run()
        assert machine.entered_kernel is right
        read = {address for address, _ in machine.accesses}
        assert read >= {*segments}
        assert [item for item in machine.accesses if item[0] % item[1]] == []

    def test_an_unaligned_access_would_be_noticed(self) -> None:
        machine = AARCH64.prepare(AARCH64.covering({}), {MEMORY: bytes(16)})
        # movz x9, #0x200, lsl #16; ldur w9, [x9, #1]; msr daifset, #0xf; wfi
        code = ("0940a0d2", "291140b8", "df4f03d5", "7f2003d5")
        machine.put(BASE + AARCH64.obj.entry, bytes.fromhex("".join(code)))
        machine.watch_accesses()
        machine.run()
        assert machine.halted
        assert machine.accesses == [(MEMORY + 1, 4)]

    @pytest.mark.parametrize("right", [True, False])
    def test_vector_registers_are_left_alone(self, right: bool) -> None:
        machine = prepare(PL011, Pl011(), right)
        machine.run()
        assert machine.vectors_are_untouched

    def test_a_write_to_a_vector_register_would_be_noticed(self) -> None:
        machine = AARCH64.prepare(AARCH64.covering({}), {})
        # movi v31.2d, #0; wfi
        machine.put(BASE + AARCH64.obj.entry, bytes.fromhex("1fe4006f 7f2003d5"))
        machine.run()
        assert not machine.vectors_are_untouched

    def test_it_runs_at_the_pages_of_every_kernel(self) -> None:
        """Kernels with pages of 64 KiB place it on one of theirs; any page of 4 KiB will do."""
        assert AARCH64.obj.align == PAGE
        for base in (0x1_0000, 0x4000, 0x1000):
            assert AARCH64.run(AARCH64.covering(SEGMENTS), SEGMENTS, base).entered_kernel


class TestUarts:
    @pytest.mark.parametrize(("console", "uart"), UARTS)
    @pytest.mark.parametrize("right", [True, False])
    def test_it_is_heard(
        self, console: Console, uart: Callable[[], MemoryUart], right: bool
    ) -> None:
        machine = prepare(console, uart(), right)
        machine.run()
        assert machine.entered_kernel is right
        if right:
            assert machine.text == RIGHT.format(what=WHAT)
        else:
            assert machine.text.startswith(f"pykexec purgatory: verifying {WHAT}\n")
            assert machine.text.endswith("halted, reset the machine\n")
        assert machine.all_sent

    @pytest.mark.parametrize(
        ("console", "uart", "status"),
        [
            (PL011, Pl011, Pl011.TXFF | Pl011.BUSY),
            (PL011, Pl011, 0xFFFF_FFFF),
            (UART_8250, AN_8250, 0),
        ],
        ids=["pl011", "nothing there", "8250"],
    )
    @pytest.mark.parametrize("right", [True, False])
    def test_busy_for_ever_is_waited_for_once(
        self, console: Console, uart: Callable[..., MemoryUart], status: int, right: bool
    ) -> None:
        machine = prepare(console, uart(status=status), right)
        machine.run()
        assert machine.entered_kernel is right
        assert machine.halted is not right
        assert machine.uart.reads == POLLS_MAX
        assert not machine.uart.sent

    def test_a_uart_that_stops_is_left_alone_from_then_on(self) -> None:
        """It takes the first characters; its line is held up by flow control, say."""

        class Stops(Pl011):
            def write(self, offset: int, size: int, value: int) -> None:
                super().write(offset, size, value)
                if len(self.sent) == 10:
                    self.status = Pl011.TXFF | Pl011.BUSY

        machine = prepare(PL011, Stops())
        machine.run()
        assert machine.entered_kernel
        assert bytes(machine.uart.sent) == b"pykexec pu"
        assert POLLS_MAX < machine.uart.reads < POLLS_MAX + 100

    def test_nothing_but_the_uart_is_touched(self) -> None:
        machine = prepare(PL011, Pl011())
        machine.watch_accesses()
        machine.run()
        of_device = {item for item in machine.accesses if item[0] in machine.device_memory}
        assert of_device == {(UART_BASE, 4), (UART_BASE + 0x18, 4)}
