"""A LoongArch processor that has just left the old kernel, with one UART in memory.

Unicorn does not know it. QEMU's user emulation executes the purgatory's bytes where addresses are
physical ones, in the purgatory's own window. What a user does not have is done here: the few
instructions in the old kernel's window, on the way in and out, and each access through the one for
devices, which stops the program. LoongArch Reference Manual, volume 1, 5.2.1, "Direct mapping
address translation mode", and 7.5.16, "DMW0 to DMW3".

All of memory may be written and executed: pages of the emulation are larger than the purgatory's.
So what is watched is compared afterwards, the code included.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from unicorn import UC_ERR_READ_UNMAPPED, UC_ERR_WRITE_UNMAPPED

from pykexec.purgatory_objects.parameters import PurgatoryObject
from tests.purgatory.debugger_port import DebuggerPort
from tests.purgatory.emulator import KERNEL_ENTRY, PAGE, WILD, Machine, UcError
from tests.purgatory.uarts import UART_BASE, MemoryUart, WriteOnly
from tests.purgatory.user_emulation import ALL, SIGSEGV, SIGTRAP, Memory, UserEmulation, started

GRANULE = 0x4000
"""Bytes of a page of the emulation, before QEMU 8.2."""
MAP_MEMORY = (
    0x40003300,  # 0: beqz $s1, 1f
    0x28C00324,  # ld.d $a0, $s2, 0
    0x28C02325,  # ld.d $a1, $s2, 8
    0x28C04326,  # ld.d $a2, $s2, 16
    0x28C06329,  # ld.d $a5, $s2, 24
    0x03804407,  # ori $a3, $zero, MAP_SHARED | MAP_FIXED
    0x001502E8,  # move $a4, $s0
    0x0383780B,  # ori $a7, $zero, 222: mmap
    0x002B0000,  # syscall 0
    0x02C08339,  # addi.d $s2, $s2, 32
    0x02FFFF18,  # addi.d $s1, $s1, -1
    0x53FFD7FF,  # b 0b
    0x50000000,  # 1: b 1b
)
PC = 33
EMULATION = UserEmulation("qemu-loongarch64", 258, MAP_MEMORY, (23, 24, 25), PC)

EFI = 1
SYSTEM_TABLE = 0x1_7E5A_B018
OLD_COMMAND_LINE = 0x9000_0000_0010_8000
"""The old kernel's copy of some command line."""

CACHED, UNCACHED = 0x9000 << 48, 0x8000 << 48
"""The old kernel's windows."""
PHYSICAL = (1 << 48) - 1
DMW3 = 0x183
PLV0, CACHED_COHERENT = 1, 1 << 4
PHYSICAL_WINDOW = PLV0 | CACHED_COHERENT
"""Addresses that begin with 0."""
OLD_WINDOW = 0xA000_0000_0000_0001
"""What the old kernel has in DMW3: something else."""

A0, A1, A2, SP = 4, 5, 6, 3
DBAR, IBAR, IDLE = 0x38720000, 0x38728000, 0x06488000
LOADS = {0x2A000000: 1, 0x2A400000: 2, 0x28800000: 4}
STORES = {0x29000000: 1, 0x29400000: 2, 0x29800000: 4}
FORM_12 = 0xFFC0_0000
"""The bits that say what it is, where an instruction has a number of 12 bits."""
STORES_OF_ALL_SIZES = {*STORES, 0x29C00000}
INDEXED_STORES = {0x38100000, 0x38140000, 0x38180000, 0x381C0000}
FORM_3R = 0xFFFF_8000
LIMIT = 100
"""Instructions in the old kernel's window, at most."""


def signed(value: int, bits: int) -> int:
    """Return what a field of an instruction means as a number with a sign."""
    return (value & (1 << bits) - 1) - (value >> bits - 1 & 1) * (1 << bits)


