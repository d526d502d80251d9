"""How much of a dump is read before its log counts as damaged. Pure.

A dump is somebody else's file: its sizes, counts and chains may say anything, and a page that is
compressed may stand for any number of others. So all that is read of the crashed kernel's memory
is counted, and bounded by the size of the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.values.units import counted

if TYPE_CHECKING:
    from pykexec.crash.core_reading import Reader

_FREE = 8 << 20
_TIMES = 32
"""A log of messages that repeat packs to a twentieth, and a dump has more than the log."""
_EACH = 64
"""Bytes that a read counts for beside what it reads."""


def size_of(reader: Reader) -> int:
    """Return the size of a file in bytes, by reading single ones: /proc/vmcore has no other way."""
    known, high = 0, 1
    while high < 1 << 62 and reader.read(high - 1, 1):
        known, high = high, high * 2
    while high - known > 1:
        middle = (known + high) // 2
        if reader.read(middle - 1, 1):
            known = middle
        else:
            high = middle
    return known


class Work:
    """What has been read, and what may be."""

    def __init__(self, file_size: int) -> None:
        self.file_size = file_size
        """Of all files of the dump together, in bytes."""
        self.limit = _FREE + _TIMES * file_size
        """Bytes of memory that are read at most."""
        self._done = 0

    def count(self, size: int) -> None:
        """Count a read of ``size`` bytes; raises :class:`VmcoreError`."""
        self._done += size + _EACH
        if self._done > self.limit:
            from pykexec.crash.core_reading import EXIT_CYCLE, VmcoreError

            raise VmcoreError(
                f"the log is damaged: it leads through more than "
                f"{counted(self._done, 'byte')} of memory, "
                f"and the dump has {counted(self.file_size, 'byte')}",
                EXIT_CYCLE,
            )
