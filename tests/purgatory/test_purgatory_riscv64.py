"""RISC-V: the state in which the kernel is entered, exceptions, and the firmware's console."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pykexec.purgatory_objects.parameters import PurgatoryParameters
from pykexec.purgatory_objects.riscv64 import Riscv64Registers
from pykexec.values.consoles import Console, MemoryConsole, UartKind
from tests.purgatory.bench import BASE, MEMORY, RIGHT, RISCV64, SEGMENTS, WHAT, noise, unread, wrong
from tests.purgatory.emulator import KERNEL_ENTRY, PAGE, WILD
from tests.purgatory.emulator_riscv64 import (
    FETCH_FAULT,
    HART,
    ILLEGAL,
    LOAD_FAULT,
    STORE_FAULT,
    SUPERVISOR,
    Firmware,
    Riscv64Machine,
)
from tests.purgatory.uarts import UART_BASE

DTB = 0x8800_0000
SBI = MemoryConsole(console_kind=UartKind.SBI)
NOWHERE = 0x6_0000_0000
"""No memory is there."""


def prepare(console: Console | None, right: bool = True) -> Riscv64Machine:
    params = RISCV64.covering(SEGMENTS, console=console)
    return RISCV64.prepare(params if right else wrong(params), SEGMENTS)


def run_with(firmware: Firmware, right: bool = True) -> Riscv64Machine:
    """Return a machine whose purgatory spoke by its firmware."""
    machine = prepare(SBI, right)
    machine.listen_to_firmware(firmware)
    machine.run()
    return machine


class TestKernelEntryState:
    """Linux Documentation/arch/riscv/boot.rst, "Register state" and "MMU"."""

    @pytest.mark.parametrize("crashed", [False, True])
    @pytest.mark.parametrize("base", RISCV64.bases, ids=hex)
    def test_registers(self, base: int, crashed: bool) -> None:
        """The hart's ID is what came in, the tree is the plan's: a1 held something else."""
        registers = Riscv64Registers(a1=DTB, pc=KERNEL_ENTRY)
        params = replace(RISCV64.covering(SEGMENTS), registers=registers)
        machine = RISCV64.prepare(params, SEGMENTS, base)
        machine.run(crashed)
        assert machine.registers == {"a1": DTB, "pc": KERNEL_ENTRY}
        assert machine.register("a0") == HART

    @pytest.mark.parametrize("crashed", [False, True])
    @pytest.mark.parametrize("right", [True, False])
    def test_processor_state(self, right: bool, crashed: bool) -> None:
        """Interrupts were let through in sie; an exception would lead to the purgatory."""
        machine = prepare(RISCV64.serial, right)
        machine.run(crashed)
        assert machine.entered_kernel is right
        assert machine.halted is not right
        assert machine.register("priv") == SUPERVISOR
        assert machine.register("satp") == 0
        assert machine.register("sie") == 0
        vector = machine.register("stvec")
        assert vector % 4 == 0
        assert BASE < vector < BASE + len(RISCV64.obj.data)

    def test_interrupts_that_stay_open_would_be_noticed(self) -> None:
        machine = prepare(None)
        # wfi
        machine.put(BASE + RISCV64.obj.entry, bytes.fromhex("73005010"))
        machine.run()
        assert machine.register("sie") != 0
        assert not machine.halted

    def test_the_old_kernels_registers_are_left_alone(self) -> None:
        """The build refuses an instruction with gp or tp; here nothing wrote them either."""
        machine = RISCV64.run(RISCV64.covering(SEGMENTS), SEGMENTS)
        assert (machine.register("gp"), machine.register("tp")) == (WILD, WILD)

    def test_the_stack_is_the_purgatorys_own(self) -> None:
        machine = RISCV64.run(RISCV64.covering(SEGMENTS), SEGMENTS)
        assert machine.register("sp") == BASE + RISCV64.obj.symbols["stack_end"].offset

    def test_the_entry_fits_stvec(self) -> None:
        assert RISCV64.obj.align == PAGE
        assert RISCV64.obj.entry % 4 == 0

    def test_a_floating_point_instruction_would_stop_the_emulation(self) -> None:
        """As it stops a hart: sstatus.FS is 0."""
        machine = prepare(None)
        # fmv.d.x fa0, zero; wfi
        machine.put(BASE + RISCV64.obj.entry, bytes.fromhex("530500f2 73005010"))
        machine.take_exceptions()
        with pytest.raises(AssertionError, match="no end of exceptions"):
            machine.run(crashed=True)
        assert {cause for cause, _, _ in machine.exceptions} == {ILLEGAL}


class TestFirmware:
    @pytest.mark.parametrize("debug", [True, False])
    @pytest.mark.parametrize("right", [True, False])
    def test_it_is_heard_by_what_the_firmware_has(self, debug: bool, right: bool) -> None:
        firmware = Firmware(debug_console=debug)
        machine = run_with(firmware, right)
        assert machine.entered_kernel is right
        if right:
            assert machine.text == RIGHT.format(what=WHAT)
        else:
            assert machine.text.startswith(f"pykexec purgatory: verifying {WHAT}\n")
            assert machine.text.endswith("halted, reset the machine\n")
        # The first character was offered to the debug console.
        assert firmware.calls == len(firmware.sent) + (0 if debug else 1)

    @pytest.mark.parametrize("right", [True, False])
    def test_firmware_without_consoles_is_asked_once(self, right: bool) -> None:
        firmware = Firmware(debug_console=False, legacy_console=False)
        machine = run_with(firmware, right)
        assert machine.entered_kernel is right
        assert machine.halted is not right
        assert firmware.calls == 2
        assert not firmware.sent

    def test_a_console_that_fails_is_left_alone_from_then_on(self) -> None:
        firmware = Firmware(stops_after=10)
        machine = run_with(firmware)
        assert machine.entered_kernel
        assert bytes(firmware.sent) == b"pykexec pu"
        assert firmware.calls == 10 + 2

    def test_no_character_is_lost_between_the_two(self) -> None:
        """The debug console fails in the middle; the other one goes on with what it refused."""

        class Half(Firmware):
            def call(self, extension: int, function: int, argument: int) -> int:
                self.debug_console = len(self.sent) < 10
                return super().call(extension, function, argument)

        assert run_with(Half()).text == RIGHT.format(what=WHAT)

    def test_no_uart_is_touched(self) -> None:
        """An address says nothing where the console is the firmware's."""
        console = replace(SBI, console_sink=UART_BASE)
        machine = prepare(console)
        machine.listen_to_firmware(Firmware())
        machine.watch_accesses()
        machine.run()
        assert machine.text == RIGHT.format(what=WHAT)
        assert not [item for item in machine.accesses if item[0] in machine.device_memory]

    def test_registers_that_the_firmware_may_change(self) -> None:
        """It kept neither a0 nor a1, and the kernel finds both."""
        machine = run_with(Firmware())
        assert machine.register("a0") == HART
        assert machine.registers == {"a1": RISCV64.registers.argument, "pc": KERNEL_ENTRY}


