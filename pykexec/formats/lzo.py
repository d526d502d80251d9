"""Expands LZO1X, the compression of lzop(1) and ``makedumpfile -l``. Pure.

Linux Documentation/staging/lzo.rst, version 0 of the stream. Each step takes input, gives
output or ends the stream, and output has a cap, so a damaged stream ends as well. There is no
library for it that is maintained; this takes a few seconds for a kernel.
"""

from __future__ import annotations


class LzoError(Exception):
    """The stream is damaged, cut, or expands to more than it may."""


class _Stream:
    """The compressed bytes, and what they expanded to so far."""

    def __init__(self, data: bytes, limit: int) -> None:
        self._data = data
        self._limit = limit
        self._at = 0
        self.output = bytearray()

    def byte(self) -> int:
        if self._at >= len(self._data):
            raise LzoError("the LZO stream is cut")
        self._at += 1
        return self._data[self._at - 1]

    def le16(self) -> int:
        return self.byte() | self.byte() << 8

    def length(self, operand: int, bits: int) -> int:
        """Return a length that may go on in further bytes."""
        mask = (1 << bits) - 1
        length = operand & mask
        if length:
            return length
        length = mask
        while not (more := self.byte()):
            length += 255
        return length + more

    def literals(self, count: int) -> None:
        piece = self._data[self._at : self._at + count]
        if len(piece) < count:
            raise LzoError("the LZO stream is cut")
        self._room(count)
        self._at += count
        self.output += piece

    def copy(self, distance: int, length: int) -> None:
        """Repeat what lies ``distance`` back; it may run into what it writes."""
        if distance > len(self.output):
            raise LzoError(f"the LZO stream refers {distance} back at {len(self.output)}")
        self._room(length)
        start = len(self.output) - distance
        piece = self.output[start : start + length]
        self.output += (piece * (length // len(piece) + 1))[:length]

    def _room(self, count: int) -> None:
        if len(self.output) + count > self._limit:
            raise LzoError(f"the LZO stream expands to more than {self._limit} bytes")


def decompress(data: bytes, limit: int) -> bytes:
    """Return what ``data`` expands to, ``limit`` bytes at most; raises :class:`LzoError`."""
    stream = _Stream(data, limit)
    # How many literals the last instruction copied: 4 stands for that and more.
    state = 0
    if data and data[0] > 17:
        count = stream.byte() - 17
        stream.literals(count)
        state = min(count, 4)
    while True:
        code = stream.byte()
        if code < 16 and not state:
            stream.literals(3 + stream.length(code, 4))
            state = 4
            continue
        if code < 16:
            near = state < 4
            state = code & 3
            stream.copy((stream.byte() << 2) + (code >> 2) + (1 if near else 2049), 2 + (not near))
        elif code < 64:
            length = 2 + stream.length(code, 3 if code < 32 else 5)
            operand = stream.le16()
            state = operand & 3
            distance = (operand >> 2) + 1
            if code < 32:
                distance += 16383 + ((code & 8) << 11)
                if distance == 16384:
                    return bytes(stream.output)
            stream.copy(distance, length)
        else:
            state = code & 3
            length = 3 + (code >> 5 & 1) if code < 128 else 5 + (code >> 5 & 3)
            stream.copy((stream.byte() << 3) + (code >> 2 & 7) + 1, length)
        stream.literals(state)
