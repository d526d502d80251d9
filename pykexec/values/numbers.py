"""Numbers that users write. Pure."""

from __future__ import annotations

from pykexec.values.errors import UsageError
from pykexec.values.units import ADDRESS_MAX


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
