"""What the purgatory of riscv64 leaves with. Pure."""

from __future__ import annotations

from struct import Struct

from pykexec.architectures.riscv64 import RISCV64
from pykexec.purgatory_objects.registers import PurgatoryKind, RegisterSet
from pykexec.values.consoles import MemoryConsole, UartKind
from pykexec.values.data_classes import dataclass


@dataclass(frozen=True, slots=True)
class Riscv64Registers:
    """Registers of a RISC-V hart as the new kernel finds them, in the object's order.

    Linux Documentation/arch/riscv/boot.rst, "Register state". a0, the hart's ID, is not among
    them: only the running kernel knows which hart it leaves on, and the purgatory hands on what
    it was given.
    """

    a1: int = 0
    pc: int = 0

    @property
    def entry(self) -> int:
        """Physical address of the new kernel's entry point."""
        return self.pc

    @property
    def argument(self) -> int:
        """Physical address of the device tree."""
        return self.a1


KINDS = {
    RISCV64.name: PurgatoryKind(
        (RegisterSet(Riscv64Registers, "entry_regs", Struct("<2Q")),),
        MemoryConsole,
        UartKind.SBI,
    )
}
