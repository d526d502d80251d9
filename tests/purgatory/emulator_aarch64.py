"""An AArch64 processor that has just left the old kernel, with one UART in memory.

The kernel leaves by an exception return to EL1 or EL2 with the MMU off. Here the same is done
from EL3, into wild registers and no stack, with interrupts open. Unicorn traps neither an
unaligned access to Device memory nor one to vector registers: tests look for both themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import unicorn
from unicorn import UC_ARCH_ARM64, UC_MODE_ARM, arm64_const

from pykexec.purgatory_objects.arm64 import Aarch64Registers
from pykexec.purgatory_objects.parameters import PurgatoryObject
from tests.purgatory.emulator import KERNEL_ENTRY, PAGE, TIMEOUT, WILD, Machine
from tests.purgatory.uarts import UART_BASE, MemoryUart, Pl011

_unicorn: Any = unicorn
"""Its classes have no usable types."""

OLD_KERNEL = 0x4100_0000
"""Its last instruction lies here."""

ERET = bytes.fromhex("e0039fd6")
WFI = bytes.fromhex("7f2003d5")

ENTRY_REGISTERS = tuple(Aarch64Registers.__slots__)
DAIF = 0xF << 6
"""PSTATE's interrupt masks."""
MODE_H = 1
"""PSTATE.SP: the exception level's own stack pointer."""

ELR, SPSR, SCTLR = (4, 0, 1), (4, 0, 0), (1, 0, 0)
"""CRn, CRm and op2 of registers that each exception level has; op1 is its number's."""
OP1 = {1: 0, 2: 4, 3: 6}


class Aarch64Machine(Machine):
    """The processor and its UART."""

    uart: MemoryUart
    device_memory = range(UART_BASE, UART_BASE + PAGE)

    def __init__(self, obj: PurgatoryObject, base: int, patched: bytes) -> None:
        """Put a patched purgatory at the physical address ``base``."""
        super().__init__(_unicorn.Uc(UC_ARCH_ARM64, UC_MODE_ARM), obj, base, patched)
        self.uart = Pl011()
        self.uc.mmio_map(UART_BASE, PAGE, self._read_uart, None, self._write_uart, None)
        self.put(OLD_KERNEL, ERET)
        self.put(KERNEL_ENTRY, WFI)

    def run(self, level: int = 1) -> None:
        """Enter the purgatory at EL1 or EL2; return when it has entered the kernel or halted."""
        for number in range(31):
            self.uc.reg_write(_register(f"x{number}"), WILD)
        for number in range(32):
            self.uc.reg_write(_register(f"q{number}"), WILD << 64 | number)
        self.uc.reg_write(_register("pstate"), 3 << 2 | MODE_H)
        self._write_system(3, (1, 1, 0), 0x5B1)  # SCR_EL3: EL2 and EL1 are 64-bit, not secure
        self._write_system(2, (1, 1, 0), 1 << 31)  # HCR_EL2.RW
        # Unicorn reads the return address of the level at which the code was translated.
        for source in (1, 3):
            self._write_system(source, ELR, self.base + self.obj.entry)
            self._write_system(source, SPSR, level << 2 | MODE_H)
        self.uc.emu_start(OLD_KERNEL, KERNEL_ENTRY, timeout=TIMEOUT)

    def _write_system(self, level: int, register: tuple[int, int, int], value: int) -> None:
        crn, crm, op2 = register
        self.uc.cpr_write(3, OP1[level], crn, crm, op2, value)

    @property
    def registers(self) -> Mapping[str, int]:
        """x0 to x3 and pc."""
        return {name: self.register(name) for name in ENTRY_REGISTERS}

    def register(self, name: str) -> int:
        """Return a register's value."""
        return int(self.uc.reg_read(_register(name)))

    @property
    def exception_level(self) -> int:
        """1 or 2."""
        return self.register("pstate") >> 2 & 3

    @property
    def mmu_is_off(self) -> bool:
        """SCTLR's M, C and I of the present exception level are clear."""
        crn, crm, op2 = SCTLR
        value = int(self.uc.cpr_read(3, OP1[self.exception_level], crn, crm, op2))
        return not value & (1 << 0 | 1 << 2 | 1 << 12)

    @property
    def vectors_are_untouched(self) -> bool:
        """No vector register was written."""
        return all(self.register(f"q{number}") == WILD << 64 | number for number in range(32))

    @property
    def masked(self) -> bool:
        """All interrupts are."""
        return self.register("pstate") & DAIF == DAIF

    @property
    def halted(self) -> bool:
        """The last instruction was a ``wfi`` of the purgatory's own, with interrupts masked."""
        pc = self.register("pc")
        inside = self.base < pc <= self.base + len(self.obj.data)
        return inside and self.masked and self.get(pc - 4, 4) == WFI

    @property
    def silent(self) -> bool:
        """Nothing was sent, and the UART was left alone."""
        return not self.uart.sent and not self.uart.reads

    def _read_uart(self, _uc: object, offset: int, size: int, _data: object) -> int:
        return self.uart.read(UART_BASE + offset - self.uart.base, size)

    def _write_uart(self, _uc: object, offset: int, size: int, value: int, _data: object) -> None:
        self.uart.write(UART_BASE + offset - self.uart.base, size, value)


def _register(name: str) -> int:
    number: int = getattr(arm64_const, f"UC_ARM64_REG_{name.upper()}")
    return number
