"""32-bit ARM: the state in which the kernel is entered, what is found, and how memory is read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pykexec.purgatory_objects import load
from pykexec.purgatory_objects.arm import ArmRegisters
from pykexec.purgatory_objects.parameters import PurgatoryParameters, build_purgatory
from pykexec.values.consoles import Console, MemoryConsole, UartKind
from tests.purgatory.bench import CAUSES, noise, table_for, wrong
from tests.purgatory.emulator import PAGE
from tests.purgatory.emulator_arm import (
    KERNEL_ENTRY,
    MACHINE_TYPE,
    MASKS,
    SCTLR_I,
    SUPERVISOR,
    ArmMachine,
)
from tests.purgatory.uarts import UART_BASE, MemoryUart, Uart8250, WriteOnly

OBJECT = load("arm")
BASES = (0x3000, 0x7FFF_F000, 0xC000_0000, (1 << 32) - OBJECT.memsz)
"""Across signed addresses, and up to the end of all."""
TREE = 0x4B00_0000
KERNEL = 0x4200_0000
SEGMENTS = {KERNEL: b"kernel" * 1000, 0xA000_0000: bytes(PAGE), 0x9F000: b"parameters"}
WHAT = f"3 segments, {sum(map(len, SEGMENTS.values()))} bytes, in 4 pieces of 4 KiB"
PL011 = MemoryConsole(UART_BASE, UartKind.PL011, 4)
RIGHT = f"""\
pykexec purgatory: verifying {WHAT}
pykexec purgatory: SHA-256 is right
pykexec purgatory: entering the new kernel at {KERNEL_ENTRY:#x}
"""


def covering(segments: dict[int, bytes] = SEGMENTS, **others: Any) -> PurgatoryParameters:
    registers = ArmRegisters(r2=TREE, pc=KERNEL_ENTRY)
    given = {"registers": registers, "table": table_for(segments), "console": PL011}
    return PurgatoryParameters(**{**given, **others})


def prepare(
    params: PurgatoryParameters, segments: dict[int, bytes] = SEGMENTS, base: int = BASES[1]
) -> ArmMachine:
    machine = ArmMachine(OBJECT, base, build_purgatory(OBJECT, base, params))
    for start, data in segments.items():
        machine.put(start, data)
    return machine


def run(params: PurgatoryParameters, **more: Any) -> ArmMachine:
    machine = prepare(params, **more)
    machine.run()
    return machine


@pytest.mark.parametrize("base", BASES, ids=hex)
def test_the_kernel_finds_what_booting_rst_asks_for(base: int) -> None:
    """Linux Documentation/arch/arm/booting.rst, "Calling the kernel image"."""
    machine = run(covering(), base=base)
    assert machine.entered_kernel
    assert machine.text == RIGHT
    assert [machine.register(name) for name in ("r0", "r1", "r2")] == [0, MACHINE_TYPE, TREE]
    assert machine.register("cpsr") & 0x3F == SUPERVISOR
    assert machine.register("cpsr") & MASKS == MASKS
    assert machine.all_sent


def test_the_instruction_cache_is_on_meanwhile_and_as_it_was_afterwards() -> None:
    machine = prepare(covering())
    before = machine.control
    seen: set[int] = set()
    machine.uart = Watched(seen, lambda: machine.control & SCTLR_I)
    machine.run()
    assert machine.entered_kernel
    assert seen == {SCTLR_I}
    assert machine.control == before
    assert not before & (SCTLR_I | 5)


class Watched(WriteOnly):
    """A UART that looks at the processor with each character."""

    def __init__(self, seen: set[int], look: Any) -> None:
        super().__init__(width=4)
        self._seen, self._look = seen, look

    def read(self, offset: int, size: int) -> int:
        self._seen.add(self._look())
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self._seen.add(self._look())


@pytest.mark.parametrize("at", [0, 5999])
def test_a_flipped_bit_stops_it(at: int) -> None:
    machine = prepare(covering())
    damaged = bytearray(SEGMENTS[KERNEL])
    damaged[at] ^= 0x10
    machine.put(KERNEL, bytes(damaged))
    machine.run()
    assert machine.halted
    assert not machine.entered_kernel
    assert "SHA-256 mismatch, memory was overwritten since the load\n" in machine.text
    assert f"  {KERNEL + at // PAGE * PAGE:#x}, " in machine.text
    assert machine.text.endswith(CAUSES)


def test_a_damaged_table_stops_it() -> None:
    machine = prepare(covering())
    place = machine.base + OBJECT.symbols["sha256_table"].offset
    machine.put(place, b"\xff" * 16)
    machine.run()
    assert machine.halted
    assert "the table of digests was overwritten" in machine.text


def test_skipped_checks() -> None:
    machine = run(replace(wrong(covering()), skip_checks=True))
    assert machine.entered_kernel
    assert "verification skipped\n" in machine.text


def test_the_backup_is_copied() -> None:
    data = noise(PAGE + 5)
    machine = prepare(
        covering(
            backup_src_start=0x5000_0000, backup_src_size=len(data), backup_dst_start=0x6000_0000
        )
    )
    machine.put(0x5000_0000, data)
    machine.put(0x6000_0000, bytes(2 * PAGE))
    machine.run()
    assert machine.entered_kernel
    assert machine.get(0x6000_0000, len(data) + 1) == data + b"\0"


@pytest.mark.parametrize(
    ("console", "uart"),
    [
        (MemoryConsole(UART_BASE, UartKind.UART_8250, 1), Uart8250(width=1)),
        (
            MemoryConsole(UART_BASE + 0x400, UartKind.UART_8250, 4, 2),
            Uart8250(base=UART_BASE + 0x400, reg_shift=2),
        ),
        (MemoryConsole(UART_BASE, UartKind.PLAIN, 1), WriteOnly(width=1)),
    ],
    ids=["8250", "words", "plain"],
)
def test_other_consoles(console: Console, uart: MemoryUart) -> None:
    machine = prepare(covering(console=console))
    machine.uart = uart
    machine.run()
    assert machine.text == RIGHT


def test_without_a_console_nothing_is_touched() -> None:
    machine = run(covering(console=None))
    assert machine.entered_kernel
    assert machine.silent


def test_memory_is_read_and_written_aligned() -> None:
    """With the MMU off memory is Strongly-ordered, where another access is an exception."""
    segments = {KERNEL: noise(5 * PAGE + 37)}
    machine = prepare(covering(segments), segments=segments)
    machine.watch_accesses()
    machine.run()
    assert machine.entered_kernel
    assert machine.accesses
    assert not [item for item in machine.accesses if item[0] % item[1]]
