"""What the purgatory of arm64 leaves with. Pure."""

from __future__ import annotations

from struct import Struct

from pykexec.architectures.arm64 import ARM64
from pykexec.purgatory_objects.registers import PurgatoryKind, RegisterSet
from pykexec.values.consoles import MemoryConsole, UartKind
from pykexec.values.data_classes import dataclass


@dataclass(frozen=True, slots=True)
class Aarch64Registers:
    """Registers of an AArch64 processor as the new kernel finds them, in the object's order.

    Linux Documentation/arch/arm64/booting.rst, "Call the kernel image".
    """

    x0: int = 0
    x1: int = 0
    x2: int = 0
    x3: int = 0
    pc: int = 0

    @property
    def entry(self) -> int:
        """Physical address of the new kernel's entry point."""
        return self.pc

    @property
    def argument(self) -> int:
        """Physical address of the device tree."""
        return self.x0


KINDS = {
    ARM64.name: PurgatoryKind(
        (RegisterSet(Aarch64Registers, "entry_regs", Struct("<5Q")),),
        MemoryConsole,
        UartKind.UART_8250,
    )
}
