"""The words of options that both front doors have, converted."""

from __future__ import annotations

from pykexec.values.errors import ConsoleError, UsageError
from pykexec.values.numbers import parse_address

_SERIAL_CLOCK = 115200
_SLOWEST_BAUD = 9600


def parse_mem_min(text: str) -> int:
    """Return the address that ``--mem-min`` names."""
    return parse_address(text, "--mem-min")


def parse_mem_max(text: str) -> int:
    """Return the address that ``--mem-max`` names, inclusive."""
    return parse_address(text, "--mem-max")


def parse_entry(text: str) -> int:
    """Return the address that ``--entry`` names."""
    return parse_address(text, "--entry")


def parse_at(text: str) -> int:
    """Return the address that ``--at`` names."""
    return parse_address(text, "--at")


def parse_base(text: str) -> int:
    """Return the address that ``--base`` names."""
    return parse_address(text, "--base")


def parse_need(text: str) -> int:
    """Return the bytes that ``--need`` names, with a unit as on a kernel's command line."""
    from pykexec.values.command_line import memparse  # which needs regular expressions

    found = memparse(text.encode("utf-8", "surrogateescape"))
    if found is None or found[1] or not found[0]:
        raise UsageError(f"--need: {text!r} is no size", hint="give one such as 900M or 2G")
    return found[0]


def parse_backup(text: str) -> bool | None:
    """Return what ``--backup`` says of low memory: copy it, do not, None: where needed."""
    return _when(text, "--backup")


def parse_ima(text: str) -> bool | None:
    """Return what ``--ima`` says of IMA's list: hand it on, do not, None: where it is taken."""
    return _when(text, "--ima")


def _when(text: str, option: str) -> bool | None:
    choices = {"auto": None, "always": True, "never": False}
    if text not in choices:
        raise UsageError(
            f"{option}: {text!r} is not known", hint=f"give one of {', '.join(choices)}"
        )
    return choices[text]


def parse_baud(text: str) -> int:
    """Return the speed of a serial port: a divisor of 115200 from 9600 on."""
    baud = int(text) if text.isdecimal() else 0
    if not _SLOWEST_BAUD <= baud <= _SERIAL_CLOCK or _SERIAL_CLOCK % baud:
        raise ConsoleError(
            f"--serial-baud: {text!r} is no speed that the port can have",
            hint="give 9600, 19200, 38400, 57600 or 115200",
        )
    return baud
