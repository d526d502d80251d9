"""A POWER processor that has just left the old kernel, with a hypervisor's or OPAL's console.

Unicorn knows 64-bit POWER in big endian at best. So QEMU's user emulation executes the purgatory's
bytes, where its memory is: what memory holds is in a file that is mapped there, and each segment
may be read or written, and executed, only as it should be. What a user may not execute stops at a
breakpoint and is done here, as the processor in real mode would: there are but mfmsr, the writing
of SRR0 and SRR1, rfid, and sc 1. Big endian it executes here altogether: three instructions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Protocol

from unicorn import UC_ERR_READ_UNMAPPED, UC_ERR_WRITE_UNMAPPED

from pykexec.purgatory_objects.parameters import PurgatoryObject
from tests.purgatory.debugger_port import DebuggerPort
from tests.purgatory.emulator import KERNEL_ENTRY, PAGE, WILD, Machine, UcError
from tests.purgatory.user_emulation import (
    READ,
    READ_EXECUTE,
    READ_WRITE,
    SIGSEGV,
    SIGTRAP,
    Memory,
    UserEmulation,
    started,
)

CPU = 0x2B
"""Its hardware ID."""
TREE = 0x1_0800_0000
"""The tests' device tree, of which there is but the header."""
BOOT_CPU = 28
RUN_AT_LOAD = 0x5C
UNIT = 0x7100_0000
"""QEMU's own virtual terminal."""
OPAL_BASE, OPAL_ENTRY = 0x3000_0000, 0x3000_2000
OPAL_TERMINAL = 3

MAP_MEMORY = (
    0x2C3E0000,  # 0: cmpdi r30, 0
    0x41820030,  # beq 1f
    0xE87F0000,  # ld r3, 0(r31)
    0xE89F0008,  # ld r4, 8(r31)
    0xE8BF0010,  # ld r5, 16(r31)
    0xE91F0018,  # ld r8, 24(r31)
    0x38C00011,  # li r6, MAP_SHARED | MAP_FIXED
    0x7FA7EB78,  # mr r7, r29
    0x3800005A,  # li r0, 90: mmap
    0x44000002,  # sc
    0x3BFF0020,  # addi r31, r31, 32
    0x3BDEFFFF,  # addi r30, r30, -1
    0x4BFFFFD0,  # b 0b
    0x48000000,  # 1: b 1b
)
PC, LINK, COUNT = 64, 67, 68
"""Numbers that GDB gives them, behind those of general registers."""
EMULATION = UserEmulation("qemu-ppc64le", 21, MAP_MEMORY, (29, 30, 31), PC)

MSR = 0x9000_0000_0000_1003
"""64 bits, hypervisor, machine checks, recoverable, little endian; no paging, no interrupts."""
MSR_LE = 1
MFMSR, MTSRR0, MTSRR1 = 0x7C0000A6, 0x7C1A03A6, 0x7C1B03A6
REGISTER = 31 << 21
RFID, HYPERVISOR_CALL, LOWEST_PRIORITY = 0x4C000024, 0x44000022, 0x7FFFFB78
STOPS = {RFID, HYPERVISOR_CALL, LOWEST_PRIORITY}
WITH_REGISTER = {MFMSR, MTSRR0, MTSRR1}

STORES = {36, 37, 38, 39, 44, 45, 62}
INDEXED_STORES = {149, 151, 181, 183, 215, 247, 407, 439, 660, 662, 918}

H_PUT_TERM_CHAR, H_SUCCESS, H_PARAMETER = 0x58, 0, -4 & (1 << 64) - 1
OPAL_WRITE, OPAL_POLL = 1, 10
OPAL_PARAMETER = -1 & (1 << 64) - 1


class Firmware(Protocol):
    """Whom the purgatory calls."""

    sent: bytearray
    calls: int

    @property
    def idle(self) -> bool:
        """The last character has left."""


@dataclass
class Hypervisor:
    """What answers sc 1: the call that writes to a virtual terminal."""

    unit: int = UNIT
    sent: bytearray = field(default_factory=bytearray)
    calls: int = 0
    answers: list[int] = field(default_factory=list)
    """What the next calls return, instead of taking anything."""
    answer: int = H_SUCCESS
    """What all others return."""

    @property
    def idle(self) -> bool:
        """What it has taken it sends."""
        return True

    def call(self, token: int, unit: int, length: int, first: int, second: int) -> int:
        """Return what r3 holds afterwards."""
        self.calls += 1
        if token != H_PUT_TERM_CHAR or unit != self.unit or not 0 < length <= 16:
            return H_PARAMETER
        answer = self.answers.pop(0) if self.answers else self.answer
        if answer == H_SUCCESS:
            self.sent += struct.pack(">QQ", first, second)[:length]
        return answer


