"""LoongArch: the windows on the way in and out, what is handed on, and its console."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pykexec.purgatory_objects.loongarch64 import Loongarch64Registers
from pykexec.values.consoles import MemoryConsole, UartKind
from tests.purgatory.bench import BASE, LOONGARCH64, MEMORY, RIGHT, SEGMENTS, WHAT, unread, wrong
from tests.purgatory.emulator import KERNEL_ENTRY, PAGE, UcError
from tests.purgatory.emulator_loongarch64 import (
    A0,
    A1,
    A2,
    CACHED,
    DBAR,
    IBAR,
    OLD_COMMAND_LINE,
    OLD_WINDOW,
    SP,
    SYSTEM_TABLE,
    Loongarch64Machine,
)
from tests.purgatory.uarts import UART_BASE, Uart8250

COMMAND_LINE = 0x1_7FF0_4000
REGISTERS = Loongarch64Registers(a1=COMMAND_LINE, pc=KERNEL_ENTRY)
UART = MemoryConsole(UART_BASE, UartKind.UART_8250, 1)


def prepare(base: int = BASE, *, right: bool = True) -> Loongarch64Machine:
    params = replace(LOONGARCH64.covering(SEGMENTS), registers=REGISTERS)
    return LOONGARCH64.prepare(params if right else wrong(params), SEGMENTS, base)


class TestKernelEntryState:
    """Linux Documentation/arch/loongarch/booting.rst and arch/loongarch/kernel/head.S."""

    @pytest.mark.parametrize("efi", [0, 1])
    @pytest.mark.parametrize("base", LOONGARCH64.bases, ids=hex)
    def test_registers(self, base: int, efi: int) -> None:
        """EFI's are what came in; the command line is the plan's, not the old kernel's copy."""
        machine = prepare(base)
        machine.efi = efi
        machine.run()
        assert machine.general[A0] == efi
        assert machine.general[A2] == SYSTEM_TABLE
        assert machine.general[A1] == COMMAND_LINE != OLD_COMMAND_LINE

    @pytest.mark.parametrize("entry", [KERNEL_ENTRY, 0x20_0000, 0xFFFF_FFFF_F000], ids=hex)
    def test_the_kernel_is_entered_in_the_window_that_linux_expects(self, entry: int) -> None:
        params = LOONGARCH64.covering(SEGMENTS, registers=replace(REGISTERS, pc=entry))
        machine = LOONGARCH64.prepare(params, {**SEGMENTS, entry: bytes(4)})
        machine.kernel = entry
        machine.run()
        assert machine.pc == CACHED | entry

    def test_the_purgatorys_own_window_is_gone(self) -> None:
        machine = prepare()
        machine.run()
        assert machine.window == OLD_WINDOW

    def test_what_was_written_as_data_may_be_executed(self) -> None:
        """Both barriers, and nothing else before the jump."""
        machine = prepare()
        machine.run()
        *_, data, instructions, _ = machine.last
        assert (data, instructions) == (DBAR, IBAR)

    def test_the_stack_is_the_purgatorys_own(self) -> None:
        machine = prepare()
        machine.run()
        assert machine.general[SP] == BASE + LOONGARCH64.obj.symbols["stack_end"].offset
        assert machine.general[SP] % 16 == 0

    def test_without_its_window_it_would_not_run(self) -> None:
        """Where csrwr is a nop: no address is a physical one then."""
        machine = prepare()
        machine.put(BASE + 0xC, bytes.fromhex("00001500"))
        with pytest.raises(AssertionError, match="nothing maps a physical address"):
            machine.run()

    def test_a_halted_one_has_entered_nothing(self) -> None:
        machine = prepare(right=False)
        machine.run()
        assert machine.halted
        assert not machine.entered_kernel
        assert not machine.windowed


class TestMemory:
    def test_the_first_page_is_memory_like_any_other(self) -> None:
        segments = {0: b"first" * 1000}
        machine = LOONGARCH64.run(LOONGARCH64.covering(segments), segments)
        assert machine.entered_kernel

    def test_a_segment_that_does_not_exist_stops_the_emulation(self) -> None:
        params = replace(LOONGARCH64.covering({}), table=unread(1 << 40, PAGE))
        with pytest.raises(UcError, match="READ"):
            LOONGARCH64.run(params, {})

    def test_a_backup_that_cannot_be_written_does(self) -> None:
        backup = {
            "backup_src_start": MEMORY,
            "backup_src_size": PAGE,
            "backup_dst_start": 1 << 40,
        }
        params = LOONGARCH64.covering({}, **backup)
        with pytest.raises(UcError, match="WRITE"):
            LOONGARCH64.run(params, {MEMORY: bytes(PAGE)})


class TestConsole:
    @pytest.mark.parametrize(("width", "shift"), [(1, 0), (1, 2), (2, 1), (4, 2)])
    def test_an_8250_by_the_uncached_window(self, width: int, shift: int) -> None:
        """Any other address of it would stop the emulation."""
        console = replace(UART, console_width=width, console_reg_shift=shift)
        machine = LOONGARCH64.prepare(LOONGARCH64.covering(SEGMENTS, console=console), SEGMENTS)
        machine.uart = Uart8250(width=width, reg_shift=shift)
        machine.run()
        assert machine.text == RIGHT.format(what=WHAT)
        assert machine.all_sent

    def test_where_no_uart_is_the_emulation_stops(self) -> None:
        console = replace(UART, console_sink=0x1FE0_01E0)
        with pytest.raises(UcError):
            LOONGARCH64.run(LOONGARCH64.covering(SEGMENTS, console=console), SEGMENTS)
