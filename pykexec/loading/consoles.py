"""What the user says about the purgatory's console, by the kind of machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.values.errors import ConsoleError, PykexecError

if TYPE_CHECKING:
    from pathlib import Path

    from pykexec.architectures import Architecture
    from pykexec.loading.options import LoadOptions
    from pykexec.values.consoles import Console

_SERIAL_PORTS = {"ttyS0": 0x3F8, "ttyS1": 0x2F8}


def console_of(
    arch: str, root: Path | str, options: LoadOptions
) -> tuple[Console | None, tuple[str, ...]]:
    """Return the purgatory's console on the machine at ``root``, None for none, and warnings.

    On a PC it is VGA or a port by number or name: raises :class:`ConsoleError` for what is no
    port. Elsewhere it is a tty whose registers are in memory, or that firmware drives. One that is
    not there is no reason not to load: the purgatory is silent then.
    """
    here = architecture_of(arch)
    if here.silent_purgatory:
        said = f"{here.family}: the purgatory has no console, it waits with an address of its own"
        return None, () if options.serial is None else (f"--serial: {said}",)
    if not here.serial_in_memory and not here.firmware_console:
        return _pc_console(options), ()
    if options.serial is None:
        return None, ()
    try:
        return _own_console(here, root, options.serial), ()
    except PykexecError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return None, (f"{error.message}{hint}: the purgatory will be silent",)


def _own_console(here: Architecture, root: Path | str, tty: str) -> Console:
    from pykexec.machine.roots import machine_files

    files = machine_files(root)
    if here.firmware_console:
        from pykexec.machine.firmware_console import read_firmware_console

        return read_firmware_console(files, tty)
    from pykexec.machine.serial import read_serial

    return read_serial(files, tty)


def _pc_console(options: LoadOptions) -> Console:
    from pykexec.values.consoles import PcConsole

    port = PcConsole().serial_base if options.serial is None else _port(options.serial)
    return PcConsole(options.console_serial, options.console_vga, port, options.serial_baud)


def _port(text: str) -> int:
    """Return the I/O port for ``ttyS0``, ``ttyS1`` or ``0x…`` below 0x10000."""
    try:
        port = _SERIAL_PORTS.get(text) or int(text if text[:2].lower() == "0x" else "", 16)
    except ValueError:
        port = -1
    if not 0 < port < 1 << 16:
        raise ConsoleError(
            f"--serial: {text!r} is no serial port", hint="give ttyS0, ttyS1 or an I/O port 0x…"
        )
    return port
