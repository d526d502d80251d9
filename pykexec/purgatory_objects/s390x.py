"""What the purgatory of s390x leaves with. Pure."""

from __future__ import annotations

from struct import Struct

from pykexec.architectures.s390x import S390X
from pykexec.purgatory_objects.registers import PurgatoryKind, RegisterSet
from pykexec.values.consoles import NoConsole
from pykexec.values.data_classes import dataclass

PARAMETERS_BEHIND = 0x400
"""Bytes from the entry point of a kernel to its parameter area: Linux arch/s390/include/asm/
setup.h, "PARMAREA"."""


@dataclass(frozen=True, slots=True)
class S390xRegisters:
    """What the purgatory does with memory. The kernel finds nothing in registers.

    All it is told stands in its own image, in the parameter area.
    """

    crash_base: int = 0
    crash_size: int = 0
    """The crash region, in bytes, which is exchanged with the memory from 0 on; 0: nothing is."""
    pc: int = 0
    """Where the kernel's entry point was loaded; after an exchange that many bytes lower."""

    @property
    def entry(self) -> int:
        """Physical address of the new kernel's entry point, as it was loaded."""
        return self.pc

    @property
    def argument(self) -> int:
        """Physical address of the parameter area."""
        return (self.pc & ~(PARAMETERS_BEHIND - 1)) + PARAMETERS_BEHIND


KINDS = {
    S390X.name: PurgatoryKind(
        (RegisterSet(S390xRegisters, "entry_regs", Struct(">3Q")),), NoConsole, big_endian=True
    )
}
