"""The real object, patched as a load patches it and executed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import fields, replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pykexec.purgatory import (
    REGIONS_MAX,
    Entry64Registers,
    PurgatoryObject,
    PurgatoryParameters,
    build_purgatory,
)
from pykexec.purgatory_objects import load
from tests.purgatory.emulator import (
    COLUMNS,
    CR4_OSFXSR,
    CR4_PAE,
    KERNEL_ENTRY,
    PAGE,
    ROWS,
    SEGMENT_REGISTERS,
    VGA_WINDOW,
    Machine,
    UcError,
)

BASES = (0x3000, 0x7FFF_0000, 0x6_3FFF_7000, 0x7FFF_FFF0_0000)
"""Below 640 KiB, across the reach of signed 32-bit addresses, above 4 GiB, far up."""

MEMORY = 0x200_0000
"""Where the tests' segments begin."""

REGISTERS = Entry64Registers(
    **{
        item.name: 0x1122_3344_5566_0000 + index
        for index, item in enumerate(fields(Entry64Registers))
        if item.name not in ("rsp", "rip")
    },
    rip=KERNEL_ENTRY,
)

RIGHT = """\
pykexec purgatory: verifying {what}
pykexec purgatory: SHA-256 is right
pykexec purgatory: entering the new kernel at 0x712345200
"""

SIZES = (0, 1, 55, 56, 63, 64, 65, 119, 120, 1000)
"""Around the ends of SHA-256's blocks, where padding takes one more."""


@pytest.fixture(scope="module")
def obj() -> PurgatoryObject:
    return load("x86_64")


def covering(segments: dict[int, bytes], **others: Any) -> PurgatoryParameters:
    """Parameters whose digest is right for ``segments``, by address."""
    return PurgatoryParameters(
        regions=tuple((start, len(data)) for start, data in segments.items()),
        digest=sha256(b"".join(segments.values())).digest(),
        registers=REGISTERS,
        **others,
    )


def prepare(
    obj: PurgatoryObject, base: int, params: PurgatoryParameters, segments: dict[int, bytes]
) -> Machine:
    machine = Machine(obj, base, build_purgatory(obj, base, params))
    for start, data in segments.items():
        machine.put(start, data)
    return machine


def run(
    obj: PurgatoryObject,
    params: PurgatoryParameters,
    segments: dict[int, bytes],
    base: int = BASES[1],
) -> Machine:
    machine = prepare(obj, base, params, segments)
    machine.run()
    return machine


def computed_digest(text: str) -> str:
    found = re.search(r"^  computed ([0-9a-f]{64})$", text, re.MULTILINE)
    assert found, text
    return found[1]


SEGMENTS = {MEMORY: b"kernel" * 1000, 0x5_0000_0000: bytes(PAGE), 0x9F000: b"parameters"}
WHAT = f"3 segments, {sum(map(len, SEGMENTS.values()))} bytes"


@pytest.mark.parametrize("base", BASES, ids=hex)
class TestEveryAddress:
    def test_right_digest_enters_the_kernel(self, obj: PurgatoryObject, base: int) -> None:
        machine = run(obj, covering(SEGMENTS, console_serial=True), SEGMENTS, base)

        assert machine.entered_kernel
        assert machine.uart.text == RIGHT.format(what=WHAT)
        assert machine.uart.idle
        stack_end = base + obj.symbols["stack_end"].offset
        expected = replace(REGISTERS, rsp=stack_end)
        assert machine.registers == {
            item.name: getattr(expected, item.name) for item in fields(expected)
        }
        assert base < stack_end - PAGE
        assert stack_end == base + obj.memsz

    def test_wrong_digest_halts(self, obj: PurgatoryObject, base: int) -> None:
        params = replace(covering(SEGMENTS, console_serial=True), digest=bytes(range(32)))
        machine = run(obj, params, SEGMENTS, base)

        assert machine.halted
        assert not machine.entered_kernel
        assert machine.uart.idle
        digest = sha256(b"".join(SEGMENTS.values())).hexdigest()
        assert machine.uart.text == (
            f"pykexec purgatory: verifying {WHAT}\n"
            "pykexec purgatory: SHA-256 mismatch, memory was overwritten since the load\n"
            "  segment  0x2000000, 6000 bytes\n"
            "  segment  0x500000000, 4096 bytes\n"
            "  segment  0x9f000, 10 bytes\n"
            f"  expected {bytes(range(32)).hex()}\n"
            f"  computed {digest}\n"
            "pykexec purgatory: not starting the new kernel; halted, reset the machine\n"
        )

    def test_without_a_console_it_decides_the_same(self, obj: PurgatoryObject, base: int) -> None:
        params = covering(SEGMENTS)
        silent = run(obj, params, SEGMENTS, base)
        damaged = run(obj, replace(params, digest=bytes(32)), SEGMENTS, base)

        assert silent.entered_kernel
        assert damaged.halted
        assert not silent.uart.sent + damaged.uart.sent
        assert not any(any(machine.screen) for machine in (silent, damaged))

    def test_it_writes_only_to_its_data_and_stack(self, obj: PurgatoryObject, base: int) -> None:
        params = replace(covering(SEGMENTS, console_serial=True), digest=bytes(32))
        machine = prepare(obj, base, params, SEGMENTS)
        machine.watch_writes()
        machine.run()

        first_data = min(
            symbol.offset for name, symbol in obj.symbols.items() if name != "purgatory_start"
        )
        assert machine.writes
        for address, size in machine.writes:
            assert base + first_data <= address < address + size <= base + obj.memsz


