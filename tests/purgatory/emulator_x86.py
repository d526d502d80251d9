"""An x86_64 processor that has just left the old kernel, with the PC's two consoles.

Like the kernel's control page it leaves nothing usable behind: wild registers, no stack, no
GDT, direction flag set, CR4 with PAE only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import unicorn
from unicorn import UC_ARCH_X86, UC_HOOK_INSN, UC_MODE_64, x86_const

from pykexec.purgatory_objects.parameters import PurgatoryObject
from pykexec.purgatory_objects.x86 import Entry64Registers
from tests.purgatory.emulator import KERNEL_ENTRY, TIMEOUT, WILD, Machine

_unicorn: Any = unicorn
"""Its classes have no usable types."""

VGA_WINDOW = 0xB8000
VGA_WINDOW_SIZE = 0x8000
COLUMNS, ROWS = 80, 25

CR4_PAE = 1 << 5
CR4_OSFXSR = 1 << 9
HLT = 0xF4
PICS = (0x20, 0x21, 0xA0, 0xA1)
"""I/O ports of the two interrupt controllers."""
LSR_THRE, LSR_TEMT = 0x20, 0x40

GENERAL_REGISTERS = tuple(Entry64Registers.__slots__)
SEGMENT_REGISTERS = ("cs", "ds", "es", "ss", "fs", "gs")
CRTC_START_HIGH, CRTC_START_LOW = 0x0C, 0x0D


@dataclass
class Uart:
    """A 16550 that takes its time: it is ready, and then idle, after some looks at its status.

    ``status`` fixes what its line status register reads, as with a missing one.
    """

    base: int = 0x3F8
    status: int | None = None
    pending: int = 5
    """Looks until the last character has left; it is accepted earlier. At first one is being
    sent: the old kernel's."""
    sent: bytearray = field(default_factory=bytearray)
    divisor: int = 0
    line_control: int = 0
    modem_control: int = 0
    interrupt_enable: int = 0xFF
    reads: int = 0

    def read(self, register: int) -> int:
        """Answer the line status; nothing else is ever read."""
        assert register == 5
        self.reads += 1
        if self.status is not None:
            return self.status
        self.pending = max(self.pending - 1, 0)
        return (LSR_THRE if self.ready else 0) | (LSR_TEMT if self.idle else 0)

    @property
    def ready(self) -> bool:
        """Another character may be written."""
        return self.pending <= 2 or self.status is not None

    @property
    def idle(self) -> bool:
        """The last character has left, so settings may be changed."""
        return self.pending == 0 or self.status is not None

    def write(self, register: int, value: int) -> None:
        """Take a character or a setting."""
        sending = register == 0 and not self.line_control & 0x80
        assert self.ready if sending else self.idle, f"UART register {register} written too early"
        if register == 0 and self.line_control & 0x80:
            self.divisor = self.divisor & 0xFF00 | value
        elif register == 0:
            self.sent.append(value)
            self.pending = 5
        elif register == 1 and self.line_control & 0x80:
            self.divisor = self.divisor & 0xFF | value << 8
        elif register == 1:
            self.interrupt_enable = value
        elif register == 3:
            self.line_control = value
        elif register == 4:
            self.modem_control = value
        else:
            raise AssertionError(f"UART register {register} written")


@dataclass
class Crtc:
    """The VGA registers that say where in its memory the screen starts, in characters."""

    registers: dict[int, int] = field(
        default_factory=lambda: {CRTC_START_HIGH: 0, CRTC_START_LOW: 0}
    )
    index: int = 0

    @property
    def start(self) -> int:
        """The screen's first character."""
        return self.registers[CRTC_START_HIGH] << 8 | self.registers[CRTC_START_LOW]

    @start.setter
    def start(self, value: int) -> None:
        self.registers = {CRTC_START_HIGH: value >> 8, CRTC_START_LOW: value & 0xFF}


