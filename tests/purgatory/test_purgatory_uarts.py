"""UARTs in memory, and memory that is read and written aligned: what is no PC's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykexec.values.consoles import Console, MemoryConsole, UartKind
from tests.purgatory.bench import (
    AARCH64,
    BASE,
    LOONGARCH64,
    MEMORY,
    RIGHT,
    RISCV64,
    SEGMENTS,
    WHAT,
    Bench,
    noise,
    wrong,
)
from tests.purgatory.emulator import Machine
from tests.purgatory.uarts import UART_BASE, MemoryUart, Pl011, Uart8250, WriteOnly

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

each_architecture = pytest.mark.parametrize(
    "bench", [AARCH64, LOONGARCH64, RISCV64], ids=lambda bench: bench.arch
)
each_that_is_watched = pytest.mark.parametrize(
    "bench",
    [
        pytest.param(AARCH64, id=AARCH64.arch),
        # By a trace of all instructions.
        pytest.param(LOONGARCH64, id=LOONGARCH64.arch, marks=pytest.mark.full),
        pytest.param(RISCV64, id=RISCV64.arch),
    ],
)
# The code is the same, and a million looks take their time.
one_often = pytest.mark.parametrize(
    "bench",
    [
        pytest.param(AARCH64, id=AARCH64.arch),
        pytest.param(RISCV64, id=RISCV64.arch, marks=pytest.mark.full),
    ],
)


def prepare(
    bench: Bench[Any], console: Console, uart: MemoryUart, digest_is_right: bool = True
) -> Machine:
    params = bench.covering(SEGMENTS, console=console)
    machine: Machine = bench.prepare(params if digest_is_right else wrong(params), SEGMENTS)
    machine.uart = uart
    return machine


class TestUarts:
    @pytest.mark.parametrize(("console", "uart"), UARTS)
    @pytest.mark.parametrize("right", [True, False])
    @each_architecture
    def test_it_is_heard(
        self, bench: Bench[Any], console: Console, uart: Callable[[], MemoryUart], right: bool
    ) -> None:
        machine = prepare(bench, console, uart(), right)
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
    @one_often
    def test_busy_for_ever_is_waited_for_once(
        self,
        bench: Bench[Any],
        console: Console,
        uart: Callable[..., MemoryUart],
        status: int,
        right: bool,
    ) -> None:
        machine = prepare(bench, console, uart(status=status), right)
        machine.run()
        assert machine.entered_kernel is right
        assert machine.halted is not right
        assert isinstance(machine.uart, MemoryUart)
        assert machine.uart.reads == POLLS_MAX
        assert not machine.uart.sent

    @one_often
    def test_a_uart_that_stops_is_left_alone_from_then_on(self, bench: Bench[Any]) -> None:
        """It takes the first characters; its line is held up by flow control, say."""

        class Stops(Pl011):
            def write(self, offset: int, size: int, value: int) -> None:
                super().write(offset, size, value)
                if len(self.sent) == 10:
                    self.status = Pl011.TXFF | Pl011.BUSY

        uart = Stops()
        machine = prepare(bench, PL011, uart)
        machine.run()
        assert machine.entered_kernel
        assert bytes(uart.sent) == b"pykexec pu"
        assert POLLS_MAX < uart.reads < POLLS_MAX + 100

    @each_that_is_watched
    def test_nothing_but_the_uart_is_touched(self, bench: Bench[Any]) -> None:
        machine = prepare(bench, PL011, Pl011())
        machine.watch_accesses()
        machine.run()
        of_device = {item for item in machine.accesses if item[0] in machine.device_memory}
        assert of_device == {(UART_BASE, 4), (UART_BASE + 0x18, 4)}


@each_that_is_watched
class TestAlignment:
    """An unaligned access faults: on arm64 to Device memory, on riscv64 where nobody emulates it,
    on LoongArch by a processor without UAL.

    Arm Architecture Reference Manual (DDI 0487), D8.2: with the MMU off all is Device memory.
    """

    @given(data=st.data())
    @settings(max_examples=15, deadline=None)
    def test_each_access_is_aligned(self, bench: Bench[Any], data: st.DataObject) -> None:
        """Wherever a segment begins and ends."""
        sizes = data.draw(st.lists(st.integers(1, 200), min_size=1, max_size=4))
        shifts = data.draw(st.lists(st.sampled_from(range(0, 64, 8)), min_size=4, max_size=4))
        segments = {
            MEMORY + 0x1000 * index + shifts[index]: noise(size) for index, size in enumerate(sizes)
        }
        right = data.draw(st.booleans())
        params = bench.covering(segments, console=bench.serial)
        machine = bench.prepare(params if right else wrong(params), segments)
        machine.watch_accesses()
        machine.run()
        assert machine.entered_kernel is right
        read = {address for address, _ in machine.accesses}
        assert read >= {*segments}
        assert [item for item in machine.accesses if item[0] % item[1]] == []

    def test_an_unaligned_access_would_be_noticed(self, bench: Bench[Any]) -> None:
        code = {
            # movz x9, #0x200, lsl #16; ldur w9, [x9, #1]; msr daifset, #0xf; wfi
            "aarch64": "0940a0d2 291140b8 df4f03d5 7f2003d5",
            # lui t0, 0x2000; lw t0, 1(t0); csrw sie, zero; wfi
            "riscv64": "b7020002 83a21200 73104010 73005010",
            # lu12i.w $t0, 0x2000; ld.w $t0, $t0, 1; idle 0; b .-4
            "loongarch64": "0c000414 8c058028 00804806 ffffff53",
        }
        machine = bench.prepare(bench.covering({}), {MEMORY: bytes(16)})
        # There it has left the old kernel's window.
        behind = 0x20 if bench is LOONGARCH64 else 0
        machine.put(BASE + bench.obj.entry + behind, bytes.fromhex(code[bench.arch]))
        machine.watch_accesses()
        machine.run()
        assert machine.halted
        assert machine.accesses == [(MEMORY + 1, 4)]
