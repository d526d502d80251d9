"""Expands LZO1X, the compression of lzop(1) and ``makedumpfile -l``. Pure.

Linux Documentation/staging/lzo.rst, version 0 of the stream. Each step takes input, gives
output or ends the stream, and output has a cap, so a damaged stream ends as well. There is no
library for it that is maintained; here a kernel takes a second or two.
"""

from __future__ import annotations

from pykexec.values.units import counted


class LzoError(Exception):
    """The stream is damaged, cut, or expands to more than it may."""


def decompress(data: bytes, limit: int) -> bytes:
    """Return what ``data`` expands to, ``limit`` bytes at most; raises :class:`LzoError`."""
    output = bytearray()
    try:
        _expand(data, limit, output)
    except IndexError:
        raise LzoError("the LZO stream is cut") from None
    if len(output) > limit:
        raise _too_long(limit)
    return bytes(output)


def _too_long(limit: int) -> LzoError:
    return LzoError(f"the LZO stream expands to more than {counted(limit, 'byte')}")


def _expand(data: bytes, limit: int, output: bytearray) -> None:
    """Append what ``data`` expands to.

    That exceeds ``limit`` by the last literals at most. Raises IndexError where the input ends
    too soon. This is one long function, because it runs for each few bytes of a kernel.
    """
    at = literals = 0
    # How many literals the last instruction copied: 4 stands for that and more.
    state = 0
    if data[0] > 17:
        at, literals = 1, data[0] - 17
        state = min(literals, 4)
    while True:
        output += data[at : at + literals]
        at += literals
        code = data[at]
        at += 1
        if code < 16 and not state:
            literals, at = (code, at) if code else _length(data, at, 15)
            literals += 3
            state = 4
            continue
        if code >= 64:
            distance = (data[at] << 3) + (code >> 2 & 7) + 1
            length = 3 + (code >> 5 & 1) if code < 128 else 5 + (code >> 5 & 3)
            literals = code & 3
            at += 1
        elif code >= 16:
            mask = 7 if code < 32 else 31
            length, at = (code & mask, at) if code & mask else _length(data, at, mask)
            length += 2
            distance = (data[at + 1] << 6) + (data[at] >> 2) + 1
            literals = data[at] & 3
            at += 2
            if code < 32:
                distance += 16383 + ((code & 8) << 11)
                if distance == 16384:
                    return
        else:
            near = state < 4
            distance = (data[at] << 2) + (code >> 2) + (1 if near else 2049)
            length = 2 if near else 3
            literals = code & 3
            at += 1
        state = literals
        start = len(output) - distance
        if start < 0:
            raise LzoError(f"the LZO stream refers {distance} back at {len(output)}")
        if len(output) + length > limit:
            raise _too_long(limit)
        if length <= distance:
            output += output[start : start + length]
        else:  # it runs into what it writes
            output += (output[start:] * (length // distance + 1))[:length]


def _length(data: bytes, at: int, length: int) -> tuple[int, int]:
    """Return a length that goes on in further bytes, and where they end."""
    while not data[at]:
        at += 1
        length += 255
    return length + data[at], at + 1
