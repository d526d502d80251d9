"""An initramfs: archives one behind the other, each maybe compressed. Sizes and names. Pure.

Linux Documentation/driver-api/early-userspace/buffer-format.rst. Compressed archives are
expanded piece by piece and never kept, so that an initramfs of any size can be measured; all
of them share one :class:`~pykexec.formats.budget.Budget`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.formats.budget import Budget
from pykexec.formats.compression import decompressed_size, probe_member
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.units import GIB, MIB, format_size

if TYPE_CHECKING:
    from pykexec.values.buffers import Buffer

LIMIT = 16 * GIB
"""What the compressed archives may expand to, all together."""
FREE_OUTPUT = 256 * MIB
"""What they may expand to however small they are: a sparse file packs well."""
MAX_ENTRIES = 1 << 18
"""Files and directories; a kernel takes a KiB and more for each."""

MAX_PADDING = 256 * MIB
"""Zeros between archives, all together: a partition for an initrd is padded, and is smaller."""

_MAGICS = (b"070701", b"070702")
_HEADER = 110
_ENTRY = re.compile(rb"07070[12][0-9a-fA-F]{104}")
"""The magic and 13 fields of 8 hexadecimal digits."""
_FILESIZE, _NAMESIZE = (slice(6 + 8 * field, 14 + 8 * field) for field in (6, 11))
_NAME_MAX = 4096
"""Linux init/initramfs.c passes over longer ones ("do_header")."""
_ALIGN = 4
_NOT_ZERO = re.compile(rb"[^\0]")


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
    is neither an archive nor compressed, for an archive that ends within an entry, for more
    than :data:`MAX_ENTRIES`, and what :func:`~pykexec.formats.compression.decompressed_size`
    raises.
    """
    counter = _Counter(page_size)
    archives = _walk(memoryview(data), counter)
    return InitramfsSize(archives, counter.entries, counter.content, counter.pages)


def initramfs_names(data: Buffer) -> frozenset[str]:
    """Return the paths of all that is in it, without a slash in front.

    Raises as :func:`measure_initramfs` does.
    """
    counter = _Counter(1, names=set())
    _walk(memoryview(data), counter)
    return frozenset(
        name.decode("utf-8", "surrogateescape").removeprefix("./").lstrip("/")
        for name in counter.names or ()
    )


def _walk(view: memoryview, counter: _Counter) -> int:
    """Have each entry counted; returns the number of archives."""
    budget = Budget(LIMIT, FREE_OUTPUT)
    at = archives = padding = 0
    plain = False
    while True:
        if at < len(view) and not view[at]:
            begin, at = at, _skip_zeros(view[: at + MAX_PADDING + 1 - padding], at)
            padding += at - begin
            if padding > MAX_PADDING:
                raise ImageError(
                    f"the initrd has more than {format_size(MAX_PADDING)} of zeros between its "
                    "archives, which is as much as is looked through",
                    offset=begin,
                    hint="give the initrd file as the boot loader uses it",
                )
        if at == len(view):
            break
        if bytes(view[at : at + 6]) in _MAGICS:
            archives += not plain
            plain = True
            needed, size = counter.take_entry(bytes(view[at : at + _HEADER]), at)
            if at + needed > len(view):
                raise _cut(at)
            counter.take_name(bytes(view[at + _HEADER : at + _HEADER + counter.name_size]))
            at = min(at + size, len(view))
            continue
        if probe_member(view[at:]) is None:
            raise ImageError(
                f"the initrd is no initramfs: at offset {at:#x} begins neither a cpio archive "
                f"nor compressed data (found {bytes(view[at : at + 6]).hex(' ')})",
                offset=at,
                hint="give the initrd file as the boot loader uses it",
            )
        archives += 1
        plain = False
        inner = _Stream(counter, at)
        _, taken = decompressed_size(view[at:], budget, "the initrd", inner.feed)
        inner.close()
        at += taken
    return archives


def _skip_zeros(data: Buffer, at: int) -> int:
    """Return the offset of the next byte that is not zero."""
    found = _NOT_ZERO.search(data, at)
    return found.start() if found is not None else len(data)


def _cut(at: int) -> ImageError:
    return ImageError(
        f"the initrd is truncated: the archive's entry at offset {at:#x} goes on behind its end",
        offset=at,
        hint="copy the file again, or make it anew",
    )


class _Counter:
    """Adds entries up."""

    def __init__(self, page_size: int, names: set[bytes] | None = None) -> None:
        self._page_size = page_size
        self.entries = self.content = self.pages = 0
        self.names = names
        """None: nobody asks for them."""
        self.name_size = 0
        """Bytes of the last entry's name, with its NUL; 0 where nobody asks for it."""

    def take_entry(self, header: bytes, at: int) -> tuple[int, int]:
        """Count the entry with that header; returns its bytes without and with the padding.

        The last entry may lack that. ``at`` is where it was found, or the compressed archive
        that it is in. This is short, because it runs for each of maybe many entries.
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
        size = int(header[_FILESIZE], 16)
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise ImageError(
                f"the initrd has more than {MAX_ENTRIES} entries, which is as much as is measured",
                hint="a kernel would hardly have the memory for them",
            )
        self.content += size
        self.pages += -(-size // self._page_size) * self._page_size
        named = _HEADER + int(header[_NAMESIZE], 16)
        if self.names is not None:
            self.name_size = min(named - _HEADER, _NAME_MAX)
        start = named + 3 & -_ALIGN
        return start + size if size else named, start + size + 3 & -_ALIGN

    def take_name(self, name: bytes) -> None:
        """Keep the name of the last entry."""
        if self.names is not None:
            self.names.add(name.partition(b"\0")[0])


class _Stream:
    """Follows an archive that comes in pieces."""

    def __init__(self, counter: _Counter, at: int) -> None:
        self._counter = counter
        self._at = at
        self._header = bytearray()
        self._name = bytearray()
        self._skip = self._padding = self._name_left = 0

    def feed(self, piece: bytes) -> None:
        """Take the next piece."""
        at = 0
        while at < len(piece):
            if self._skip:
                step = min(self._skip, len(piece) - at)
                if self._name_left:
                    self._take_name(piece[at : at + min(step, self._name_left)])
                self._skip -= step
                at += step
                continue
            if not self._header and not piece[at]:
                at = _skip_zeros(piece, at)
            part = piece[at : at + _HEADER - len(self._header)]
            self._header += part
            at += len(part)
            if len(self._header) == _HEADER:
                needed, size = self._counter.take_entry(bytes(self._header), self._at)
                self._skip = size - _HEADER
                self._padding = size - needed
                self._name_left = self._counter.name_size
                self._header.clear()

    def _take_name(self, part: bytes) -> None:
        self._name += part
        self._name_left -= len(part)
        if not self._name_left:
            self._counter.take_name(bytes(self._name))
            self._name.clear()

    def close(self) -> None:
        """Refuse an archive that ends within an entry."""
        if self._header or self._skip > self._padding:
            raise _cut(self._at)
