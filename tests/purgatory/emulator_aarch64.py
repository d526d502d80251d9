"""An AArch64 processor that has just left the old kernel, with one UART in memory.

The kernel leaves by an exception return to EL1 or EL2 with the MMU off. Here the same is done
from EL3, into wild registers and no stack, with interrupts open. Unicorn translates by the tables
that it is given, but has no caches: tests look at what is done to those. It traps neither an
unaligned access to Device memory nor one to vector registers: tests look for both themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import unicorn
from unicorn import (
    UC_ARCH_ARM64,
    UC_HOOK_CODE,
    UC_HOOK_INSN,
    UC_HOOK_MEM_READ,
    UC_HOOK_MEM_WRITE,
    UC_MODE_ARM,
    arm64_const,
)

from pykexec.purgatory_objects.arm64 import Aarch64Registers
from pykexec.purgatory_objects.parameters import PurgatoryObject
from tests.purgatory.emulator import KERNEL_ENTRY, PAGE, TIMEOUT, WILD, Machine
from tests.purgatory.translation_aarch64 import Translation
from tests.purgatory.uarts import UART_BASE, MemoryUart, Pl011

_unicorn: Any = unicorn
"""Its classes have no usable types."""

OLD_KERNEL = 0x4100_0000
"""Its last instruction lies here."""

ERET = bytes.fromhex("e0039fd6")
WFI = bytes.fromhex("7f2003d5")

ENTRY_REGISTERS = tuple(Aarch64Registers.__slots__)
DAIF = 0xF << 6
"""PSTATE's interrupt masks."""
MODE_H = 1
"""PSTATE.SP: the exception level's own stack pointer."""

ELR, SPSR, SCTLR = (4, 0, 1), (4, 0, 0), (1, 0, 0)
TCR, TTBR0, MAIR, VBAR, CPTR = (2, 0, 2), (2, 0, 0), (10, 2, 0), (12, 0, 0), (1, 1, 2)
"""CRn, CRm and op2 of registers that each exception level has; op1 is its number's."""
CPACR = (1, 0, 2)
"""EL1's, in the place of CPTR."""
OP1 = {1: 0, 2: 4, 3: 6}

CONTROLLED = {
    level: {
        "sctlr": SCTLR,
        "tcr": TCR,
        "ttbr0": TTBR0,
        "mair": MAIR,
        "vbar": VBAR,
        "cpacr" if level == 1 else "cptr": CPACR if level == 1 else CPTR,
    }
    for level in (1, 2)
}
"""Registers of each level that have to do with translation, exceptions and vectors."""

MMFR0, MMFR2, ISAR0 = (0, 7, 0), (0, 7, 2), (0, 6, 0)
"""CRn, CRm and op2 of ID_AA64MMFR0_EL1, ID_AA64MMFR2_EL1 and ID_AA64ISAR0_EL1."""

DC_IVAC, DC_CIVAC = (0, 7, 6, 1), (3, 7, 14, 1)
IC_IALLU = (0, 7, 5, 0)
TLBI = {1: (0, 8, 7, 0), 2: (4, 8, 7, 0)}
"""op1, CRn, CRm and op2 of what is done to caches and translations: TLBI VMALLE1 and ALLE2."""

CACHES_ON = re.compile(r"^pykexec purgatory: caches on: (.*)\n", re.MULTILINE)
"""Said once the MMU is on."""

SCTLR_M, SCTLR_C, SCTLR_I = 1 << 0, 1 << 2, 1 << 12
HCR_E2H = 1 << 34


@dataclass(frozen=True)
class Event:
    """Something that was done to caches, translations or own memory."""

    kind: str
    """``ivac``, ``civac``, ``iallu``, ``tlbi`` or ``write``."""
    address: int
    sctlr: int
    """What it was then."""


