"""What the purgatory of 32-bit ARM leaves with. Pure."""

from __future__ import annotations

from struct import Struct

from pykexec.architectures.arm import ARM
from pykexec.purgatory_objects.registers import PurgatoryKind, RegisterSet
from pykexec.values.consoles import MemoryConsole, UartKind
from pykexec.values.data_classes import dataclass


@dataclass(frozen=True, slots=True)
class ArmRegisters:
    """Registers as the new kernel finds them, in the object's order.

    Linux Documentation/arch/arm/booting.rst, "Calling the kernel image". r0 is 0, and r1, the
    number of the machine's type, is what the running kernel hands on: neither is among them.
    """

    r2: int = 0
    pc: int = 0

    @property
    def entry(self) -> int:
        """Physical address of the new kernel's entry point."""
        return self.pc

    @property
    def argument(self) -> int:
        """Physical address of the device tree, or of the list of tags."""
        return self.r2


KINDS = {
    ARM.name: PurgatoryKind(
        (RegisterSet(ArmRegisters, "entry_regs", Struct("<2I")),),
        MemoryConsole,
        UartKind.UART_8250,
    )
}
