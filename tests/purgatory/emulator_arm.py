"""A processor of 32-bit ARM that has just left the old kernel, with one UART in memory.

The kernel jumps in SVC mode, or in HYP mode where it was started in that, with MMU and caches off.
Unicorn translates by the tables that it is given, but has no caches: tests look at what is done to
those. It traps no unaligned access to Strongly-ordered memory: tests look for those themselves. It
knows no HYP mode, which QEMU has (test_caches_qemu_arm.py).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import unicorn
from unicorn import (
    UC_ARCH_ARM,
    UC_HOOK_CODE,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_WRITE,
    UC_MODE_ARM,
    arm_const,
)

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
SCTLR_M, SCTLR_C, SCTLR_I = 1 << 0, 1 << 2, 1 << 12

CONTROLLED = {"sctlr": (1, 0), "ttbcr": (2, 2), "ttbr0": (2, 0), "dacr": (3, 0)}
"""CRn and op2 of registers that have to do with translation; op1 and CRm are 0."""
MAINTENANCE = {
    0xEE07_0F36: "imvac",
    0xEE07_0F3E: "cimvac",
    0xEE07_0F15: "iallu",
    0xEE08_0F17: "tlbi",
}
"""Instructions without their condition and register: what is done to caches and translations."""

CACHES_ON = re.compile(r"^pykexec purgatory: caches on: (.*)\n", re.MULTILINE)
"""Said once the MMU is on."""


@dataclass(frozen=True)
class Event:
    """Something that was done to caches, translations or own memory."""

    kind: str
    """One of :data:`MAINTENANCE`, or ``write``."""
    address: int
    sctlr: int
    """What it was then."""


@dataclass(frozen=True)
class Mapped:
    """Memory that is mapped to itself, of one kind."""

    start: int
    end: int
    attributes: tuple[int, bool, bool]
    """TEX, C and B in one number; whether it may be written; whether executed."""


def joined(items: Iterable[Mapped]) -> list[Mapped]:
    """Return ``items``, which ascend, with neighbours of one kind in one."""
    found: list[Mapped] = []
    for item in items:
        last = found[-1] if found else None
        if last and (last.end, last.attributes) == (item.start, item.attributes):
            found[-1] = Mapped(last.start, item.end, item.attributes)
        else:
            found.append(item)
    return found


CACHED, ORDERED = 0b00111, 0b00000
"""TEX, C and B: write-back, allocated at reads and writes; Strongly-ordered."""

ENTRY_REGISTERS = tuple(ArmRegisters.__slots__)


class ArmMachine(Machine):
    """The processor and its UART."""

    uart: MemoryUart
    device_memory = range(UART_BASE, UART_BASE + PAGE)
    model = arm_const.UC_CPU_ARM_CORTEX_A15

    def __init__(self, obj: PurgatoryObject, base: int, patched: bytes) -> None:
        """Put a patched purgatory at the physical address ``base``."""
        uc = _unicorn.Uc(UC_ARCH_ARM, UC_MODE_ARM)
        uc.ctl_set_cpu_model(self.model)
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
    def text(self) -> str:
        """What was said, but for the line that :attr:`way` is."""
        return CACHES_ON.sub("", super().text)

    @property
    def way(self) -> str | None:
        """How it said that it hashes; None where it did not turn caches on."""
        said = CACHES_ON.search(super().text)
        return said and said[1]

    @property
    def control(self) -> int:
        """SCTLR."""
        return self.read_system("sctlr")

    def read_system(self, name: str) -> int:
        """Return one of :data:`CONTROLLED`."""
        crn, op2 = CONTROLLED[name]
        return int(self.uc.cpr_read(15, 0, crn, 0, 0, op2, False)) & 0xFFFF_FFFF

    def write_system(self, name: str, value: int) -> None:
        """Set one of :data:`CONTROLLED`."""
        crn, op2 = CONTROLLED[name]
        self.uc.cpr_write(15, 0, crn, 0, 0, op2, False, value)

    def system_registers(self) -> dict[str, int]:
        """Return those of :data:`CONTROLLED`."""
        return {name: self.read_system(name) for name in CONTROLLED}

    def watch_hashing(self, address: int) -> list[dict[str, int]]:
        """Return a list that has the system registers at each read of ``address``."""
        found: list[dict[str, int]] = []

        def read(*_: object) -> None:
            found.append(self.system_registers())

        self.uc.hook_add(UC_HOOK_MEM_READ, read, None, address, address)
        return found

    def count_instructions(self) -> int:
        """Run, and return how many instructions that took."""
        count = 0

        def executed(*_: object) -> None:
            nonlocal count
            count += 1

        self.uc.hook_add(UC_HOOK_CODE, executed)
        self.run()
        return count

    def watch_system(self) -> list[Event]:
        """Return a list that is filled with what is done to caches, and with own writes."""
        events: list[Event] = []

        def done(kind: str, register: int) -> Any:
            def callback(*_: object) -> None:
                events.append(Event(kind, self.register(f"r{register}"), self.control))

            return callback

        def written(_uc: object, _access: int, address: int, *_: object) -> None:
            events.append(Event("write", address, self.control))

        for number, (word,) in enumerate(struct.iter_unpack("<I", self.obj.data)):
            kind = MAINTENANCE.get(word & 0x0FFF_0FFF | 0xE000_0000)
            if kind:
                place = self.base + 4 * number
                callback = done(kind, word >> 12 & 15)
                self.uc.hook_add(UC_HOOK_CODE, callback, None, place, place)
        self.uc.hook_add(
            UC_HOOK_MEM_WRITE, written, None, self.base, self.base + self.obj.memsz - 1
        )
        return events

    def mapped(self, registers: Mapping[str, int]) -> list[Mapped]:
        """Return what short descriptors map, ascending; each has to be mapped to itself.

        Arm Architecture Reference Manual for ARMv7-A (DDI 0406), B3.5.1.
        """
        assert registers["ttbcr"] == 0
        assert registers["ttbr0"] % 0x4000 == 0  # walks go past the caches
        assert registers["dacr"] == 1
        return joined(self._leaves(registers["ttbr0"]))

    def _leaves(self, top: int) -> Iterator[Mapped]:
        for block, (entry,) in enumerate(struct.iter_unpack("<I", self.get(top, 0x4000))):
            if entry & 3 == 2:
                assert not entry & 0x000F_01E0  # not shared, global, domain 0, a section
                yield self._leaf(block << 20, 1 << 20, entry & 0xFFF0_0000, entry, (12, 10, 4))
            elif entry & 3 == 1:
                assert not entry & 0x3FC
                pages = struct.iter_unpack("<I", self.get(entry & -0x400, 0x400))
                for number, (page,) in enumerate(pages):
                    if page:
                        assert page & 2
                        assert not page & 0xC00
                        start = (block << 20) + number * PAGE
                        yield self._leaf(start, PAGE, page & -PAGE, page, (6, 4, 0))
            else:
                assert not entry

    @staticmethod
    def _leaf(start: int, size: int, target: int, entry: int, bits: tuple[int, int, int]) -> Mapped:
        tex, access, never = bits
        assert target == start
        kind = (entry >> tex & 7) << 2 | entry >> 2 & 3
        rights = (entry >> tex + 3 & 1) << 2 | entry >> access & 3
        assert rights in (0b001, 0b101)
        return Mapped(start, start + size, (kind, rights == 0b001, not entry >> never & 1))

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
