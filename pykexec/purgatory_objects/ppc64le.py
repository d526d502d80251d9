"""What the purgatory of ppc64le leaves with. Pure."""

from __future__ import annotations

from struct import Struct

from pykexec.architectures.ppc64le import PPC64LE
from pykexec.purgatory_objects.registers import PurgatoryKind, RegisterSet
from pykexec.values.consoles import FirmwareConsole, FirmwareKind
from pykexec.values.data_classes import dataclass

KERNEL_HEAD_START = 4
KERNEL_HEAD_SIZE = 0x100 - KERNEL_HEAD_START
"""Bytes. The running kernel copies the purgatory's first 0x100 bytes to address 0, where all
processors but one wait at 0x60: behind a branch they are the new kernel's own first bytes."""


@dataclass(frozen=True, slots=True)
class Ppc64leRegisters:
    """What the new kernel finds in memory and in registers of an IBM POWER processor.

    Linux arch/powerpc/kernel/head_64.S. It is entered in big endian, with 0 in r5. The processor's
    ID, which goes into the tree, is not among them: only the running kernel knows on which one it
    leaves, and the purgatory writes what it was given.
    """

    kernel_head: bytes = bytes(KERNEL_HEAD_SIZE)
    """The new kernel's bytes from 4 to 0x100."""
    run_at_load: int = 0
    """What is stored at 0x5c in the new kernel, as a little-endian number of 32 bits; 0: nothing.
    1, or ``0x01000000`` for a big-endian kernel, has it stay where it is."""
    r3: int = 0
    r8: int = 0
    """OPAL's base, and in r9 where it is called; 0: no OPAL."""
    r9: int = 0
    pc: int = 0
    """Also in r4: the kernel's first byte."""

    @property
    def entry(self) -> int:
        """Physical address of the new kernel's entry point."""
        return self.pc

    @property
    def argument(self) -> int:
        """Physical address of the device tree."""
        return self.r3


KINDS = {
    PPC64LE.name: PurgatoryKind(
        (
            RegisterSet(
                Ppc64leRegisters,
                "entry_regs",
                Struct("<4Q"),
                apart=(
                    ("kernel_head", Struct(f"{KERNEL_HEAD_SIZE}s")),
                    ("run_at_load", Struct("<I")),
                ),
            ),
        ),
        FirmwareConsole,
        FirmwareKind.OPAL,
    )
}
