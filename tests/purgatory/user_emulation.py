"""A processor in QEMU's user emulation, for architectures of which Unicorn knows too little.

QEMU executes the purgatory's bytes, where its memory is: what memory holds is in a file that is
mapped there. What a user may not execute, or reach, stops the program and is done by the tests.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.needs import unavailable
from tests.purgatory.debugger_port import DebuggerPort
from tests.purgatory.emulator import PAGE

WAITS = 60
"""Seconds for one answer of QEMU's; it needs some milliseconds, on an idle machine."""

GUEST_BASE = 0x1000_0000_0000
"""Where the emulated address 0 is in QEMU's own memory."""
STUB = 0x6000_0000_0000
STUB_TABLE = 0x400
STUB_ALIGN = 0x10000
"""Bytes of the largest page that any of them has."""
READ, READ_WRITE, READ_EXECUTE, ALL = 1, 3, 5, 7

SIGSEGV, SIGTRAP = 11, 5


_TRACING = {
    "QEMU_LOG": "cpu,nochain",
    "QEMU_SINGLESTEP": "1",
    "QEMU_ONE_INSN_PER_TB": "1",
}
"""The last is what QEMU 8.1 has made of the one before."""


@dataclass(frozen=True)
class UserEmulation:
    """One architecture's program, and how memory is mapped in it."""

    program: str
    elf_machine: int
    map_memory: tuple[int, ...]
    """Instructions that map all ranges of a table, and go round and round in the last."""
    arguments: tuple[int, int, int]
    """Numbers of the registers that they find file, count and table in."""
    pc: int
    """The program counter's number, as GDB has it."""


class Memory:
    """Physical memory in a file, by the methods of Unicorn's that the tests use."""

    def __init__(self, granule: int = PAGE) -> None:
        """Begin without any; what is mapped are multiples of ``granule`` bytes."""
        self.granule = granule
        self.file = os.memfd_create("memory")
        weakref.finalize(self, os.close, self.file)
        self.regions: list[tuple[int, int, int]] = []
        """Start, size, and offset in the file."""

    def mem_map(self, start: int, size: int) -> None:
        """Have zeros there from now on, but where memory is already."""
        first, last = start & -self.granule, -(-(start + size) // self.granule) * self.granule
        for at, end in self._missing(first, last):
            offset = sum(region[1] for region in self.regions)
            os.ftruncate(self.file, offset + end - at)
            self.regions.append((at, end - at, offset))

    def _missing(self, at: int, end: int) -> Iterator[tuple[int, int]]:
        for start, size, _ in sorted(self.regions):
            if at < start < end:
                yield at, start
            if start < end:
                at = max(at, start + size)
        if at < end:
            yield at, end

    def mem_write(self, address: int, data: bytes) -> None:
        """Write what exists."""
        for at, size, offset in self._parts(address, len(data)):
            os.pwrite(self.file, data[at : at + size], offset)

    def mem_read(self, address: int, size: int) -> bytes:
        """Read what exists."""
        parts = self._parts(address, size)
        return b"".join(os.pread(self.file, part, offset) for _, part, offset in parts)

    def _parts(self, address: int, size: int) -> Iterator[tuple[int, int, int]]:
        """Yield offset in the data, bytes, and offset in the file."""
        at = 0
        while at < size:
            start, length, offset = next(
                item for item in self.regions if item[0] <= address + at < item[0] + item[1]
            )
            part = min(size - at, start + length - address - at)
            yield at, part, offset + address + at - start
            at += part


@contextmanager
def started(
    emulation: UserEmulation,
    memory: Memory,
    mappings: Iterable[tuple[int, int, int, int]],
    trace: Path | None = None,
) -> Iterator[DebuggerPort]:
    """Start QEMU, with memory in its place: start, end, protection and offset in the file.

    ``trace`` is where QEMU writes the registers before each instruction.
    """
    if shutil.which(emulation.program) is None:
        unavailable(f"there is no {emulation.program} on this host (package qemu-user)", "TOOLS")
    table = [(start, end - start, *rest) for start, end, *rest in mappings]
    with tempfile.TemporaryDirectory() as directory:
        stub, socket = Path(directory, "stub"), Path(directory, "port")
        stub.write_bytes(stub_program(emulation, table))
        stub.chmod(0o755)
        command = [emulation.program, "-B", hex(GUEST_BASE), "-g", str(socket), str(stub)]
        environment = os.environ | (_TRACING if trace is not None else {})
        with (
            subprocess.Popen(
                [*command[:1], *(("-D", str(trace)) if trace is not None else ()), *command[1:]],
                stdin=subprocess.DEVNULL,
                pass_fds=[memory.file],
                env=environment,
            ) as qemu,
            ExitStack() as stack,
        ):
            stack.callback(qemu.kill)
            port = DebuggerPort(socket, WAITS, polls=0.005)
            stack.callback(port.close)
            # First of all: left by its debugger it would run on.
            stack.callback(qemu.kill)
            _map_memory(emulation, port, memory.file, len(table))
            yield port


def _map_memory(emulation: UserEmulation, port: DebuggerPort, file: int, count: int) -> None:
    """Let the program that QEMU has loaded do its work."""
    end = STUB + 4 * (len(emulation.map_memory) - 1)
    port.set_breakpoint(end)
    values = (file, count, STUB + STUB_TABLE)
    for number, value in zip(emulation.arguments, values, strict=True):
        port.write_register(number, value)
    port.write_register(emulation.pc, STUB)
    port.run()
    port.clear_breakpoint(end)


def stub_program(emulation: UserEmulation, table: list[tuple[int, ...]]) -> bytes:
    """Return an ELF file that maps memory: start, size, protection, offset in a file."""
    words = emulation.map_memory
    code = struct.pack(f"<{len(words)}I", *words).ljust(STUB_TABLE, b"\0")
    code += b"".join(struct.pack("<4Q", *item) for item in table)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, emulation.elf_machine, 1, STUB, 64, 0, 2, 64, 56, 1, 0, 0, 0
    )
    header += struct.pack(
        "<IIQQQQQQ", 1, 5, STUB_ALIGN, STUB, STUB, len(code), len(code), STUB_ALIGN
    )
    return header.ljust(STUB_ALIGN, b"\0") + code