class TestExceptions:
    STOPPED = "pykexec purgatory: not starting the new kernel; halted, reset the machine\n"
    FAILED = (
        "pykexec purgatory: the new kernel failed before it had a console;"
        " halted, reset the machine\n"
    )

    def run(self, params: PurgatoryParameters, crashed: bool = False) -> Riscv64Machine:
        machine = RISCV64.prepare(params, SEGMENTS)
        machine.take_exceptions()
        machine.run(crashed)
        return machine

    def inside(self, address: int) -> bool:
        return BASE <= address < BASE + len(RISCV64.obj.data)

    @pytest.mark.parametrize("crashed", [False, True])
    def test_a_segment_that_does_not_exist(self, crashed: bool) -> None:
        params = replace(
            RISCV64.covering({}, console=RISCV64.serial), table=unread(NOWHERE, 3 << 20)
        )
        machine = self.run(params, crashed)
        assert machine.halted
        assert len(machine.exceptions) == 1
        (cause, pc, value) = machine.exceptions[0]
        assert cause == LOAD_FAULT
        # A block's words are read in any order.
        assert value in range(NOWHERE, NOWHERE + 64, 4)
        assert self.inside(pc)
        assert machine.text == (
            "pykexec purgatory: verifying 1 segment, 3.0 MiB, in 48 pieces of 64 KiB\n"
            f"pykexec purgatory: exception 0x5 at {pc:#x}, value {value:#x}\n" + self.STOPPED
        )
        assert machine.all_sent

    def test_a_backup_that_cannot_be_written(self) -> None:
        params = RISCV64.covering(
            {},
            console=RISCV64.serial,
            backup_src_start=MEMORY,
            backup_src_size=64,
            backup_dst_start=NOWHERE,
        )
        machine = self.run(params)
        assert machine.halted
        assert f"exception {STORE_FAULT:#x} at " in machine.text
        assert machine.text.endswith(f", value {NOWHERE:#x}\n" + self.STOPPED)

    def test_an_entry_where_nothing_is(self) -> None:
        registers = Riscv64Registers(a1=DTB, pc=NOWHERE)
        machine = self.run(RISCV64.covering(SEGMENTS, console=RISCV64.serial, registers=registers))
        assert machine.halted
        assert machine.exceptions == [(FETCH_FAULT, NOWHERE, NOWHERE)]
        assert machine.text.endswith(
            f"entering the new kernel at {NOWHERE:#x}\n"
            f"pykexec purgatory: exception 0x1 at {NOWHERE:#x}, value {NOWHERE:#x}\n" + self.FAILED
        )

    def test_the_new_kernels_first_instructions(self) -> None:
        """Where it checks its own base and finds it wrong, say."""
        kernel = Riscv64Registers(a1=DTB, pc=NOWHERE)
        machine = RISCV64.prepare(
            RISCV64.covering(SEGMENTS, console=RISCV64.serial, registers=kernel),
            {**SEGMENTS, NOWHERE: bytes(4)},
        )
        machine.take_exceptions()
        machine.run()
        assert machine.halted
        assert f"exception {ILLEGAL:#x} at {NOWHERE:#x}" in machine.text
        assert machine.text.endswith(self.FAILED)

    @pytest.mark.parametrize("kind", [UartKind.PL011, UartKind.UART_8250, UartKind.PLAIN])
    def test_a_console_that_does_not_exist(self, kind: UartKind) -> None:
        """Nothing can be said then, but it comes to an end."""
        machine = self.run(RISCV64.covering(SEGMENTS, console=MemoryConsole(NOWHERE, kind, 4)))
        assert machine.halted
        assert len(machine.exceptions) == 2
        assert machine.silent

    def test_without_a_console(self) -> None:
        machine = self.run(replace(RISCV64.covering({}), table=unread(NOWHERE, 64)))
        assert machine.halted
        assert len(machine.exceptions) == 1
        assert machine.silent

    def test_by_the_firmware(self) -> None:
        params = replace(RISCV64.covering({}, console=SBI), table=unread(NOWHERE, 64))
        machine = RISCV64.prepare(params, {})
        machine.listen_to_firmware(Firmware())
        machine.take_exceptions()
        machine.run()
        assert machine.halted
        assert machine.text.endswith(f", value {NOWHERE:#x}\n" + self.STOPPED)

    def test_a_wait_that_is_not_allowed(self) -> None:
        """mstatus.TW makes wfi of S-mode an illegal instruction: it must not be told for ever."""
        machine = prepare(RISCV64.serial, right=False)
        code = bytearray(machine.get(BASE, len(RISCV64.obj.data)))
        waits = [at for at in range(0, len(code), 4) if code[at : at + 4] == b"\x73\x00\x50\x10"]
        assert len(waits) == 1
        machine.put(BASE + waits[0], bytes(4))
        machine.take_exceptions()
        with pytest.raises(AssertionError, match="no end of exceptions"):
            machine.run()
        assert {cause for cause, _, _ in machine.exceptions} == {ILLEGAL}
        assert "exception" not in machine.text
        assert machine.text.endswith(self.STOPPED)


def test_skipped_checks_hand_the_same_on() -> None:
    params = replace(wrong(RISCV64.covering(SEGMENTS, console=SBI)), skip_checks=True)
    machine = RISCV64.prepare(params, {MEMORY: noise(PAGE)})
    machine.listen_to_firmware(Firmware())
    machine.run()
    assert machine.entered_kernel
    assert machine.register("a0") == HART
    assert "verification skipped\n" in machine.text