class TestKernelEntryState:
    """Linux Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"."""

    def test_segments_and_flags(self, obj: PurgatoryObject) -> None:
        machine = run(obj, covering(SEGMENTS), SEGMENTS)

        selectors = {name: machine.register(name) for name in SEGMENT_REGISTERS}
        assert selectors == {"cs": 0x10} | dict.fromkeys(("ds", "es", "ss", "fs", "gs"), 0x18)
        interrupt, direction = 1 << 9, 1 << 10
        assert not machine.register("eflags") & (interrupt | direction)

    def test_descriptors_are_flat(self, obj: PurgatoryObject) -> None:
        machine = run(obj, covering(SEGMENTS), SEGMENTS)

        address, limit = machine.gdt
        data_page = obj.symbols["sha256_regions"].offset & -PAGE
        assert BASES[1] + data_page <= address < address + limit < BASES[1] + obj.memsz - PAGE
        assert limit == 4 * 8 - 1
        table = [machine.get(address + 8 * index, 8) for index in range(4)]
        for descriptor in table[2:]:
            assert descriptor[:2] == b"\xff\xff"  # limit 15:0
            assert descriptor[6] & 0x8F == 0x8F  # in pages, limit 19:16
            assert descriptor[2:5] + descriptor[7:] == bytes(4)  # base
        code, data = table[2], table[3]
        assert code[5] == 0x9B  # present, privilege 0, execute and read, accessed
        assert data[5] == 0x93  # present, privilege 0, read and write, accessed
        assert code[6] & 0x60 == 0x20  # 64-bit

    def test_rsp_of_the_parameters_wins(self, obj: PurgatoryObject) -> None:
        params = covering(SEGMENTS)
        params = replace(params, registers=replace(REGISTERS, rsp=0x12_3450))
        assert run(obj, params, SEGMENTS).register("rsp") == 0x12_3450

    def test_sse_would_be_noticed(self, obj: PurgatoryObject) -> None:
        """All tests run with CR4.OSFXSR clear; here is that such a processor objects."""
        movaps_and_halt = bytes.fromhex("0f28c1 f4")
        machine = prepare(obj, BASES[1], covering(SEGMENTS), SEGMENTS)
        machine.put(BASES[1] + obj.entry, movaps_and_halt)
        with pytest.raises(UcError, match=r"UC_ERR_(EXCEPTION|INSN_INVALID)"):
            machine.run()
        machine.run(cr4=CR4_PAE | CR4_OSFXSR)
        assert machine.halted

    def test_stack_is_used_sparingly(
        self, obj: PurgatoryObject, record_property: Callable[[str, object], None]
    ) -> None:
        segments = {MEMORY + 0x3000 * index: b"x" * 100 for index in range(REGIONS_MAX)}
        params = covering(segments, console_serial=True, console_vga=True)
        machine = prepare(obj, BASES[1], replace(params, digest=bytes(32)), segments)
        machine.watch_writes()
        machine.run()

        top = BASES[1] + obj.memsz
        lowest = min(address for address, _ in machine.writes if top - PAGE <= address < top)
        record_property("stack_bytes", top - lowest)
        print(f"purgatory: {top - lowest} of {PAGE} bytes of stack used")
        assert top - lowest < PAGE // 4


