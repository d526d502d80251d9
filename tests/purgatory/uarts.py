"""UARTs in memory, by their registers: what the purgatories of machines that have them write to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

UART_BASE = 0x900_0000


@dataclass
class MemoryUart(ABC):
    """A UART that takes its time: it is ready, and then idle, after some looks at its status.

    ``status`` fixes what its status register reads, as with a missing or a stuck one.
    """

    base: int = UART_BASE
    width: int = 4
    """Bytes of the one kind of access that it answers."""
    status: int | None = None
    pending: int = 5
    """Looks until the last character has left; at first the old kernel's is being sent."""
    sent: bytearray = field(default_factory=bytearray)
    reads: int = 0

    @property
    @abstractmethod
    def status_offset(self) -> int:
        """Of the status register, in bytes."""

    @property
    @abstractmethod
    def live_status(self) -> int:
        """What the status register reads now."""

    @property
    def ready(self) -> bool:
        """Another character may be written."""
        return self.pending <= 2 or self.status is not None

    @property
    def idle(self) -> bool:
        """The last character has left."""
        return self.pending == 0 or self.status is not None

    def read(self, offset: int, size: int) -> int:
        """Answer the status register; nothing else is ever read."""
        assert (offset, size) == (self.status_offset, self.width)
        self.reads += 1
        self.pending = max(self.pending - 1, 0)
        return self.live_status if self.status is None else self.status

    def write(self, offset: int, size: int, value: int) -> None:
        """Take a character; no setting is ever changed."""
        assert (offset, size) == (0, self.width)
        assert self.ready, "a character was written too early"
        assert value < 1 << 8
        self.sent.append(value)
        self.pending = 5


@dataclass
class Pl011(MemoryUart):
    """PrimeCell UART: flag register (UARTFR) with TXFF and BUSY."""

    TXFF: ClassVar[int] = 0x20
    BUSY: ClassVar[int] = 0x08

    @property
    def status_offset(self) -> int:
        """Of UARTFR."""
        return 0x18

    @property
    def live_status(self) -> int:
        """UARTFR."""
        return (0 if self.ready else self.TXFF) | (0 if self.idle else self.BUSY)


@dataclass
class Uart8250(MemoryUart):
    """8250 in memory: line status register (LSR) with THRE and TEMT."""

    THRE: ClassVar[int] = 0x20
    TEMT: ClassVar[int] = 0x40
    reg_shift: int = 0

    @property
    def status_offset(self) -> int:
        """Of LSR."""
        return 5 << self.reg_shift

    @property
    def live_status(self) -> int:
        """LSR."""
        return (self.THRE if self.ready else 0) | (self.TEMT if self.idle else 0)


@dataclass
class WriteOnly(MemoryUart):
    """A UART that the purgatory does not know: it must not be read."""

    @property
    def status_offset(self) -> int:
        """None."""
        raise AssertionError("a status register was read")

    @property
    def live_status(self) -> int:
        """None."""
        raise AssertionError("a status register was read")

    @property
    def ready(self) -> bool:
        """It cannot say."""
        return True

    @property
    def idle(self) -> bool:
        """It cannot say."""
        return True