@dataclass
class Opal:
    """What is called in big endian, with a buffer of its own."""

    sent: bytearray = field(default_factory=bytearray)
    calls: int = 0
    buffered: bytearray = field(default_factory=bytearray)
    room: int = 40
    """Bytes that the buffer has."""
    at_once: int = 24
    """Bytes that leave it at each call that lets the driver work."""
    answer: int = 0
    """What writing returns where there is room."""

    @property
    def idle(self) -> bool:
        """The buffer is empty."""
        return not self.buffered

    def call(self, memory: Memory, token: int, arguments: list[int]) -> int:
        """Return what r3 holds afterwards."""
        self.calls += 1
        if token == OPAL_POLL:
            self.sent += self.buffered[: self.at_once]
            del self.buffered[: self.at_once]
            memory.mem_write(arguments[0], struct.pack(">Q", 0x10 if self.buffered else 0))
            return 0
        terminal, place, text = arguments
        if token != OPAL_WRITE or terminal != OPAL_TERMINAL:
            return OPAL_PARAMETER
        (length,) = struct.unpack(">Q", memory.mem_read(place, 8))
        taken = min(length, self.room - len(self.buffered))
        if not taken:
            return -12 & (1 << 64) - 1  # OPAL_BUSY_EVENT
        if not self.answer:
            self.buffered += memory.mem_read(text, taken)
            memory.mem_write(place, struct.pack(">Q", taken))
        return self.answer


