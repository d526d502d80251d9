"""/sys/class/tty/NAME: the UART behind a terminal, for the purgatory's messages.

Linux Documentation/ABI/testing/sysfs-tty. The numbers behind ``type`` are in
include/uapi/linux/serial.h and serial_core.h, those behind ``io_type`` in serial.h.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pykexec.values.consoles import MemoryConsole, UartKind
from pykexec.values.errors import MachineError, PykexecError

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

DIRECTORY = "sys/class/tty"

_PURPOSE = "the purgatory's serial console"

_PORT_AMBA = 32
_PORTS_8250 = frozenset({*range(1, 31), 40, 42, 76, 100, 121})
"""What Linux drivers/tty/serial/8250 drives: up to PORT_16550A_FSL64, PORT_NPCM,
PORT_ASPEED_VUART, PORT_BCM7271, PORT_MCHP16550A, PORT_SUNIX."""

_SERIAL_IO_MEM, _SERIAL_IO_MEM32, _SERIAL_IO_MEM16 = 2, 3, 7
_WIDTHS = {
    # amba-pl011 accesses its registers by 16 bits where 32 are not asked for.
    UartKind.PL011: {_SERIAL_IO_MEM: 2, _SERIAL_IO_MEM32: 4},
    UartKind.UART_8250: {_SERIAL_IO_MEM: 1, _SERIAL_IO_MEM16: 2, _SERIAL_IO_MEM32: 4},
}
"""Bytes of an access, as the running kernel's driver makes them for each ``io_type``."""


def read_serial(files: MachineFiles, name: str) -> MemoryConsole:
    """Return how the purgatory writes to the UART of terminal ``name``, such as ``ttyAMA0``.

    A UART that is neither a PL011 nor an 8250 gets plain bytes at its base. Raises
    :class:`PykexecError`, naming the terminals to choose from, when ``name`` is none of them;
    :class:`MachineError` for one that cannot be driven or not be read.
    """
    console = None if "/" in name or name == ".." else _console(files, name)
    if console is None:
        choices = ", ".join(read_serials(files))
        raise PykexecError(
            f"--serial: {name!r} is no terminal with a UART in memory",
            hint=f"give {choices}" if choices else "this machine shows none in /sys/class/tty",
        )
    return console


def read_serials(files: MachineFiles) -> dict[str, MemoryConsole]:
    """Return all terminals that :func:`read_serial` knows how to write to, sorted by name."""
    found = {}
    for name in sorted(files.names(DIRECTORY, _PURPOSE)):
        with suppress(MachineError):
            console = _console(files, name)
            if console is not None:
                found[name] = console
    return found


def _console(files: MachineFiles, name: str) -> MemoryConsole | None:
    """Return how to write to a terminal's UART, None when it has none in memory."""
    base = files.hexadecimal(f"{DIRECTORY}/{name}/iomem_base", _PURPOSE)
    if not base:
        return None
    kind = _kind(_number(files, name, "type"))
    if kind is UartKind.PLAIN:
        return MemoryConsole(base, kind)
    widths = _WIDTHS[kind]
    io_type = _number(files, name, "io_type")
    if io_type not in widths:
        raise MachineError(
            f"the purgatory cannot write to {name}: io_type is {io_type}, it knows "
            f"{', '.join(map(str, widths))} for a UART of this type"
        )
    width = widths[io_type]
    if kind is UartKind.PL011:
        return MemoryConsole(base, kind, width)
    shift = _number(files, name, "iomem_reg_shift")
    if shift < width.bit_length() - 1:
        # Its status register would lie at no multiple of the width, and the access fault.
        raise MachineError(
            f"the purgatory cannot write to {name}: accesses of {width} bytes (io_type {io_type}) "
            f"to registers {1 << shift} bytes apart (iomem_reg_shift {shift})"
        )
    return MemoryConsole(base, kind, width, shift)


def _kind(port_type: int) -> UartKind:
    if port_type == _PORT_AMBA:
        return UartKind.PL011
    return UartKind.UART_8250 if port_type in _PORTS_8250 else UartKind.PLAIN


def _number(files: MachineFiles, name: str, attribute: str) -> int:
    path = f"{DIRECTORY}/{name}/{attribute}"
    return files.required(path, files.decimal(path, _PURPOSE), _PURPOSE)
