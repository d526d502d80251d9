"""What the purgatory of loongarch64 leaves with. Pure."""

from __future__ import annotations

from struct import Struct

from pykexec.architectures.loongarch64 import LOONGARCH64
from pykexec.purgatory_objects.registers import PurgatoryKind, RegisterSet
from pykexec.values.consoles import MemoryConsole, UartKind
from pykexec.values.data_classes import dataclass


@dataclass(frozen=True, slots=True)
class Loongarch64Registers:
    """Registers of a LoongArch processor as the new kernel finds them, in the object's order.

    Linux Documentation/arch/loongarch/booting.rst, "Information passed from BootLoader to kernel".
    a0 and a2, what EFI is and where, are not among them: the running kernel gives them, and the
    purgatory hands them on.
    """

    a1: int = 0
    pc: int = 0

    @property
    def entry(self) -> int:
        """Physical address of the new kernel's entry point."""
        return self.pc

    @property
    def argument(self) -> int:
        """Physical address of the command line."""
        return self.a1


KINDS = {
    LOONGARCH64.name: PurgatoryKind(
        (RegisterSet(Loongarch64Registers, "entry_regs", Struct("<2Q")),),
        MemoryConsole,
        UartKind.UART_8250,
    )
}
