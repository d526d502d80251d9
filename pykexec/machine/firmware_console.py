"""The console that firmware writes to, where the machine's device tree names one.

Linux Documentation/powerpc/hvcs.rst; arch/powerpc/platforms/pseries/lpar.c ("hvc_vio_init_early"),
drivers/tty/hvc/hvc_opal.c. The first of a kernel's ``hvc`` terminals is the one that /chosen names;
where it names none, as under QEMU's Virtual Open Firmware, the first of the hypervisor's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.machine.device_tree import DIRECTORIES
from pykexec.values.consoles import FirmwareConsole, FirmwareKind
from pykexec.values.errors import ConsoleError

if TYPE_CHECKING:
    from pykexec.machine.files import MachineFiles

TTY = "hvc0"
_PATHS = ("stdout-path", "linux,stdout-path")
_KINDS = {
    b"hvterm1": FirmwareKind.HYPERVISOR,
    b"hvterm-protocol": FirmwareKind.HYPERVISOR,
    b"ibm,opal-console-raw": FirmwareKind.OPAL,
    b"ibm,opal-console-hvsi": FirmwareKind.OPAL,
}
"""By what the node is compatible with."""
_TERMINALS = "vdevice"
_PURPOSE = "the purgatory's console"


def read_firmware_console(files: MachineFiles, tty: str) -> FirmwareConsole:
    """Return the console behind ``tty``; raises :class:`ConsoleError` where there is none."""
    if tty != TTY:
        raise ConsoleError(f"--serial: {tty!r} is no console of firmware", hint=f"give {TTY}")
    for directory in DIRECTORIES:
        if not files.has_directory(directory) or (not files.is_live and files.is_link(directory)):
            continue
        for name in _PATHS:
            path = _text(files, f"{directory}/chosen/{name}").partition(":")[0].strip("/")
            found = _console(files, f"{directory}/{path}") if path else None
            if found is not None:
                return found
        for node in sorted(files.names(f"{directory}/{_TERMINALS}", _PURPOSE)):
            found = _console(files, f"{directory}/{_TERMINALS}/{node}") if "@" in node else None
            if found is not None:
                return found
    raise ConsoleError(f"--serial={tty}: the device tree names no console of firmware")


def _text(files: MachineFiles, name: str) -> str:
    data = files.read(name, _PURPOSE) or b""
    return data.split(b"\0", 1)[0].decode("ascii", "replace")


def _console(files: MachineFiles, node: str) -> FirmwareConsole | None:
    names = (files.read(f"{node}/compatible", _PURPOSE) or b"").split(b"\0")
    kind = next((_KINDS[name] for name in names if name in _KINDS), None)
    unit = files.read(f"{node}/reg", _PURPOSE)
    if kind is None or unit is None or len(unit) not in (4, 8):
        return None
    return FirmwareConsole(kind, int.from_bytes(unit, "big"))
