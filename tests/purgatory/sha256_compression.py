"""One step of SHA-256 in Python, for processors whose instruction an emulator lacks: FIPS 180-4."""

from __future__ import annotations

import struct
from math import isqrt

_WORD = 0xFFFF_FFFF
_PRIMES = [n for n in range(2, 312) if all(n % d for d in range(2, isqrt(n) + 1))]


def _cube_root(value: int) -> int:
    """Return the whole part of the cube root."""
    low, high = 0, 1 << (value.bit_length() // 3 + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**3 <= value else (low, middle - 1)
    return low


CONSTANTS = tuple(_cube_root(prime << 96) & _WORD for prime in _PRIMES)
"""The first 32 bits of the fractional parts of the cube roots of the first 64 primes."""


def _rotate(word: int, by: int) -> int:
    return (word >> by | word << (32 - by)) & _WORD


def compress(state: tuple[int, ...], block: bytes) -> tuple[int, ...]:
    """Return the hash behind one more block of 64 bytes."""
    words = list(struct.unpack(">16I", block))
    for at in range(16, 64):
        early, late = words[at - 15], words[at - 2]
        first = _rotate(early, 7) ^ _rotate(early, 18) ^ early >> 3
        second = _rotate(late, 17) ^ _rotate(late, 19) ^ late >> 10
        words.append((words[at - 16] + first + words[at - 7] + second) & _WORD)
    a, b, c, d, e, f, g, h = state
    for constant, word in zip(CONSTANTS, words, strict=True):
        one = h + (_rotate(e, 6) ^ _rotate(e, 11) ^ _rotate(e, 25)) + constant + word
        one += (e & f) ^ (~e & g)
        two = (_rotate(a, 2) ^ _rotate(a, 13) ^ _rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))
        a, b, c, d, e, f, g, h = (one + two) & _WORD, a, b, c, (d + one) & _WORD, e, f, g
    return tuple(
        (old + new) & _WORD for old, new in zip(state, (a, b, c, d, e, f, g, h), strict=True)
    )
