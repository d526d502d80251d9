"""A RISC-V hart that has just left the old kernel, with firmware and one UART in memory.

Firmware leaves for S-mode by an mret, and so it is done here: into wild registers, and floating
point off, so that an instruction of that kind is not executed. Unicorn hands no exception to
stvec: where a test wants them, :meth:`Riscv64Machine.take_exceptions` does what the hart would.
An unaligned access is not trapped: tests look for those themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import unicorn
from unicorn import (
    UC_ARCH_RISCV,
    UC_ERR_FETCH_UNMAPPED,
    UC_ERR_READ_UNMAPPED,
    UC_ERR_WRITE_UNMAPPED,
    UC_HOOK_INTR,
    UC_HOOK_MEM_INVALID,
    UC_MODE_RISCV64,
    riscv_const,
)

from pykexec.purgatory_objects.parameters import PurgatoryObject
from pykexec.purgatory_objects.riscv64 import Riscv64Registers
from tests.purgatory.emulator import KERNEL_ENTRY, PAGE, TIMEOUT, WILD, Machine, UcError
from tests.purgatory.uarts import UART_BASE, MemoryUart, Uart8250

_unicorn: Any = unicorn
"""Its classes have no usable types."""

FIRMWARE = 0x4100_0000
"""Its last instruction lies here."""

HART = 0x5_0000_0007
"""An ID that no register's other value can be taken for; IDs need be neither small nor dense."""

MRET = bytes.fromhex("73002030")
WFI = bytes.fromhex("73005010")

ENTRY_REGISTERS = tuple(Riscv64Registers.__slots__)
SUPERVISOR, MACHINE = 1, 3
MPP = SUPERVISOR << 11
"""mstatus: what mret leaves for; FS and VS are 0, interrupts of S-mode off."""
SUPERVISOR_INTERRUPTS = 0x222
"""Timer, software and external, in sie and mideleg."""

LEGACY_PUTCHAR, DEBUG_CONSOLE, WRITE_BYTE = 1, 0x4442434E, 2
NOT_SUPPORTED = -2
"""SBI_ERR_NOT_SUPPORTED."""
ECALL = 8
"""What Unicorn calls one, from whichever mode."""

FETCH_FAULT, ILLEGAL, LOAD_FAULT, STORE_FAULT = 1, 2, 5, 7
CAUSES = {
    UC_ERR_FETCH_UNMAPPED: FETCH_FAULT,
    UC_ERR_READ_UNMAPPED: LOAD_FAULT,
    UC_ERR_WRITE_UNMAPPED: STORE_FAULT,
}
EXCEPTIONS_MAX = 10
"""Where a test's purgatory takes more of them, it does so for ever."""


@dataclass
class Firmware:
    """What answers an ecall: the SBI, with as many of its consoles as it is made with."""

    debug_console: bool = True
    legacy_console: bool = True
    sent: bytearray = field(default_factory=bytearray)
    calls: int = 0
    stops_after: int | None = None
    """Characters; the console fails from then on."""

    @property
    def idle(self) -> bool:
        """It returns when it has sent."""
        return True

    def call(self, extension: int, function: int, argument: int) -> int:
        """Return what a0 holds afterwards."""
        self.calls += 1
        known = (extension, function) == (DEBUG_CONSOLE, WRITE_BYTE) and self.debug_console
        known = known or (extension == LEGACY_PUTCHAR and self.legacy_console)
        if not known or len(self.sent) == self.stops_after:
            return NOT_SUPPORTED
        assert argument < 1 << 8
        self.sent.append(argument)
        return 0