class X86Machine(Machine):
    """The processor and both consoles."""

    uart: Uart
    mode: int = UC_MODE_64

    def __init__(self, obj: PurgatoryObject, base: int, patched: bytes) -> None:
        """Put a patched purgatory at the physical address ``base``."""
        super().__init__(_unicorn.Uc(UC_ARCH_X86, self.mode), obj, base, patched)
        self.uart, self.crtc = Uart(), Crtc()
        self.ports: list[tuple[int, int]] = []
        """Port and value of each byte for the interrupt controllers."""
        self.put(VGA_WINDOW, bytes(VGA_WINDOW_SIZE))
        self.put_kernel()
        self.uc.hook_add(UC_HOOK_INSN, self._port_in, None, 1, 0, x86_const.UC_X86_INS_IN)
        self.uc.hook_add(UC_HOOK_INSN, self._port_out, None, 1, 0, x86_const.UC_X86_INS_OUT)

    def put_kernel(self) -> None:
        """Put something to run where the kernel is entered."""
        self.put(KERNEL_ENTRY, bytes([HLT]))

    def run(self, cr4: int = CR4_PAE) -> None:
        """Enter the purgatory and return when it has entered the kernel or halted."""
        for name in GENERAL_REGISTERS:
            self.set(name, WILD)
        self.set("eflags", 0x402)
        self.set("cr4", cr4)
        self.set("gdtr", (0, 0, 0, 0))
        self.uc.emu_start(self.base + self.obj.entry, KERNEL_ENTRY, timeout=TIMEOUT)

    def set(self, name: str, value: object) -> None:
        """Give a register a value."""
        self.uc.reg_write(getattr(x86_const, f"UC_X86_REG_{name.upper()}"), value)

    def register(self, name: str) -> int:
        """Return a register's value."""
        return int(self.uc.reg_read(getattr(x86_const, f"UC_X86_REG_{name.upper()}")))

    @property
    def registers(self) -> Mapping[str, int]:
        """All general registers and rip."""
        return {name: self.register(name) for name in GENERAL_REGISTERS}

    @property
    def gdt(self) -> tuple[int, int]:
        """Address and limit of the descriptor table."""
        _, address, limit, _ = self.uc.reg_read(x86_const.UC_X86_REG_GDTR)
        return address, limit

    @property
    def idt(self) -> tuple[int, int, int, int]:
        """Selector, address, limit and flags of the table of interrupts, as Unicorn has them."""
        selector, address, limit, flags = self.uc.reg_read(x86_const.UC_X86_REG_IDTR)
        return selector, address, limit, flags

    @property
    def halted(self) -> bool:
        """The last instruction was a ``hlt`` of the purgatory's own, with interrupts off."""
        rip = self.register("rip" if self.mode == UC_MODE_64 else "eip")
        inside = self.base < rip <= self.base + len(self.obj.data)
        interrupts = self.register("eflags") & 1 << 9
        return inside and not interrupts and self.get(rip - 1, 1)[0] == HLT

    @property
    def silent(self) -> bool:
        """Nothing was sent or is on the screen."""
        return not self.uart.sent and not any(self.screen)

    @property
    def screen(self) -> list[str]:
        """The text of the VGA screen, a row each, without trailing blanks."""
        cells = self.get(VGA_WINDOW + 2 * self.crtc.start, 2 * COLUMNS * ROWS)
        text = cells[::2].decode("ascii").replace("\0", " ")
        return [text[i : i + COLUMNS].rstrip() for i in range(0, len(text), COLUMNS)]

    def _port_in(self, _uc: object, port: int, size: int, _data: object) -> int:
        assert size == 1
        if self.uart.base <= port < self.uart.base + 8:
            return self.uart.read(port - self.uart.base)
        assert port == 0x3D5, f"port {port:#x} read"
        return self.crtc.registers[self.crtc.index]

    def _port_out(self, _uc: object, port: int, size: int, value: int, _data: object) -> None:
        assert size == 1
        if self.uart.base <= port < self.uart.base + 8:
            self.uart.write(port - self.uart.base, value)
        elif port in PICS:
            self.ports.append((port, value))
        elif port == 0x3D4:
            self.crtc.index = value
        else:
            assert port == 0x3D5, f"port {port:#x} written"
            assert self.crtc.index in self.crtc.registers
            self.crtc.registers[self.crtc.index] = value
