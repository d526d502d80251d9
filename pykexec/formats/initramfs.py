"""An initramfs: archives one behind the other, each maybe compressed. Sizes only. Pure.

Linux Documentation/driver-api/early-userspace/buffer-format.rst. Compressed archives are
expanded piece by piece and never kept, so that an initramfs of any size can be measured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pykexec.errors import ImageError
from pykexec.formats.compression import decompressed_size, probe
from pykexec.units import GIB, align_up

if TYPE_CHECKING:
    from pykexec.plans import Buffer

LIMIT = 16 * GIB
"""What a compressed archive may expand to."""

_MAGICS = (b"070701", b"070702")
_HEADER = 110
_ENTRY = re.compile(rb"07070[12][0-9a-fA-F]{104}")
"""The magic and 13 fields of 8 hexadecimal digits."""
_FILESIZE = 6
_NAMESIZE = 11
_ALIGN = 4
_BLANKS = 1 << 16


@dataclass(frozen=True, slots=True)
class InitramfsSize:
    """What an initramfs becomes."""

    archives: int
    """Neighbours that are not compressed count as one."""
    entries: int
    """Files, directories, links and the archives' ends."""
    content: int
    """Bytes in files."""
    pages: int
    """Bytes in whole pages that the files take."""


def measure_initramfs(data: Buffer, page_size: int) -> InitramfsSize:
    """Measure what ``data`` unpacks to in a file system with pages of ``page_size`` bytes.

    A file that a later archive overwrites counts twice. Raises :class:`ImageError` for what
    is neither an archive nor compressed, for an archive that ends within an entry, and what
    :func:`~pykexec.formats.compression.decompressed_size` raises.
    """
    view = memoryview(data)
    counter = _Counter(page_size)
    at = archives = 0
    plain = False
    while True:
        at = _skip_zeros(view, at)
        if at == len(view):
            break
        if bytes(view[at : at + 6]) in _MAGICS:
            archives += not plain
            plain = True
            entry = counter.take_entry(bytes(view[at : at + _HEADER]), at)
            if at + entry.needed > len(view):
                raise _cut(at)
            at = min(at + entry.size, len(view))
            continue
        if probe(view[at : at + _BLANKS]) is None:
            raise ImageError(
                f"the initrd is no initramfs: at offset {at:#x} begins neither a cpio archive "
                f"nor compressed data (found {bytes(view[at : at + 6]).hex(' ')})",
                offset=at,
                hint="give the initrd file as the boot loader uses it",
            )
        archives += 1
        plain = False
        inner = _Stream(counter, at)
        _, taken = decompressed_size(view[at:], LIMIT, "the initrd", inner.feed)
        inner.close()
        at += taken
    return InitramfsSize(archives, counter.entries, counter.content, counter.pages)


def _skip_zeros(view: memoryview, at: int) -> int:
    """Return the offset of the next byte that is not zero."""
    while at < len(view):
        piece = bytes(view[at : at + _BLANKS])
        rest = piece.lstrip(b"\0")
        at += len(piece) - len(rest)
        if rest:
            break
    return at


def _cut(at: int) -> ImageError:
    return ImageError(
        f"the initrd is truncated: the archive's entry at offset {at:#x} goes on behind its end",
        offset=at,
        hint="copy the file again, or make it anew",
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """Bytes of an archive, from the header on."""

    needed: int
    size: int
    """With the padding, which the last entry may lack."""


class _Counter:
    """Adds entries up."""

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self.entries = self.content = self.pages = 0

    def take_entry(self, header: bytes, at: int) -> _Entry:
        """Count the entry with that header, and say how long it is.

        ``at`` is where it was found, or the compressed archive that it is in.
        """
        if len(header) < _HEADER:
            raise _cut(at)
        if not _ENTRY.fullmatch(header):
            raise ImageError(
                f"the initrd is damaged: no header of a cpio entry where one is due, in the "
                f"archive at offset {at:#x} (found {header[:14]!r})",
                offset=at,
                hint="make it anew",
            )
        fields = [int(header[6 + 8 * n : 14 + 8 * n], 16) for n in range(13)]
        size = fields[_FILESIZE]
        self.entries += 1
        self.content += size
        self.pages += align_up(size, self._page_size)
        named = _HEADER + fields[_NAMESIZE]
        start = align_up(named, _ALIGN)
        return _Entry(start + size if size else named, start + align_up(size, _ALIGN))


class _Stream:
    """Follows an archive that comes in pieces."""

    def __init__(self, counter: _Counter, at: int) -> None:
        self._counter = counter
        self._at = at
        self._header = bytearray()
        self._skip = self._padding = 0

    def feed(self, piece: bytes) -> None:
        """Take the next piece."""
        at = 0
        while at < len(piece):
            if self._skip:
                step = min(self._skip, len(piece) - at)
                self._skip -= step
                at += step
                continue
            if not self._header:
                at = _skip_zeros(memoryview(piece), at)
            part = piece[at : at + _HEADER - len(self._header)]
            self._header += part
            at += len(part)
            if len(self._header) == _HEADER:
                entry = self._counter.take_entry(bytes(self._header), self._at)
                self._skip = entry.size - _HEADER
                self._padding = entry.size - entry.needed
                self._header.clear()

    def close(self) -> None:
        """Refuse an archive that ends within an entry."""
        if self._header or self._skip > self._padding:
            raise _cut(self._at)