class Ppc64leMachine(Machine):
    """The processor and its memory."""

    uart: Firmware
    uc: Memory

    def __init__(self, obj: PurgatoryObject, base: int, patched: bytes) -> None:
        """Put a patched purgatory at the physical address ``base``."""
        super().__init__(Memory(), obj, base, patched)
        self.hypervisor, self.opal = Hypervisor(), Opal()
        self.uart = self.hypervisor
        self.msr = MSR
        self.general = [0] * 32
        self.pc = 0
        self._srr = [0, 0]
        self._halted = self._watched = False
        self.read_only = range(0)
        """Memory that nobody may write; whole pages, mapped apart from others."""
        # Version 17 of a tree, that an older reader can read as 16.
        self.put(TREE, struct.pack(">10I", 0xD00DFEED, 0, 0, 0, 0, 17, 16, 0xFFFF_FFFF, 0, 0))
        self.put(KERNEL_ENTRY, bytes(0x100))

    def watch_writes(self) -> None:
        """Record which own bytes are written; elsewhere nothing may be from now on."""
        self._watched = True

    def listen_to_opal(self) -> None:
        """Hear what is written to OPAL's console."""
        self.uart = self.opal

    def run(self) -> None:
        """Enter the purgatory; return when it has entered the kernel or halted."""
        self._halted, self.msr = False, MSR
        stack = self.base + self.obj.memsz - PAGE
        if self._watched:
            self.uc.mem_write(stack, b"\xa5" * PAGE)
        before = self._own_data()
        with started(EMULATION, self.uc, self._mappings()) as port:
            for address in self._privileged:
                port.set_breakpoint(address)
            for number in (*range(32), LINK, COUNT):
                port.write_register(number, WILD)
            for number, value in ((3, CPU), (4, self.base), (5, 0)):
                port.write_register(number, value)
            port.write_register(PC, self.base + self.obj.entry)
            while self._goes_on(port):
                pass
            self.general = [port.read_register(number) for number in range(32)]
            self.pc = port.read_register(PC)
        if self._watched:
            changed = zip(before, self._own_data(), strict=True)
            start = self._data_start
            self.accesses += [(start + i, 1) for i, (old, new) in enumerate(changed) if old != new]

    @property
    def _data_start(self) -> int:
        return self.base + (self.obj.symbols["sha256_digest"].offset & -PAGE)

    def _own_data(self) -> bytes:
        return self.get(self._data_start, self.base + self.obj.memsz - self._data_start)

    @cached_property
    def _privileged(self) -> list[int]:
        """Addresses of what a user may not execute, and of the instruction to halt."""
        code = self.get(self.base, self._data_start - self.base)
        words = struct.unpack(f"<{len(code) // 4}I", code)
        return [
            self.base + 4 * index
            for index, word in enumerate(words)
            if word in STOPS or word & ~REGISTER in WITH_REGISTER
        ]

    def _mappings(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield start, end, protection and offset in the file."""
        end = self.base + self.obj.memsz
        others = READ if self._watched else READ_WRITE
        for start, size, offset in self.uc.regions:
            edges = {start, start + size} | {
                edge for edge in (self.base, self._data_start, end) if start < edge < start + size
            }
            for first, last in pairwise(sorted(edges)):
                own = self.base <= first < end
                code = own and first < self._data_start
                protection = READ_EXECUTE if code else READ_WRITE if own else others
                if first in self.read_only:
                    protection = READ
                yield first, last, protection, offset + first - start

    def _goes_on(self, port: DebuggerPort) -> bool:
        """Let the processor run, and do what stops it; tell whether there is more."""
        signal = port.resume()
        pc = port.read_register(PC)
        word = int.from_bytes(self.get(pc, 4), "little")
        if signal == SIGSEGV:
            extended = word >> 1 & 0x3FF
            stores = word >> 26 in STORES or (word >> 26 == 31 and extended in INDEXED_STORES)
            raise UcError(UC_ERR_WRITE_UNMAPPED if stores else UC_ERR_READ_UNMAPPED)
        assert signal == SIGTRAP, f"signal {signal} at {pc:#x}: {word:#x}"
        if word == LOWEST_PRIORITY:
            # And back to it.
            self._halted = self.get(pc + 4, 4) == bytes.fromhex("fcffff4b")
            assert self._halted
        elif word == HYPERVISOR_CALL:
            arguments = [port.read_register(number) for number in range(3, 8)]
            port.write_register(3, self.hypervisor.call(*arguments))
            for number in (0, *range(4, 13), COUNT):
                port.write_register(number, WILD)
            port.write_register(PC, pc + 4)
        else:
            self._execute(port, word)
            self._run_in_big_endian(port)
        return bool(self.msr & MSR_LE) and not self._halted

    def _execute(self, port: DebuggerPort, word: int) -> None:
        number, pc = word >> 21 & 31, port.read_register(PC) + 4
        if word == RFID:
            pc, self.msr = self._srr
        elif word & ~REGISTER == MFMSR:
            port.write_register(number, self.msr)
        else:
            assert word & ~REGISTER in (MTSRR0, MTSRR1), f"{word:#x} at {pc - 4:#x}"
            self._srr[word & ~REGISTER == MTSRR1] = port.read_register(number)
        port.write_register(PC, pc)

    def _run_in_big_endian(self, port: DebuggerPort) -> None:
        """Go on until the kernel is entered, or little endian comes back."""
        while not self.msr & MSR_LE and (pc := port.read_register(PC)) != KERNEL_ENTRY:
            if pc == OPAL_ENTRY:
                self._call_opal(port)
            else:
                self._execute(port, int.from_bytes(self.get(pc, 4), "big"))

    def _call_opal(self, port: DebuggerPort) -> None:
        token, stack, base, *arguments = (port.read_register(number) for number in range(6))
        assert base == OPAL_BASE
        assert stack % 16 == 0
        port.write_register(3, self.opal.call(self.uc, token, arguments))
        port.write_register(PC, port.read_register(LINK))
        for number in (0, 2, *range(4, 14), LINK, COUNT):
            port.write_register(number, WILD)
        self._srr = [WILD, WILD]

    @property
    def registers(self) -> Mapping[str, int]:
        """What the parameters name, of memory too: the type of the first is bytes."""
        found = {
            "kernel_head": self.get(self.base + 4, 252),
            "run_at_load": int.from_bytes(self.get(KERNEL_ENTRY + RUN_AT_LOAD, 4), "little"),
            **{f"r{number}": self.general[number] for number in (3, 8, 9)},
            "pc": self.pc,
        }
        # What is common to all machines looks at the last alone.
        return found  # type: ignore[return-value]

    @property
    def boot_cpu(self) -> int:
        """What the tree says."""
        return int.from_bytes(self.get(TREE + BOOT_CPU, 4), "big")

    @property
    def halted(self) -> bool:
        """It goes round and round, with lowest priority and interrupts off."""
        return self._halted

    @property
    def silent(self) -> bool:
        """Nobody was called."""
        return not self.hypervisor.calls and not self.opal.calls
