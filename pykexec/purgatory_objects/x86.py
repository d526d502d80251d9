"""What the purgatories of x86 leave with. Pure."""

from __future__ import annotations

from struct import Struct

from pykexec.architectures.x86 import I386, X86_64
from pykexec.purgatory_objects.registers import PurgatoryKind, RegisterSet
from pykexec.values.consoles import PcConsole
from pykexec.values.data_classes import dataclass


@dataclass(frozen=True, slots=True)
class Entry64Registers:
    """Registers of an x86_64 processor as the new kernel finds them, in the object's order."""

    rax: int = 0
    rbx: int = 0
    rcx: int = 0
    rdx: int = 0
    rsi: int = 0
    rdi: int = 0
    rsp: int | None = None
    """None: the end of the purgatory's own stack."""
    rbp: int = 0
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    r12: int = 0
    r13: int = 0
    r14: int = 0
    r15: int = 0
    rip: int = 0

    @property
    def entry(self) -> int:
        """Physical address of the new kernel's entry point."""
        return self.rip

    @property
    def argument(self) -> int:
        """Physical address of ``struct boot_params``."""
        return self.rsi


@dataclass(frozen=True, slots=True)
class Entry32Registers:
    """Registers of an x86 processor in protected mode, in the object's order."""

    eax: int = 0
    ebx: int = 0
    ecx: int = 0
    edx: int = 0
    esi: int = 0
    edi: int = 0
    esp: int | None = None
    """None: the end of the purgatory's own stack."""
    ebp: int = 0
    eip: int = 0

    @property
    def entry(self) -> int:
        """Physical address of the new kernel's entry point."""
        return self.eip

    @property
    def argument(self) -> int:
        """Physical address of ``struct boot_params``."""
        return self.esi


@dataclass(frozen=True, slots=True)
class Entry16Registers:
    """Registers of an x86 processor in real mode, in the object's order."""

    eax: int = 0
    ebx: int = 0
    ecx: int = 0
    edx: int = 0
    esi: int = 0
    edi: int = 0
    esp: int = 0
    ebp: int = 0
    ds: int = 0
    es: int = 0
    ss: int = 0
    fs: int = 0
    gs: int = 0
    ip: int = 0
    cs: int = 0

    @property
    def entry(self) -> int:
        """Physical address of the new kernel's entry point."""
        return (self.cs << 4) + self.ip

    @property
    def argument(self) -> int:
        """Physical address of the real-mode code, to which Linux gives all segments."""
        return self.ds << 4


_SETS = (
    RegisterSet(Entry64Registers, "entry64_regs", Struct("<17Q"), "rsp", 64),
    RegisterSet(Entry32Registers, "entry32_regs", Struct("<9I"), "esp", 32),
    RegisterSet(Entry16Registers, "entry16_regs", Struct("<8I7H2x"), None, 16),
)
_RETURN = ("return_digits", "return_slot")
KINDS = {
    X86_64.name: PurgatoryKind(_SETS, PcConsole, way_back=(*_RETURN, "return_tables")),
    I386.name: PurgatoryKind(_SETS[1:], PcConsole, way_back=_RETURN),
}
