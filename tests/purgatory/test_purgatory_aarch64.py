"""AArch64: the state in which the kernel is entered, and what needs no MMU."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pykexec.purgatory_objects.arm64 import Aarch64Registers
from pykexec.values.consoles import MemoryConsole, UartKind
from tests.purgatory.bench import (
    AARCH64,
    BASE,
    SEGMENTS,
    wrong,
)
from tests.purgatory.emulator import KERNEL_ENTRY, PAGE
from tests.purgatory.emulator_aarch64 import Aarch64Machine
from tests.purgatory.uarts import (
    UART_BASE,
)

DTB = 0x4800_0000
PL011 = MemoryConsole(UART_BASE, UartKind.PL011, 4)


def prepare(digest_is_right: bool) -> Aarch64Machine:
    params = AARCH64.covering(SEGMENTS, console=PL011)
    return AARCH64.prepare(params if digest_is_right else wrong(params), SEGMENTS)


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
        machine = prepare(right)
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

    @pytest.mark.parametrize("right", [True, False])
    def test_vector_registers_are_left_alone(self, right: bool) -> None:
        """It is then off all the time: at EL3 it never goes on."""
        machine = prepare(right)
        machine.run(3)
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
