"""x86: the address that the old kernel waits at is written to where others look for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pykexec.purgatory_objects.parameters import PurgatoryParameters, WayBack
from pykexec.purgatory_objects.x86 import Entry32Registers, Entry64Registers
from tests.purgatory.bench import SEGMENTS, X86_64
from tests.purgatory.emulator import KERNEL_ENTRY, PAGE
from tests.purgatory.emulator_x86 import X86Machine
from tests.purgatory.test_purgatory_x86_exits import (
    CONTROL_PAGE_STACK,
    ENTRY32,
    LOW,
    LegacyMachine,
    parameters,
)

WORDS = 0x30_0000
"""Where the digits and the slot are."""
TEXT = b"ro kexec_jump_back_entry=0x0000000000000000 end\0"
DIGITS = WORDS + TEXT.index(b"0x") + 2
SLOT = WORDS + 0x800
SWAP_PAGE = 0x41_0000
"""The end of it is the stack of whom the old kernel calls."""
WAITS = 0xF_1234_5678
TABLES = 0x50_0000


def called(params: PurgatoryParameters) -> X86Machine:
    """Return a processor on which the old kernel has called the purgatory, behind its work."""
    machine = X86_64.prepare(params, SEGMENTS)
    machine.put(WORDS, TEXT.ljust(PAGE, b"\0"))
    machine.put(SWAP_PAGE - 8, WAITS.to_bytes(8, "little"))
    machine.put(TABLES, bytes(PAGE))
    machine.run()
    return machine


@pytest.fixture(autouse=True)
def stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the emulated processor have the stack that a called purgatory has."""
    set_register = X86Machine.set

    def set_with_stack(self: X86Machine, name: str, value: object) -> None:
        set_register(self, name, SWAP_PAGE - 8 if name == "rsp" else value)

    monkeypatch.setattr(X86Machine, "set", set_with_stack)


def test_the_digits_on_the_command_line() -> None:
    machine = called(replace(X86_64.covering(SEGMENTS), way_back=WayBack(return_digits=DIGITS)))

    assert machine.entered_kernel
    assert machine.get(WORDS, len(TEXT)) == TEXT.replace(b"0" * 16, b"0000000f12345678")
    assert machine.get(SLOT, 8) == bytes(8)


def test_a_kernel_that_waits_finds_the_address_on_its_stack() -> None:
    registers = Entry64Registers(rip=KERNEL_ENTRY, rsp=SLOT)
    params = replace(
        X86_64.covering(SEGMENTS), way_back=WayBack(return_slot=SLOT), registers=registers
    )
    machine = called(params)

    assert machine.entered_kernel
    assert machine.register("rsp") == SLOT
    assert machine.get(SLOT, 8) == WAITS.to_bytes(8, "little")
    assert machine.get(WORDS, len(TEXT)) == TEXT


def test_other_page_tables_for_the_way_out() -> None:
    machine = called(replace(X86_64.covering(SEGMENTS), way_back=WayBack(return_tables=TABLES)))

    assert machine.register("cr3") == TABLES


def test_who_is_not_called_is_not_looked_for() -> None:
    """Without these parameters the stack, which may be none, is not touched."""
    machine = X86_64.prepare(X86_64.covering(SEGMENTS), SEGMENTS)
    machine.run()  # nothing is mapped there

    assert machine.entered_kernel


@pytest.mark.parametrize("arch", ["i386"])
def test_32_bits(arch: str) -> None:
    registers = Entry32Registers(eip=ENTRY32.eip, esp=SLOT)
    params = replace(
        parameters(registers), way_back=WayBack(return_digits=DIGITS, return_slot=SLOT)
    )
    machine = LegacyMachine(arch, LOW, params)
    machine.put(WORDS, TEXT.ljust(PAGE, b"\0"))
    machine.put(CONTROL_PAGE_STACK - 4, (0x1234_5678).to_bytes(4, "little"))
    machine.run()

    assert machine.address == ENTRY32.eip
    assert machine.get(WORDS, len(TEXT)) == TEXT.replace(b"0" * 16, b"0000000012345678")
    assert machine.get(SLOT, 4) == bytes.fromhex("78563412")
    assert machine.register("esp") == SLOT
