"""x86_64: the state in which the kernel is entered, and the PC's consoles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pykexec.purgatory_objects.digest_table import REGIONS_MAX
from pykexec.purgatory_objects.parameters import PurgatoryParameters, build_purgatory
from pykexec.purgatory_objects.x86 import Entry64Registers
from pykexec.values.consoles import PcConsole
from tests.purgatory.bench import BASE, MEMORY, RIGHT, SEGMENTS, WHAT, X86_64, wrong
from tests.purgatory.emulator import KERNEL_ENTRY, PAGE, UcError
from tests.purgatory.emulator_x86 import (
    COLUMNS,
    CR4_OSFXSR,
    CR4_PAE,
    ROWS,
    SEGMENT_REGISTERS,
    VGA_WINDOW,
    X86Machine,
)

SERIAL = PcConsole(console_serial=True)
VGA = PcConsole(console_vga=True)


class TestKernelEntryState:
    """Linux Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"."""

    def test_segments_and_flags(self) -> None:
        machine = X86_64.run(X86_64.covering(SEGMENTS), SEGMENTS)

        selectors = {name: machine.register(name) for name in SEGMENT_REGISTERS}
        assert selectors == {"cs": 0x10} | dict.fromkeys(("ds", "es", "ss", "fs", "gs"), 0x18)
        interrupt, direction = 1 << 9, 1 << 10
        assert not machine.register("eflags") & (interrupt | direction)

    def test_descriptors_are_flat(self) -> None:
        machine = X86_64.run(X86_64.covering(SEGMENTS), SEGMENTS)

        address, limit = machine.gdt
        data_page = X86_64.obj.symbols["sha256_digest"].offset & -PAGE
        assert BASE + data_page <= address < address + limit < BASE + X86_64.obj.memsz - PAGE
        assert limit == 5 * 8 - 1, "the last is for leaving in 32 bits"
        table = [machine.get(address + 8 * index, 8) for index in range(4)]
        for descriptor in table[2:]:
            assert descriptor[:2] == b"\xff\xff"  # limit 15:0
            assert descriptor[6] & 0x8F == 0x8F  # in pages, limit 19:16
            assert descriptor[2:5] + descriptor[7:] == bytes(4)  # base
        code, data = table[2], table[3]
        assert code[5] == 0x9B  # present, privilege 0, execute and read, accessed
        assert data[5] == 0x93  # present, privilege 0, read and write, accessed
        assert code[6] & 0x60 == 0x20  # 64-bit

    def test_rsp_of_the_parameters_wins(self) -> None:
        params = X86_64.covering(SEGMENTS)
        params = replace(params, registers=Entry64Registers(rsp=0x12_3450, rip=KERNEL_ENTRY))
        assert X86_64.run(params, SEGMENTS).register("rsp") == 0x12_3450

    def test_sse_would_be_noticed(self) -> None:
        """All tests run with CR4.OSFXSR clear; here is that such a processor objects."""
        movaps_and_halt = bytes.fromhex("0f28c1 f4")
        machine = X86_64.prepare(X86_64.covering(SEGMENTS), SEGMENTS)
        machine.put(BASE + X86_64.obj.entry, movaps_and_halt)
        with pytest.raises(UcError, match=r"UC_ERR_(EXCEPTION|INSN_INVALID)"):
            machine.run()
        machine.run(cr4=CR4_PAE | CR4_OSFXSR)
        assert machine.halted


class TestSerial:
    @pytest.mark.parametrize(
        ("baud", "divisor"),
        [(9600, 12), (115200, 1), (38400, 3), (300, 384), (921600, 1), (1, 0xFFFF)],
    )
    def test_speed(self, baud: int, divisor: int) -> None:
        machine = X86_64.run(
            X86_64.covering(SEGMENTS, console=PcConsole(console_serial=True, serial_baud=baud)),
            SEGMENTS,
        )
        assert machine.uart.divisor == divisor
        assert machine.text == RIGHT.format(what=WHAT)

    def test_speed_is_left_alone(self) -> None:
        machine = X86_64.prepare(X86_64.covering(SEGMENTS, console=SERIAL), SEGMENTS)
        machine.uart.divisor = 0x1234
        machine.run()
        assert machine.uart.divisor == 0x1234

    def test_line_settings(self) -> None:
        machine = X86_64.run(X86_64.covering(SEGMENTS, console=SERIAL), SEGMENTS)
        assert machine.uart.line_control == 0x03  # 8 bits, no parity, 1 stop bit
        assert machine.uart.modem_control == 0x03  # DTR and RTS
        assert machine.uart.interrupt_enable == 0

    def test_another_port(self) -> None:
        params = X86_64.covering(
            SEGMENTS, console=PcConsole(console_serial=True, serial_base=0x2F8)
        )
        machine = X86_64.prepare(params, SEGMENTS)
        machine.uart.base = 0x2F8
        machine.run()
        assert machine.text == RIGHT.format(what=WHAT)

    def test_floating_bus(self) -> None:
        """Nothing at the port: every read gives ones, so it looks ready."""
        machine = X86_64.prepare(X86_64.covering(SEGMENTS, console=SERIAL), SEGMENTS)
        machine.uart.status = 0xFF
        machine.run()
        assert machine.entered_kernel
        assert machine.uart.reads < 1000

    @pytest.mark.parametrize("right", [True, False])
    def test_stuck_uart_is_waited_for_once(self, right: bool) -> None:
        params = X86_64.covering(SEGMENTS, console=SERIAL)
        params = params if right else wrong(params)
        machine = X86_64.prepare(params, SEGMENTS)
        machine.uart.status = 0
        machine.run()
        assert machine.entered_kernel is right
        assert machine.halted is not right
        assert machine.uart.reads == 1 << 18
        assert not machine.uart.sent


