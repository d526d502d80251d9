"""A processor that has just left the old kernel: what is common to all architectures.

Unicorn executes the real object's bytes. Memory exists only where a test put it, so that an
access anywhere else stops the emulation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol

import unicorn
from unicorn import UC_HOOK_MEM_READ, UC_HOOK_MEM_WRITE

from pykexec.purgatory_objects.parameters import PurgatoryObject

_unicorn: Any = unicorn
"""Its classes have no usable types."""

UcError: type[Exception] = _unicorn.UcError

PAGE = 4096

KERNEL_ENTRY = 0x7_1234_5200
"""Where the tests' kernels are entered: above 4 GiB, not at the start of a page."""

TIMEOUT = 120_000_000
"""Microseconds of real time after which an emulation is taken to hang."""

WILD = 0xDEAD_BEEF_0BAD_F00D
"""In every register on entry; as an address it is not canonical."""


class SerialPort(Protocol):
    """The line side of a UART."""

    sent: bytearray

    @property
    def idle(self) -> bool:
        """The last character has left."""


class Machine(ABC):
    """Memory and processor; :meth:`run` lets the purgatory do its work."""

    uart: SerialPort

    device_memory = range(0)
    """Addresses that are a device's, not memory."""

    def __init__(self, uc: Any, obj: PurgatoryObject, base: int, patched: bytes) -> None:
        """Put a patched purgatory at the physical address ``base``."""
        self.uc, self.obj, self.base = uc, obj, base
        self.accesses: list[tuple[int, int]] = []
        """Address and size of each access to memory that is watched, in order."""
        self._mapped: set[int] = set()
        self.put(base, patched.ljust(obj.memsz, b"\0"))

    def watch_writes(self) -> None:
        """Record all writes from now on; slow."""
        self.uc.hook_add(UC_HOOK_MEM_WRITE, self._access)

    def watch_accesses(self) -> None:
        """Record all reads and writes from now on; slower."""
        self.uc.hook_add(UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, self._access)

    def put(self, address: int, data: bytes) -> None:
        """Write physical memory, which exists from now on, in whole pages."""
        pages = range(address & -PAGE, address + len(data), PAGE)
        if self._mapped.isdisjoint(pages):
            self.uc.mem_map(pages.start, len(pages) * PAGE)
        else:
            for page in set(pages) - self._mapped:
                self.uc.mem_map(page, PAGE)
        self._mapped.update(pages)
        self.uc.mem_write(address, data)

    def get(self, address: int, size: int) -> bytes:
        """Read physical memory."""
        return bytes(self.uc.mem_read(address, size))

    @abstractmethod
    def run(self) -> None:
        """Enter the purgatory and return when it has entered the kernel or halted."""

    @property
    @abstractmethod
    def registers(self) -> Mapping[str, int]:
        """The registers that the purgatory's parameters name, by name."""

    @property
    def entered_kernel(self) -> bool:
        """The purgatory has jumped."""
        return list(self.registers.values())[-1] == KERNEL_ENTRY

    @property
    @abstractmethod
    def halted(self) -> bool:
        """The processor stands still for good, by an instruction of the purgatory's own."""

    @property
    def text(self) -> str:
        """What was said on the serial console, whose lines must all end in CR LF, with LF."""
        text = self.uart.sent.decode("ascii")
        assert text.count("\n") == text.count("\r\n") == text.count("\r")
        return text.replace("\r\n", "\n")

    @property
    def all_sent(self) -> bool:
        """The last character has left the serial console."""
        return self.uart.idle

    @property
    @abstractmethod
    def silent(self) -> bool:
        """Nothing was said on any console."""

    def _access(
        self, _uc: object, _access: int, address: int, size: int, _value: int, _data: object
    ) -> None:
        self.accesses.append((address, size))
