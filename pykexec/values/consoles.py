"""Where a purgatory writes its messages: values, apart from the purgatory that takes them.

The attributes are its parameters of the same names, which purgatory/README.md describes.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

from pykexec.values.data_classes import dataclass


@dataclass(frozen=True, slots=True)
class PcConsole:
    """Where the purgatory of a PC writes its messages."""

    console_serial: bool = False
    console_vga: bool = False
    serial_base: int = 0x3F8
    """I/O port."""
    serial_baud: int = 0
    """0 leaves the speed as it is."""


class UartKind(IntEnum):
    """How the purgatory drives a UART in memory: the values of its ``console_kind``."""

    PLAIN = 0
    """Writes to the base without a look at any status: for UARTs that it does not know."""
    PL011 = 1
    UART_8250 = 2
    SBI = 3
    """No UART, but the console of the firmware, whatever its address: for purgatories that have
    one to ask."""


@dataclass(frozen=True, slots=True)
class MemoryConsole:
    """Where a purgatory writes its messages on machines whose UARTs are in memory."""

    console_sink: int = 0
    """Physical address of the UART's registers; 0: no UART, and no console but ``SBI``."""
    console_kind: int = UartKind.PLAIN
    console_width: int = 1
    """Bytes of one access: 1, 2 or 4."""
    console_reg_shift: int = 0
    """8250: its registers are ``1 << console_reg_shift`` bytes apart."""


class FirmwareKind(IntEnum):
    """Whom a purgatory hands its messages to: the values of its ``console_kind``."""

    NONE = 0
    HYPERVISOR = 1
    """A virtual terminal of the hypervisor's."""
    OPAL = 2


@dataclass(frozen=True, slots=True)
class FirmwareConsole:
    """Where a purgatory writes its messages on machines whose firmware has the console."""

    console_kind: int = FirmwareKind.NONE
    console_unit: int = 0
    """Unit address of the virtual terminal, or the number that OPAL gives its own."""


@dataclass(frozen=True, slots=True)
class NoConsole:
    """Of a purgatory that has none: it halts with an address that the operator sees."""


Console: TypeAlias = PcConsole | MemoryConsole | FirmwareConsole | NoConsole