class TestVerification:
    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_hash_equals_hashlib(self, data: st.DataObject) -> None:
        """Any data in any regions, by the digest that it prints."""
        obj = load("x86_64")
        size = data.draw(st.sampled_from(SIZES))
        content = random.Random(size).randbytes(size)
        cuts = data.draw(st.lists(st.integers(0, size), max_size=REGIONS_MAX - 1))
        ends = sorted({*cuts, size} - {0})
        pieces = [content[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        shift = data.draw(st.integers(0, 63))
        segments = {MEMORY + 0x2000 * i + shift: piece for i, piece in enumerate(pieces)}
        params = covering(segments, console_serial=True)

        assert run(obj, params, segments).entered_kernel
        text = run(obj, replace(params, digest=bytes(32)), segments).uart.text
        assert computed_digest(text) == sha256(content).hexdigest()

    @pytest.mark.parametrize("size", SIZES)
    def test_every_padding(self, obj: PurgatoryObject, size: int) -> None:
        segments = {MEMORY: b"\xa5" * size} if size else {}
        assert run(obj, covering(segments), segments).entered_kernel

    @given(st.integers(0, 4095), st.integers(0, 7))
    @example(0, 0)
    @example(4095, 7)
    @settings(max_examples=25, deadline=None)
    def test_one_flipped_bit_is_noticed(self, offset: int, bit: int) -> None:
        content = random.Random(1).randbytes(4096)
        segments = {MEMORY: content[:1500], MEMORY + 0x4000: content[1500:]}
        params = covering(segments, console_serial=True)
        damaged = bytearray(content)
        damaged[offset] ^= 1 << bit
        machine = run(
            load("x86_64"),
            params,
            {MEMORY: bytes(damaged[:1500]), MEMORY + 0x4000: bytes(damaged[1500:])},
        )
        assert machine.halted
        assert computed_digest(machine.uart.text) == sha256(damaged).hexdigest()
        assert f"  expected {params.digest.hex()}\n" in machine.uart.text

    @pytest.mark.parametrize("byte", range(32))
    def test_every_byte_of_the_digest_counts(self, obj: PurgatoryObject, byte: int) -> None:
        params = covering(SEGMENTS)
        digest = bytearray(params.digest)
        digest[byte] ^= 0x10
        assert run(obj, replace(params, digest=bytes(digest)), SEGMENTS).halted

    def test_the_order_of_the_table_counts(self, obj: PurgatoryObject) -> None:
        params = covering(SEGMENTS)
        reversed_table = replace(params, regions=params.regions[::-1])
        assert run(obj, reversed_table, SEGMENTS).halted

    def test_sixteen_regions(self, obj: PurgatoryObject) -> None:
        segments = {MEMORY + PAGE * i: bytes([i]) * PAGE for i in range(REGIONS_MAX)}
        machine = run(obj, covering(segments, console_serial=True), segments)
        assert machine.entered_kernel
        assert machine.uart.text == RIGHT.format(what="16 segments, 65536 bytes")

    @pytest.mark.parametrize(
        ("size", "shown"),
        [
            (1, "1 segment, 1 byte"),
            (0xFFFFF, "1 segment, 1048575 bytes"),
            (0x10_0000, "1 segment, 1.0 MiB"),
            (0x2F_5C28, "1 segment, 2.9 MiB"),
        ],
    )
    def test_sizes_are_readable(self, obj: PurgatoryObject, size: int, shown: str) -> None:
        segments = {MEMORY: bytes(size)}
        machine = run(obj, covering(segments, console_serial=True), segments)
        assert machine.entered_kernel
        assert machine.uart.text == RIGHT.format(what=shown)

    def test_it_says_what_it_does_before_it_does_it(self, obj: PurgatoryObject) -> None:
        """A segment that does not exist stops the emulation in the middle of the hashing."""
        params = replace(covering({}, console_serial=True), regions=((MEMORY, 3 << 20),))
        machine = prepare(obj, BASES[1], params, {})
        with pytest.raises(UcError, match="UC_ERR_READ_UNMAPPED"):
            machine.run()
        assert machine.uart.text == "pykexec purgatory: verifying 1 segment, 3.0 MiB\n"

    def test_skip_checks(self, obj: PurgatoryObject) -> None:
        params = replace(
            covering(SEGMENTS, console_serial=True), digest=bytes(32), skip_checks=True
        )
        machine = run(obj, params, {})
        assert machine.entered_kernel
        assert machine.uart.text == (
            "pykexec purgatory: verification skipped\n"
            "pykexec purgatory: entering the new kernel at 0x712345200\n"
        )


class TestBackup:
    SOURCE = random.Random(2).randbytes(5001)
    TARGET = 0x4000_0000

    def params(self, segments: dict[int, bytes]) -> PurgatoryParameters:
        return covering(
            segments,
            backup_src_start=0,
            backup_src_size=len(self.SOURCE),
            backup_dst_start=self.TARGET,
        )

    def test_copied_after_the_verification(self, obj: PurgatoryObject) -> None:
        """The target is itself verified, as it is before the copy."""
        segments = {self.TARGET: b"before" * 1000}
        machine = run(obj, self.params(segments), {0: self.SOURCE} | segments)
        assert machine.entered_kernel
        assert machine.get(self.TARGET, 6000) == (
            self.SOURCE + segments[self.TARGET][len(self.SOURCE) :]
        )

    def test_not_copied_when_the_digest_is_wrong(self, obj: PurgatoryObject) -> None:
        segments = {self.TARGET: b"before" * 1000}
        params = replace(self.params(segments), digest=bytes(32))
        machine = run(obj, params, {0: self.SOURCE} | segments)
        assert machine.halted
        assert machine.get(self.TARGET, 6000) == segments[self.TARGET]

    def test_copied_when_checks_are_skipped(self, obj: PurgatoryObject) -> None:
        params = replace(self.params({}), skip_checks=True)
        machine = run(obj, params, {0: self.SOURCE, self.TARGET: bytes(6000)})
        assert machine.entered_kernel
        assert machine.get(self.TARGET, len(self.SOURCE)) == self.SOURCE


class TestSerial:
    @pytest.mark.parametrize(
        ("baud", "divisor"),
        [(9600, 12), (115200, 1), (38400, 3), (300, 384), (921600, 1), (1, 0xFFFF)],
    )
    def test_speed(self, obj: PurgatoryObject, baud: int, divisor: int) -> None:
        machine = run(obj, covering(SEGMENTS, console_serial=True, serial_baud=baud), SEGMENTS)
        assert machine.uart.divisor == divisor
        assert machine.uart.text == RIGHT.format(what=WHAT)

    def test_speed_is_left_alone(self, obj: PurgatoryObject) -> None:
        machine = prepare(obj, BASES[1], covering(SEGMENTS, console_serial=True), SEGMENTS)
        machine.uart.divisor = 0x1234
        machine.run()
        assert machine.uart.divisor == 0x1234

    def test_line_settings(self, obj: PurgatoryObject) -> None:
        machine = run(obj, covering(SEGMENTS, console_serial=True), SEGMENTS)
        assert machine.uart.line_control == 0x03  # 8 bits, no parity, 1 stop bit
        assert machine.uart.modem_control == 0x03  # DTR and RTS
        assert machine.uart.interrupt_enable == 0

    def test_another_port(self, obj: PurgatoryObject) -> None:
        params = covering(SEGMENTS, console_serial=True, serial_base=0x2F8)
        machine = prepare(obj, BASES[1], params, SEGMENTS)
        machine.uart.base = 0x2F8
        machine.run()
        assert machine.uart.text == RIGHT.format(what=WHAT)

    def test_floating_bus(self, obj: PurgatoryObject) -> None:
        """Nothing at the port: every read gives ones, so it looks ready."""
        machine = prepare(obj, BASES[1], covering(SEGMENTS, console_serial=True), SEGMENTS)
        machine.uart.status = 0xFF
        machine.run()
        assert machine.entered_kernel
        assert machine.uart.reads < 1000

    @pytest.mark.parametrize("right", [True, False])
    def test_stuck_uart_is_waited_for_once(self, obj: PurgatoryObject, right: bool) -> None:
        params = covering(SEGMENTS, console_serial=True)
        params = params if right else replace(params, digest=bytes(32))
        machine = prepare(obj, BASES[1], params, SEGMENTS)
        machine.uart.status = 0
        machine.run()
        assert machine.entered_kernel is right
        assert machine.halted is not right
        assert machine.uart.reads == 1 << 18
        assert not machine.uart.sent


class TestVga:
    def test_text_appears_at_the_bottom(self, obj: PurgatoryObject) -> None:
        machine = run(obj, covering(SEGMENTS, console_vga=True), SEGMENTS)
        assert machine.screen[-4:] == RIGHT.format(what=WHAT).split("\n")
        assert not any(machine.screen[:-4])
        cells = machine.get(VGA_WINDOW, 2 * COLUMNS * ROWS)
        assert set(cells[-4 * COLUMNS * 2 + 1 :: 2]) == {7}

    @pytest.mark.parametrize("start", [0, 80, 2000, 16384 - 2000])
    def test_what_was_there_moves_up(self, obj: PurgatoryObject, start: int) -> None:
        """Wherever in VGA memory the old kernel left the screen; nothing else is touched."""
        machine = prepare(obj, BASES[1], covering(SEGMENTS, console_vga=True), SEGMENTS)
        machine.crtc.start = start
        old = "".join(f"old line {row}".ljust(COLUMNS) for row in range(ROWS)).encode()
        machine.put(VGA_WINDOW + 2 * start, bytes(b for cell in old for b in (cell, 0x17)))
        machine.watch_writes()
        machine.run()

        assert machine.crtc.start == start
        assert machine.screen[:-4] == [f"old line {row}" for row in range(4, ROWS)]
        assert machine.screen[-4:] == RIGHT.format(what=WHAT).split("\n")
        assert machine.writes
        inside = range(VGA_WINDOW + 2 * start, VGA_WINDOW + 2 * (start + COLUMNS * ROWS))
        assert all(
            address in inside for address, _ in machine.writes if 0xA0000 <= address < 0xC0000
        )

    @pytest.mark.parametrize("start", [16384 - 1999, 0xFFFF])
    def test_a_screen_beyond_the_window_is_brought_back(
        self, obj: PurgatoryObject, start: int
    ) -> None:
        machine = prepare(obj, BASES[1], covering(SEGMENTS, console_vga=True), SEGMENTS)
        machine.crtc.start = start
        machine.run()
        assert machine.crtc.start == 0
        assert machine.screen[-4:] == RIGHT.format(what=WHAT).split("\n")

    def test_more_lines_than_rows(self, obj: PurgatoryObject) -> None:
        segments = {MEMORY + 0x1000 * index: b"x" for index in range(REGIONS_MAX)}
        params = replace(covering(segments, console_vga=True), digest=bytes(32))
        machine = run(obj, params, segments)
        assert machine.halted
        assert machine.screen[-3] == f"  computed {sha256(b'x' * 16).hexdigest()}"
        assert machine.screen[-2].endswith("halted, reset the machine")
        assert machine.screen[-1] == ""
        assert max(map(len, machine.screen)) < COLUMNS

    def test_long_lines_are_wrapped(self, obj: PurgatoryObject) -> None:
        """No message is that long: one is written over the object's first, and what follows."""
        params = PurgatoryParameters(skip_checks=True, console_vga=True, registers=REGISTERS)
        patched = bytearray(build_purgatory(obj, BASES[1], params))
        start = patched.index(b"pykexec purgatory: verification skipped\n\0")
        text = "".join(f"{number:03d} " for number in range(41))
        message = text.encode() + b"\n\0"
        assert b"entering" not in patched[start : start + len(message)], "needed: another order"
        patched[start : start + len(message)] = message
        machine = Machine(obj, BASES[1], bytes(patched))
        machine.run()
        lines = [text[:COLUMNS], text[COLUMNS : 2 * COLUMNS], text[2 * COLUMNS :]]
        assert machine.screen[-5:-2] == [line.rstrip() for line in lines]

    def test_both_consoles_say_the_same(self, obj: PurgatoryObject) -> None:
        params = covering(SEGMENTS, console_vga=True, console_serial=True)
        machine = run(obj, params, SEGMENTS)
        assert machine.screen[-4:] == machine.uart.text.split("\n")
