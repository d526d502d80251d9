"""How numbers are written and read: addresses, sizes. Pure."""

from __future__ import annotations

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