def accessed(word: int, general: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the physical address and the size of what an instruction reads or writes, if it does.

    LoongArch Reference Manual, volume 1, 2.2.5, "Common memory access instructions".
    """
    base = general[word >> 5 & 31]
    # ld.b to ld.d, st.b to st.d, ld.bu to ld.wu; likewise by two registers; ldptr, stptr.
    if 0x28000000 <= word < 0x2AC00000:
        address, size = base + signed(word >> 10, 12), 1 << (word >> 22 & 3)
    elif 0x38000000 <= word < 0x382C0000 and not word & 0x38000:
        address, size = base + general[word >> 10 & 31], 1 << (word >> 18 & 3)
    elif 0x24000000 <= word < 0x28000000:
        address, size = base + 4 * signed(word >> 10, 14), 8 if word & 1 << 25 else 4
    else:
        return
    yield address & PHYSICAL, size


class Loongarch64Machine(Machine):
    """The processor and its UART."""

    uart: MemoryUart
    uc: Memory
    device_memory = range(UART_BASE, UART_BASE + PAGE)

    def __init__(self, obj: PurgatoryObject, base: int, patched: bytes) -> None:
        """Put a patched purgatory at the physical address ``base``."""
        super().__init__(Memory(GRANULE), obj, base, patched)
        self.uart = WriteOnly(width=1)
        self.window = OLD_WINDOW
        """DMW3."""
        self.efi = EFI
        self.kernel = KERNEL_ENTRY
        self.general = [0] * 32
        self.pc = 0
        self.last: list[int] = []
        """The instructions in the old kernel's window that were executed last."""
        self._halted = self._watches_writes = self._watches_accesses = False
        self.put(KERNEL_ENTRY, bytes(4))

    def watch_writes(self) -> None:
        """Record from now on which bytes of memory are changed."""
        self._watches_writes = True

    def watch_accesses(self) -> None:
        """Record all reads and writes from now on, but for those in the old kernel's window."""
        self._watches_accesses = True

    def run(self) -> None:
        """Enter the purgatory; return when it has entered the kernel or halted."""
        if self._watches_writes:
            self.uc.mem_write(self.base + self.obj.memsz - PAGE, b"\xa5" * PAGE)
        before = self._contents() if self._watches_writes else {}
        self.window, self._halted = OLD_WINDOW, False
        self.general = [0, *[WILD] * 31]
        self.general[A0], self.general[A1], self.general[A2] = (
            *(self.efi, OLD_COMMAND_LINE),
            SYSTEM_TABLE,
        )
        self.pc = CACHED | self.base + self.obj.entry
        self._run_in_window()
        with self._started() as port:
            for address in self._idles():
                port.set_breakpoint(address)
            for number in range(1, 32):
                port.write_register(number, self.general[number])
            port.write_register(PC, self.pc)
            while self._goes_on(port):
                pass
        if not self._halted:
            self._run_in_window()
        for start, content in before.items():
            changed = zip(content, self.get(start, len(content)), strict=True)
            self.accesses += [(start + i, 1) for i, (old, new) in enumerate(changed) if old != new]

    @contextmanager
    def _started(self) -> Iterator[DebuggerPort]:
        """Start QEMU; what is watched is known when it has ended."""
        with tempfile.TemporaryDirectory() as directory:
            trace = Path(directory, "trace") if self._watches_accesses else None
            with started(EMULATION, self.uc, self._mappings(), trace) as port:
                yield port
            if trace is not None:
                self.accesses += self._traced(trace)

    def _traced(self, trace: Path) -> Iterator[tuple[int, int]]:
        """Yield address and size of the accesses of all instructions that a trace has."""
        code = range(self.base, self.base + len(self.obj.data))
        pc = 0
        general: list[int] = []
        with trace.open() as lines:
            for line in lines:
                if line.startswith(" PC="):
                    pc, general = int(line[4:20], 16), []
                elif line.startswith(" GPR") and pc in code:
                    general += [int(word, 16) for word in line.split()[2::2]]
                    if len(general) == 32:
                        yield from accessed(int.from_bytes(self.get(pc, 4), "little"), general)

    def _contents(self) -> dict[int, bytes]:
        return {start: self.get(start, size) for start, size, _ in self.uc.regions}

    def _mappings(self) -> Iterator[tuple[int, int, int, int]]:
        for start, size, offset in self.uc.regions:
            yield start, start + size, ALL, offset

    def _idles(self) -> Iterator[int]:
        """Yield the addresses of the instruction to halt."""
        code = self.get(self.base, self.obj.symbols["sha256_digest"].offset & -PAGE)
        for at, (word,) in enumerate(struct.iter_unpack("<I", code)):
            if word == IDLE:
                yield self.base + 4 * at

    def _goes_on(self, port: DebuggerPort) -> bool:
        """Let the processor run, and do what stops it; tell whether there is more here."""
        signal = port.resume()
        *self.general, _, self.pc = port.read_words()[: PC + 1]
        pc = self.pc
        if signal == SIGTRAP:
            self._halted = True
            # And back to it.
            assert self.get(pc + 4, 4) == bytes.fromhex("ffffff53")
            return False
        assert signal == SIGSEGV, f"signal {signal} at {pc:#x}"
        if pc & CACHED:
            return False
        word = int.from_bytes(self.get(pc, 4), "little")
        self._access_device(port, word)
        port.write_register(PC, pc + 4)
        return True

    def _access_device(self, port: DebuggerPort, word: int) -> None:
        """Do a load or a store by a register and a number, or raise an error."""
        kind, target = word & FORM_12, word & 31
        address = self.general[word >> 5 & 31] + signed(word >> 10, 12)
        size = LOADS.get(kind) or STORES.get(kind) or 0
        physical = address & PHYSICAL
        if not size or address - physical != UNCACHED or physical not in self.device_memory:
            stores = kind in STORES_OF_ALL_SIZES or word & FORM_3R in INDEXED_STORES
            raise UcError(UC_ERR_WRITE_UNMAPPED if stores else UC_ERR_READ_UNMAPPED)
        assert address % size == 0
        offset = physical - self.uart.base
        if kind in STORES:
            self.uart.write(offset, size, self.general[target] & (1 << 8 * size) - 1)
        else:
            port.write_register(target, self.uart.read(offset, size))

    def _run_in_window(self) -> None:
        """Execute what is there, until it is left or the kernel is entered."""
        self.last = []
        while self.pc & CACHED == CACHED and self.pc != CACHED | self.kernel:
            assert len(self.last) < LIMIT
            self._execute(int.from_bytes(self.get(self.pc & PHYSICAL, 4), "little"))
        if not self.pc & CACHED:
            assert self.pc <= PHYSICAL
            assert self.window == PHYSICAL_WINDOW, "nothing maps a physical address"

    def _execute(self, word: int) -> None:
        """Do one instruction of those that the purgatory has there."""
        self.last.append(word)
        general, rd, rj, rk = self.general, word & 31, word >> 5 & 31, word >> 10 & 31
        following = self.pc + 4
        if word & FORM_3R == 0x00150000:  # or
            general[rd] = general[rj] | general[rk]
        elif word & FORM_12 == 0x03800000:  # ori
            general[rd] = general[rj] | word >> 10 & 0xFFF
        elif word & FORM_12 == 0x02C00000:  # addi.d
            general[rd] = general[rj] + signed(word >> 10, 12)
        elif word & 0xFE00_0000 == 0x1A000000:  # pcalau12i
            general[rd] = self.pc + (signed(word >> 5, 20) << 12) & -0x1000
        elif word & FORM_12 == 0x00C00000:  # bstrpick.d
            first, last = word >> 10 & 0x3F, word >> 16 & 0x3F
            general[rd] = general[rj] >> first & (1 << last - first + 1) - 1
        elif word & 0xFF00_03E0 == 0x04000020:  # csrwr
            assert word >> 10 & 0x3FFF == DMW3
            general[rd], self.window = self.window, general[rd]
        elif word & 0xFC00_0000 == 0x4C000000:  # jirl
            general[rd], following = following, general[rj] + 4 * signed(word >> 10, 16)
        else:
            assert word in (DBAR, IBAR), f"{word:#010x} at {self.pc:#x}"
        general[0] = 0
        general[rd] &= (1 << 64) - 1
        self.pc = following & (1 << 64) - 1

    @property
    def registers(self) -> Mapping[str, int]:
        """a1 and the program counter, of which the parameters name the physical address."""
        return {"a1": self.general[A1], "pc": self.pc & PHYSICAL if self.windowed else self.pc}

    @property
    def windowed(self) -> bool:
        """The program counter is in the old kernel's window."""
        return self.pc & ~PHYSICAL == CACHED

    @property
    def halted(self) -> bool:
        """It is idle, and goes back to it."""
        return self._halted

    @property
    def silent(self) -> bool:
        """Nothing was sent, and the UART left alone."""
        return not self.uart.sent and not self.uart.reads
