"""How numbers are written and read: addresses, sizes. Pure."""

from __future__ import annotations

from pykexec.errors import UsageError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

ADDRESS_MAX = (1 << 64) - 1
"""Highest 64-bit physical address, inclusive."""
ADDRESS_MAX_32 = (1 << 32) - 1
"""Highest address that 32 bits can name, inclusive."""


def align_up(value: int, align: int) -> int:
    """Round ``value`` up to a multiple of ``align``, a power of two."""
    return (value + align - 1) & -align


def align_down(value: int, align: int) -> int:
    """Round ``value`` down to a multiple of ``align``, a power of two."""
    return value & -align


def format_size(size: int) -> str:
    """Write ``size`` bytes for people: ``61.2 MiB``, ``4 KiB``, ``17 bytes``."""
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            if size % unit == 0:
                return f"{size // unit} {name}"
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes" if size != 1 else "1 byte"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Write a number of things: ``0 ranges``, ``1 range``, ``2 entries``."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def parse_address(text: str, option: str) -> int:
    """Read an address as C's ``strtoul(…, 0)`` does: 0x hexadecimal, 0 octal, decimal.

    Raises :class:`UsageError` naming ``option`` for anything else, for a negative number
    and for one that does not fit 64 bits.
    """
    digits = text.strip()
    try:
        if digits[:2].lower() == "0x":
            value = int(digits[2:], 16)
        elif len(digits) > 1 and digits[0] == "0":
            value = int(digits[1:], 8)
        else:
            value = int(digits, 10)
    except ValueError:
        value = -1
    if not 0 <= value <= ADDRESS_MAX or "_" in digits or digits[:1] in "+-":
        raise UsageError(
            f"{option}: {text!r} is not an address",
            hint="write it as 0x… (hexadecimal) or in decimal, at most 64 bits",
        )
    return value