class TestVga:
    def test_text_appears_at_the_bottom(self) -> None:
        machine = X86_64.run(X86_64.covering(SEGMENTS, console=VGA), SEGMENTS)
        assert machine.screen[-4:] == RIGHT.format(what=WHAT).split("\n")
        assert not any(machine.screen[:-4])
        cells = machine.get(VGA_WINDOW, 2 * COLUMNS * ROWS)
        assert set(cells[-4 * COLUMNS * 2 + 1 :: 2]) == {7}

    @pytest.mark.parametrize("start", [0, 80, 2000, 16384 - 2000])
    def test_what_was_there_moves_up(self, start: int) -> None:
        """Wherever in VGA memory the old kernel left the screen; nothing else is touched."""
        machine = X86_64.prepare(X86_64.covering(SEGMENTS, console=VGA), SEGMENTS)
        machine.crtc.start = start
        old = "".join(f"old line {row}".ljust(COLUMNS) for row in range(ROWS)).encode()
        machine.put(VGA_WINDOW + 2 * start, bytes(b for cell in old for b in (cell, 0x17)))
        machine.watch_writes()
        machine.run()

        assert machine.crtc.start == start
        assert machine.screen[:-4] == [f"old line {row}" for row in range(4, ROWS)]
        assert machine.screen[-4:] == RIGHT.format(what=WHAT).split("\n")
        assert machine.accesses
        inside = range(VGA_WINDOW + 2 * start, VGA_WINDOW + 2 * (start + COLUMNS * ROWS))
        assert all(
            address in inside for address, _ in machine.accesses if 0xA0000 <= address < 0xC0000
        )

    @pytest.mark.parametrize("start", [16384 - 1999, 0xFFFF])
    def test_a_screen_beyond_the_window_is_brought_back(self, start: int) -> None:
        machine = X86_64.prepare(X86_64.covering(SEGMENTS, console=VGA), SEGMENTS)
        machine.crtc.start = start
        machine.run()
        assert machine.crtc.start == 0
        assert machine.screen[-4:] == RIGHT.format(what=WHAT).split("\n")

    def test_more_lines_than_rows(self) -> None:
        segments = {MEMORY + 0x1000 * index: b"x" for index in range(REGIONS_MAX)}
        params = X86_64.covering(segments, console=VGA)
        machine = X86_64.run(params, dict.fromkeys(segments, b"y"))
        assert machine.halted
        assert machine.screen[-5] == "  16 of 16 pieces are not what they were."
        assert machine.screen[-2].endswith("halted, reset the machine")
        assert machine.screen[-1] == ""
        assert max(map(len, machine.screen)) < COLUMNS

    def test_long_lines_are_wrapped(self) -> None:
        """No message is that long: one is written over the object's first, and what follows."""
        params = PurgatoryParameters(skip_checks=True, console=VGA, registers=X86_64.registers)
        patched = bytearray(build_purgatory(X86_64.obj, BASE, params))
        start = patched.index(b"pykexec purgatory: verification skipped\n\0")
        text = "".join(f"{number:03d} " for number in range(41))
        message = text.encode() + b"\n\0"
        assert b"entering" not in patched[start : start + len(message)], "needed: another order"
        patched[start : start + len(message)] = message
        machine = X86Machine(X86_64.obj, BASE, bytes(patched))
        machine.run()
        lines = [text[:COLUMNS], text[COLUMNS : 2 * COLUMNS], text[2 * COLUMNS :]]
        assert machine.screen[-5:-2] == [line.rstrip() for line in lines]

    def test_both_consoles_say_the_same(self) -> None:
        params = X86_64.covering(SEGMENTS, console=PcConsole(console_vga=True, console_serial=True))
        machine = X86_64.run(params, SEGMENTS)
        assert machine.screen[-4:] == machine.text.split("\n")
