"""A processor of 32-bit ARM that has just left the old kernel, with one UART in memory.

The kernel jumps in SVC mode, or in HYP mode where it was started in that, with MMU and caches off.
Unicorn has no caches, and traps no unaligned access to Strongly-ordered memory: tests look for
those themselves. It knows no HYP mode; what is different there the tests read off the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import unicorn
from unicorn import UC_ARCH_ARM, UC_MODE_ARM, arm_const

from pykexec.purgatory_objects.arm import ArmRegisters
from pykexec.purgatory_objects.parameters import PurgatoryObject
from tests.purgatory.emulator import PAGE, TIMEOUT, Machine
from tests.purgatory.uarts import UART_BASE, MemoryUart, Pl011

_unicorn: Any = unicorn
"""Its classes have no usable types."""

KERNEL_ENTRY = 0x4160_8000
"""Where the tests' kernels are entered."""
MACHINE_TYPE = 0xFFFF_FFFE
"""What the old kernel hands on in r1."""
WILD = 0x0BAD_F00D
WFI = bytes.fromhex("03f020e3")
SUPERVISOR = 0x13
MASKS = 0xC0
SCTLR_I = 1 << 12

ENTRY_REGISTERS = tuple(ArmRegisters.__slots__)


class ArmMachine(Machine):
    """The processor and its UART."""

    uart: MemoryUart
    device_memory = range(UART_BASE, UART_BASE + PAGE)

    def __init__(self, obj: PurgatoryObject, base: int, patched: bytes) -> None:
        """Put a patched purgatory at the physical address ``base``."""
        uc = _unicorn.Uc(UC_ARCH_ARM, UC_MODE_ARM)
        uc.ctl_set_cpu_model(arm_const.UC_CPU_ARM_CORTEX_A15)
        super().__init__(uc, obj, base, patched)
        self.uart = Pl011()
        self.uc.mmio_map(UART_BASE, PAGE, self._read_uart, None, self._write_uart, None)
        self.put(KERNEL_ENTRY, WFI)

    def run(self) -> None:
        """Enter the purgatory in SVC mode; return when it has entered the kernel or halted."""
        for number in range(13):
            self.write(f"r{number}", WILD)
        self.write("r0", 0)
        self.write("r1", MACHINE_TYPE)
        self.write("sp", WILD)
        self.write("lr", WILD)
        # Interrupts open, which the purgatory has to close.
        self.write("cpsr", SUPERVISOR)
        self.uc.emu_start(self.base + self.obj.entry, KERNEL_ENTRY, timeout=TIMEOUT)

    @property
    def control(self) -> int:
        """SCTLR."""
        return int(self.uc.cpr_read(15, 0, 1, 0, 0, 0, False))

    @property
    def registers(self) -> Mapping[str, int]:
        """r2 and pc."""
        return {name: self.register(name) for name in ENTRY_REGISTERS}

    @property
    def entered_kernel(self) -> bool:
        """The purgatory has jumped."""
        return self.register("pc") == KERNEL_ENTRY

    def register(self, name: str) -> int:
        """Return a register's value."""
        return int(self.uc.reg_read(_register(name)))

    def write(self, name: str, value: int) -> None:
        """Set a register."""
        self.uc.reg_write(_register(name), value)

    @property
    def halted(self) -> bool:
        """The last instruction was a ``wfi`` of the purgatory's own, with interrupts masked."""
        pc = self.register("pc")
        inside = self.base < pc <= self.base + len(self.obj.data)
        masked = self.register("cpsr") & MASKS == MASKS
        return inside and masked and self.get(pc - 4, 4) == WFI

    @property
    def silent(self) -> bool:
        """Nothing was sent, and the UART was left alone."""
        return not self.uart.sent and not self.uart.reads

    def _read_uart(self, _uc: object, offset: int, size: int, _data: object) -> int:
        return self.uart.read(UART_BASE + offset - self.uart.base, size)

    def _write_uart(self, _uc: object, offset: int, size: int, value: int, _data: object) -> None:
        self.uart.write(UART_BASE + offset - self.uart.base, size, value)


def _register(name: str) -> int:
    number: int = getattr(arm_const, f"UC_ARM_REG_{name.upper()}")
    return number