class Riscv64Machine(Machine):
    """The hart, its firmware and its UART."""

    uart: MemoryUart | Firmware
    device_memory = range(UART_BASE, UART_BASE + PAGE)

    def __init__(self, obj: PurgatoryObject, base: int, patched: bytes) -> None:
        """Put a patched purgatory at the physical address ``base``."""
        super().__init__(_unicorn.Uc(UC_ARCH_RISCV, UC_MODE_RISCV64), obj, base, patched)
        self.uart = Uart8250(width=1)
        self.firmware = Firmware()
        self.exceptions: list[tuple[int, int, int]] = []
        """scause, sepc and stval of each that was taken."""
        self._takes_exceptions = False
        self._invalid = 0
        self._illegal: int | None = None
        self.uc.mmio_map(UART_BASE, PAGE, self._read_uart, None, self._write_uart, None)
        self.uc.hook_add(UC_HOOK_INTR, self._interrupted)
        self.uc.hook_add(UC_HOOK_MEM_INVALID, self._note_invalid)
        self.put(FIRMWARE, MRET)
        self.put(KERNEL_ENTRY, WFI)

    def take_exceptions(self) -> None:
        """Go on at stvec from now on, where otherwise the emulation would stop."""
        self._takes_exceptions = True

    def listen_to_firmware(self, firmware: Firmware) -> None:
        """Hear what ``firmware`` sends instead of a UART."""
        self.uart = self.firmware = firmware

    def run(self, crashed: bool = False) -> None:
        """Enter the purgatory in S-mode; return when it has entered the kernel or halted.

        After a crash it is entered by an exception, through stvec.
        """
        entry = self.base + self.obj.entry
        self.write("priv", MACHINE)
        for number in range(1, 32):
            self.write(f"x{number}", WILD)
        self.write("a0", HART)
        self.write("mideleg", SUPERVISOR_INTERRUPTS)
        self.write("mie", SUPERVISOR_INTERRUPTS)
        self.write("stvec", entry if crashed else 0x4000)
        self.write("scause", FETCH_FAULT if crashed else 0)
        self.write("sepc", 0xFFFF_FFFF_8000_1234 if crashed else 0)
        self.write("mepc", self.register("stvec") if crashed else entry)
        self.write("mstatus", MPP)
        start = FIRMWARE
        for _ in range(EXCEPTIONS_MAX):
            self._illegal = None
            try:
                self.uc.emu_start(start, KERNEL_ENTRY, timeout=TIMEOUT)
            except UcError as error:
                # Unicorn's class has it, and no types that say so.
                cause: int | None = CAUSES.get(error.errno)  # type: ignore[attr-defined]
                if cause is None or not self._takes_exceptions:
                    raise
                pc = self._invalid if cause == FETCH_FAULT else self.register("pc")
                start = self._take(cause, pc, self._invalid)
            else:
                if self._illegal is None:
                    return
                start = self._take(ILLEGAL, self._illegal, 0)
        raise AssertionError(f"no end of exceptions: {self.exceptions}")

    def _take(self, cause: int, pc: int, value: int) -> int:
        """Do what the hart does for an exception; return where it goes on."""
        self.exceptions.append((cause, pc, value))
        for name, number in (("scause", cause), ("sepc", pc), ("stval", value)):
            self.write(name, number)
        return self.register("stvec")

    @property
    def registers(self) -> Mapping[str, int]:
        """a1 and pc."""
        return {name: self.register(name) for name in ENTRY_REGISTERS}

    def register(self, name: str) -> int:
        """Return a register's value; what is M-mode's only before the purgatory is entered."""
        return int(self.uc.reg_read(_register(name)))

    def write(self, name: str, value: int) -> None:
        """Set a register."""
        self.uc.reg_write(_register(name), value)

    @property
    def halted(self) -> bool:
        """The last instruction was a ``wfi`` of the purgatory's own, with interrupts off."""
        pc = self.register("pc")
        inside = self.base < pc <= self.base + len(self.obj.data)
        return inside and not self.register("sie") and self.get(pc - 4, 4) == WFI

    @property
    def silent(self) -> bool:
        """Nothing was sent, the UART was left alone, and the firmware not called."""
        looks = 0 if isinstance(self.uart, Firmware) else self.uart.reads
        return not self.uart.sent and not looks and not self.firmware.calls

    def _interrupted(self, _uc: object, number: int, _data: object) -> None:
        if number == ECALL:
            self._call_firmware()
            return
        assert number == ILLEGAL
        assert self._takes_exceptions, "an illegal instruction"
        # Unicorn has gone past it.
        self._illegal = self.register("pc") - 4
        self.uc.emu_stop()

    def _call_firmware(self) -> None:
        extension, function = self.register("a7"), self.register("a6")
        answer = self.firmware.call(extension, function, self.register("a0"))
        self.write("a0", answer & (1 << 64) - 1)
        self.write("a1", WILD)

    def _note_invalid(
        self, _uc: object, _access: int, address: int, _size: int, _value: int, _data: object
    ) -> bool:
        self._invalid = address
        return False

    def _read_uart(self, _uc: object, offset: int, size: int, _data: object) -> int:
        assert not isinstance(self.uart, Firmware)
        return self.uart.read(UART_BASE + offset - self.uart.base, size)

    def _write_uart(self, _uc: object, offset: int, size: int, value: int, _data: object) -> None:
        assert not isinstance(self.uart, Firmware)
        self.uart.write(UART_BASE + offset - self.uart.base, size, value)


def _register(name: str) -> int:
    number: int = getattr(riscv_const, f"UC_RISCV_REG_{name.upper()}")
    return number
