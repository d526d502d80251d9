"""Numbers as GRUB reads them: ``grub_strtoul`` and what ``test`` makes of it. Pure."""

from __future__ import annotations

import re

_DIGITS = {16: r"[0-9A-Fa-f]+", 8: r"[0-7]+", 10: r"[0-9]+"}
_ULONG_MAX = (1 << 64) - 1


def strtoul(text: str, base: int = 0) -> tuple[int, str] | None:
    """Return the number that ``text`` begins with, and the rest; None when it begins with none.

    ``base`` 0 takes ``0x`` for hexadecimal and a leading 0 for octal. What is too large is all
    ones.
    """
    rest = text.lstrip(" \t\n\v\f\r")
    if base in (0, 16) and re.match(r"0[xX]", rest):
        rest, base = rest[2:], 16
    elif base == 0:
        base = 8 if re.match(r"0[0-7]", rest) else 10
    match = re.match(_DIGITS[base], rest)
    if match is None:
        return None
    # Not more digits than can matter: Python refuses to read thousands.
    digits = match[0].lstrip("0")
    value = int(digits or "0", base) if len(digits) <= 24 else _ULONG_MAX
    return min(value, _ULONG_MAX), rest[match.end() :]


def signed(text: str) -> int:
    """Return what ``test`` compares by ``-eq`` and the like: 32 bits with a sign."""
    negative = text.startswith("-")
    found = strtoul(text[1:] if negative else text)
    value = found[0] if found is not None else 0
    value = (-value if negative else value) & 0xFFFF_FFFF
    return value - (1 << 32) if value >> 31 else value