class Aarch64Machine(Machine):
    """The processor and its UART."""

    uart: MemoryUart
    device_memory = range(UART_BASE, UART_BASE + PAGE)
    hypervisor_control = 1 << 31
    """HCR_EL2: RW, so that EL1 is 64-bit."""

    def __init__(self, obj: PurgatoryObject, base: int, patched: bytes) -> None:
        """Put a patched purgatory at the physical address ``base``."""
        super().__init__(self._processor(), obj, base, patched)
        self.uart = Pl011()
        self.uc.mmio_map(UART_BASE, PAGE, self._read_uart, None, self._write_uart, None)
        self.put(OLD_KERNEL, ERET)
        self.put(KERNEL_ENTRY, WFI)

    @property
    def text(self) -> str:
        """What was said, but for the line that :attr:`way` is: no other architecture has it."""
        return CACHES_ON.sub("", super().text)

    @property
    def way(self) -> str | None:
        """How it said that it hashes; None where it did not turn caches on."""
        said = CACHES_ON.search(super().text)
        return said and said[1]

    def _processor(self) -> Any:
        return _unicorn.Uc(UC_ARCH_ARM64, UC_MODE_ARM)

    def run(self, level: int = 1) -> None:
        """Enter the purgatory at EL1 or EL2; return when it has entered the kernel or halted.

        At EL3, where the emulation begins, no kernel is; but one can be sent there.
        """
        for number in range(31):
            self.uc.reg_write(_register(f"x{number}"), WILD)
        for number in range(32):
            self.uc.reg_write(_register(f"q{number}"), WILD << 64 | number)
        self.uc.reg_write(_register("pstate"), 3 << 2 | MODE_H)
        self.write_system(3, (1, 1, 0), 0x5B1)  # SCR_EL3: EL2 and EL1 are 64-bit, not secure
        self.write_system(2, (1, 1, 0), self.hypervisor_control)
        # Unicorn reads the return address of the level at which the code was translated.
        for source in (1, 3):
            self.write_system(source, ELR, self.base + self.obj.entry)
            self.write_system(source, SPSR, level << 2 | MODE_H)
        self.uc.emu_start(OLD_KERNEL, KERNEL_ENTRY, timeout=TIMEOUT)

    def write_system(self, level: int, register: tuple[int, int, int], value: int) -> None:
        """Set a system register of an exception level."""
        crn, crm, op2 = register
        self.uc.cpr_write(3, OP1[level], crn, crm, op2, value)

    def read_system(self, level: int, register: tuple[int, int, int]) -> int:
        """Return a system register of an exception level."""
        crn, crm, op2 = register
        return int(self.uc.cpr_read(3, OP1[level], crn, crm, op2))

    def system_registers(self, level: int) -> dict[str, int]:
        """Return those of :data:`CONTROLLED`."""
        return {name: self.read_system(level, item) for name, item in CONTROLLED[level].items()}

    def pretend(self, register: tuple[int, int, int], value: int) -> None:
        """Let an ID register read as ``value``."""

        def answer(uc: Any, destination: int, read: Any, _data: object) -> int:
            if (read.op0, read.op1, read.crn, read.crm, read.op2) != (3, 0, *register):
                return 0
            uc.reg_write(destination, value)
            return 1

        self._hook(UC_HOOK_INSN, answer, 1, 0, arm64_const.UC_ARM64_INS_MRS)

    def watch_system(self, level: int) -> list[Event]:
        """Return a list that is filled with what is done to caches and translations."""
        events: list[Event] = []
        operations = {
            DC_IVAC: "ivac",
            DC_CIVAC: "civac",
            IC_IALLU: "iallu",
            TLBI[level]: "tlbi",
        }

        def maintained(uc: Any, register: int, done: Any, _data: object) -> int:
            kind = operations[done.op1, done.crn, done.crm, done.op2]
            events.append(Event(kind, int(uc.reg_read(register)), self.read_system(level, SCTLR)))
            return 0

        self._hook(UC_HOOK_INSN, maintained, 1, 0, arm64_const.UC_ARM64_INS_SYS)
        return events

    def watch_own_writes(self, level: int, events: list[Event]) -> None:
        """Add the purgatory's writes to its own memory to ``events``."""

        def written(
            _uc: object, _access: int, address: int, _size: int, _value: int, _data: object
        ) -> None:
            events.append(Event("write", address, self.read_system(level, SCTLR)))

        self._hook(UC_HOOK_MEM_WRITE, written, self.base, self.base + self.obj.memsz - 1)

    def watch_hashing(self, level: int, address: int) -> list[dict[str, int]]:
        """Return a list that has the system registers at each read of ``address``."""
        found: list[dict[str, int]] = []

        def read(
            _uc: object, _access: int, _address: int, _size: int, _value: int, _data: object
        ) -> None:
            found.append(self.system_registers(level))

        self._hook(UC_HOOK_MEM_READ, read, address, address)
        return found

    def count_instructions(self, level: int) -> int:
        """Run, and return how many instructions that took."""
        count = 0

        def executed(_uc: object, _address: int, _size: int, _data: object) -> None:
            nonlocal count
            count += 1

        self._hook(UC_HOOK_CODE, executed)
        self.run(level)
        return count

    def translation(self, level: int, registers: Mapping[str, int]) -> Translation:
        """Return how ``registers`` translate, by what is in memory now."""
        return Translation(
            has_el0=level == 1 or bool(self.hypervisor_control & HCR_E2H),
            tcr=registers["tcr"],
            ttbr0=registers["ttbr0"],
            mair=registers["mair"],
            read=self.get,
        )

    def _hook(self, kind: int, callback: Any, *where: int) -> None:
        self.uc.hook_add(kind, callback, None, *where)

    @property
    def registers(self) -> Mapping[str, int]:
        """x0 to x3 and pc."""
        return {name: self.register(name) for name in ENTRY_REGISTERS}

    def register(self, name: str) -> int:
        """Return a register's value."""
        return int(self.uc.reg_read(_register(name)))

    @property
    def exception_level(self) -> int:
        """1 or 2."""
        return self.register("pstate") >> 2 & 3

    @property
    def mmu_is_off(self) -> bool:
        """SCTLR's M, C and I of the present exception level are clear."""
        value = self.read_system(self.exception_level, SCTLR)
        return not value & (SCTLR_M | SCTLR_C | SCTLR_I)

    @property
    def vectors_are_untouched(self) -> bool:
        """No vector register was written."""
        return all(self.register(f"q{number}") == WILD << 64 | number for number in range(32))

    @property
    def masked(self) -> bool:
        """All interrupts are."""
        return self.register("pstate") & DAIF == DAIF

    @property
    def halted(self) -> bool:
        """The last instruction was a ``wfi`` of the purgatory's own, with interrupts masked."""
        pc = self.register("pc")
        inside = self.base < pc <= self.base + len(self.obj.data)
        return inside and self.masked and self.get(pc - 4, 4) == WFI

    @property
    def silent(self) -> bool:
        """Nothing was sent, and the UART was left alone."""
        return not self.uart.sent and not self.uart.reads

    def _read_uart(self, _uc: object, offset: int, size: int, _data: object) -> int:
        return self.uart.read(UART_BASE + offset - self.uart.base, size)

    def _write_uart(self, _uc: object, offset: int, size: int, value: int, _data: object) -> None:
        self.uart.write(UART_BASE + offset - self.uart.base, size, value)


class VheMachine(Aarch64Machine):
    """A processor with FEAT_VHE, whose EL2 is set up as a host kernel's: HCR_EL2.E2H."""

    hypervisor_control = Aarch64Machine.hypervisor_control | HCR_E2H

    def _processor(self) -> Any:
        processor = super()._processor()
        processor.ctl_set_cpu_model(arm64_const.UC_CPU_ARM64_MAX)
        return processor


def _register(name: str) -> int:
    number: int = getattr(arm64_const, f"UC_ARM64_REG_{name.upper()}")
    return number
