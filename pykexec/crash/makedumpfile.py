"""What makedumpfile writes: the kdump-compressed format and the flattened form. Pure.

Layouts: makedumpfile's IMPLEMENTATION file, "The kdump-compressed format" and "The
flattened format". Only dumps of 64-bit kernels: the headers are C structures as the
crashed machine's compiler laid them out.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from bisect import bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING

from pykexec.architectures import ARCHITECTURES
from pykexec.crash.core_reading import (
    EXIT_NO_ADDRESS,
    EXIT_NO_ELF,
    EXIT_NOTE_READ,
    EXIT_READ,
    MAX_INFO_BYTES,
    VmcoreError,
    read_exactly,
)
from pykexec.crash.elf_core import Layout, VmcoreInfo
from pykexec.formats import lzo
from pykexec.values.errors import ImageError, MissingLibraryError
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pykexec.crash.core_reading import Reader
    from pykexec.crash.work import Work

_FLAT_SIGNATURE = b"makedumpfile\0\0\0\0"
_FLAT_FIRST_BLOCK = 4096
_FLAT_HEADER = 16
_FLAT_MAX_BLOCKS = 1 << 26

_SIGNATURE = b"KDUMP   "
_UTSNAME = 12
_FIELD = 65
_HEADER = struct.Struct("IiiIi")
"""status, block_size, sub_hdr_size, bitmap_blocks and max_mapnr, behind the time stamp."""
_HEADER_AT = 424
_SUB_SPLIT_AT = 12
_SUB_START_AT, _SUB_START_64_AT = 16, 80
"""Of start_pfn and end_pfn, as unsigned longs, and from version 6 on start_pfn_64."""
_WIDE_PFN_SINCE = 6
_SUB_VMCOREINFO_AT = 32
_INCOMPLETE = 0x8
"""In the header's status: the space did not suffice (DUMP_DH_COMPRESSED_INCOMPLETE)."""
_PAGE_DESC_BYTES = 24
_ZLIB = 0x1
_LZO = 0x2
_SNAPPY = 0x4
_ZSTD = 0x20
_BITMAP_CHUNK = 4096
_HOLES_MAX = 64 << 20
"""Bytes by which the bitmaps may go on behind the file's end."""
_CACHED_PAGES = 256
_MACHINES = {
    item.name.encode(): item.elf_machine for item in ARCHITECTURES.values() if item.word_bits == 64
}


class FlattenedFile:
    """Undoes ``makedumpfile -F``: blocks, each preceded by its offset and size, big-endian."""

    def __init__(self, reader: Reader) -> None:
        """Walk all block headers once; raises :class:`VmcoreError` for one that makes no sense.

        A dump that was cut while it was written has no end mark, and maybe only a beginning of
        its last block: what there is can be read all the same.
        """
        self._reader = reader
        self.warnings: tuple[str, ...] = ()
        blocks: dict[int, tuple[int, int]] = {}
        at = _FLAT_FIRST_BLOCK
        while True:
            header = reader.read(at, _FLAT_HEADER)
            if len(header) < _FLAT_HEADER:
                self.warnings = (
                    "the flattened dump has no end mark: it was cut before "
                    f"{at + _FLAT_HEADER:#x}, and may lack its end",
                )
                break
            offset, size = struct.unpack(">qq", header)
            if offset == -1 and size == -1:
                break
            if offset < 0 or size <= 0 or len(blocks) >= _FLAT_MAX_BLOCKS:
                raise VmcoreError(
                    f"flattened dump: a block at {at:#x} of {counted(size, 'byte')} for "
                    f"{offset:#x}",
                    EXIT_READ,
                )
            # Headers are written a second time when the dump is complete: the later one counts.
            blocks[offset] = (at + _FLAT_HEADER, size)
            at += _FLAT_HEADER + size
            if at >= 1 << 63:  # no file goes on there, nor does what counts its bytes
                raise VmcoreError(f"flattened dump: a block of {counted(size, 'byte')}", EXIT_READ)
        if not blocks:
            raise VmcoreError("the flattened dump has no block at all", EXIT_READ)
        self._offsets = array("q", sorted(blocks))
        self._places = array("q", (blocks[offset][0] for offset in self._offsets))
        self._sizes = array("q", (blocks[offset][1] for offset in self._offsets))

    @staticmethod
    def probe(reader: Reader) -> bool:
        """Tell whether the file is in flattened form."""
        return reader.read(0, 16) == _FLAT_SIGNATURE

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes of the file as it would be on a disk."""
        data = bytearray()
        while len(data) < size:
            at = offset + len(data)
            index = bisect_right(self._offsets, at) - 1
            within = at - self._offsets[index] if index >= 0 else 0
            if index >= 0 and within < self._sizes[index]:
                piece = min(size - len(data), self._sizes[index] - within)
                found = self._reader.read(self._places[index] + within, piece)
                data += found
                if len(found) < piece:
                    break
            elif index + 1 < len(self._offsets):
                # What was skipped is a hole, which reads as zeros.
                data += bytes(min(size - len(data), self._offsets[index + 1] - at))
            else:
                break
        return bytes(data)


def _expand_zstd(data: bytes, limit: int) -> bytes:
    from pykexec.formats.compression import Codec, decompress

    return decompress(data, limit, "its data", Codec.ZSTD)


class KdumpFile:
    """A kdump-compressed dump: pages by physical address."""

    def __init__(self, reader: Reader, work: Work) -> None:
        """Read the headers; raises :class:`VmcoreError`."""
        self._reader = reader
        self._work = work
        head = read_exactly(reader, 0, _HEADER_AT + _HEADER.size, "the dump's header", EXIT_NO_ELF)
        self._order = self._byte_order(head)
        version = struct.unpack_from(self._order + "i", head, 8)[0]
        status, block, sub_blocks, bitmap_blocks, _ = struct.unpack_from(
            self._order + _HEADER.format, head, _HEADER_AT
        )
        machine = head[_UTSNAME + 4 * _FIELD : _UTSNAME + 5 * _FIELD].split(b"\0")[0]
        if machine not in _MACHINES:
            raise VmcoreError(
                f"a compressed dump of machine {machine.decode('latin-1')!r} cannot be read",
                EXIT_NO_ELF,
                hint="known are " + ", ".join(sorted(name.decode() for name in _MACHINES)),
            )
        if version < 3:
            raise VmcoreError(f"dump version {version} has no VMCOREINFO, 3 is needed", EXIT_NO_ELF)
        if sub_blocks < 1:
            raise VmcoreError(f"sub_hdr_size {sub_blocks} in the dump's header", EXIT_NO_ELF)
        self.layout = Layout(self._order, 8, _MACHINES[machine])
        self._block = self.block = block
        self._bitmap_bytes = bitmap_blocks * block // 2
        # The first bitmap says what is memory, the second what of it was dumped.
        self._bitmap = (1 + sub_blocks) * block + self._bitmap_bytes
        self._descs = self._bitmap + self._bitmap_bytes
        # makedumpfile does not write the end of the bitmaps of a part without pages.
        if self._descs > work.file_size + _HOLES_MAX:
            raise VmcoreError(
                f"the dump is truncated: its bitmaps end at {self._descs:#x}, the file at "
                f"{work.file_size:#x}",
                EXIT_READ,
            )
        self.identity = head[_UTSNAME:_HEADER_AT]
        """Of the crashed kernel, with the time of the dump: the same in all parts of one."""
        self.part = self._part(version)
        """The page numbers that a part of a split dump has, half-open; None: it is whole."""
        self.warnings = _warnings(status, self.part)
        self._ranks = [0]
        self._pages: dict[int, bytes] = {}

    @staticmethod
    def probe(reader: Reader) -> bool:
        """Tell whether the file begins like a kdump-compressed dump."""
        return reader.read(0, 8) == _SIGNATURE

    @staticmethod
    def _byte_order(head: bytes) -> str:
        for order in "<>":
            block = struct.unpack_from(order + "i", head, _HEADER_AT + 4)[0]
            if block in (4096, 8192, 16384, 32768, 65536):
                return order
        raise VmcoreError(
            "the dump's header has no known block_size where 64-bit kernels have it", EXIT_NO_ELF
        )

    def _part(self, version: int) -> tuple[int, int] | None:
        """Read which part this is: struct kdump_sub_header, "split", "start_pfn_64"."""
        sub = read_exactly(self._reader, self._block, 96, "the dump's sub header", EXIT_NO_ELF)
        if not struct.unpack_from(self._order + "i", sub, _SUB_SPLIT_AT)[0]:
            return None
        at = _SUB_START_64_AT if version >= _WIDE_PFN_SINCE else _SUB_START_AT
        start, end = struct.unpack_from(self._order + "QQ", sub, at)
        if start > end:
            raise VmcoreError(f"a part of a split dump from page {start:#x} to {end:#x}", EXIT_READ)
        return start, end

    def vmcoreinfo(self) -> VmcoreInfo:
        """Return the VMCOREINFO that the sub header points to; raises :class:`VmcoreError`."""
        place = read_exactly(
            self._reader, self._block + _SUB_VMCOREINFO_AT, 16, "the dump's sub header", EXIT_NO_ELF
        )
        offset, size = struct.unpack(self._order + "QQ", place)
        if not 0 < size <= MAX_INFO_BYTES:
            raise VmcoreError(f"VMCOREINFO of {counted(size, 'byte')} in the dump", EXIT_NOTE_READ)
        return VmcoreInfo(read_exactly(self._reader, offset, size, "VMCOREINFO", EXIT_NOTE_READ))

    def read_physical(self, paddr: int, size: int) -> bytes:
        """Return ``size`` bytes of physical memory; raises :class:`VmcoreError`."""
        data = bytearray()
        while len(data) < size:
            pfn, within = divmod(paddr + len(data), self._block)
            data += self._page(pfn)[within : within + size - len(data)]
        return bytes(data)

    def _page(self, pfn: int) -> bytes:
        page = self._pages.get(pfn)
        if page is None:
            page = self._read_page(pfn)
            if len(self._pages) >= _CACHED_PAGES:
                del self._pages[next(iter(self._pages))]
            self._pages[pfn] = page
        return page

    def _read_page(self, pfn: int) -> bytes:
        self._work.count(self._block)
        first = 0
        if self.part is not None:
            start, end = self.part
            if not start <= pfn < end:
                raise VmcoreError(
                    f"page {pfn:#x} is in another part of the split dump: this one has the pages "
                    f"from {start:#x} to {end:#x}, exclusive",
                    EXIT_NO_ADDRESS,
                    hint="give all parts together",
                )
            # The bitmap is of the whole dump, the descriptors are those of the part.
            first = self._count(start)
        desc = read_exactly(
            self._reader,
            self._descs + (self._rank(pfn) - first) * _PAGE_DESC_BYTES,
            16,
            "a page descriptor",
            EXIT_READ,
        )
        offset, size, flags = struct.unpack(self._order + "QII", desc)
        if flags & _SNAPPY:
            raise VmcoreError(
                "the pages of the dump are compressed with snappy, which pykexec cannot expand",
                EXIT_READ,
                hint="dump with makedumpfile -c (zlib), -l (lzo) or -z (zstd)",
            )
        if not offset or not 0 < size <= self._block:
            raise VmcoreError(f"page {pfn:#x} is not in the dump (size {size})", EXIT_NO_ADDRESS)
        data = read_exactly(self._reader, offset, size, f"page {pfn:#x}", EXIT_READ)
        try:
            if flags & _ZLIB:
                data = zlib.decompressobj().decompress(data, self._block)
            elif flags & _LZO:
                data = lzo.decompress(data, self._block)
            elif flags & _ZSTD:
                data = _expand_zstd(data, self._block)
        except (zlib.error, lzo.LzoError) as error:
            raise VmcoreError(f"page {pfn:#x} of the dump: {error}", EXIT_READ) from error
        except (ImageError, MissingLibraryError) as error:
            raise VmcoreError(
                f"page {pfn:#x} of the dump: {error}", EXIT_READ, hint=error.hint
            ) from error
        if len(data) != self._block:
            raise VmcoreError(
                f"page {pfn:#x} of the dump has {len(data)} of {counted(self._block, 'byte')}",
                EXIT_READ,
            )
        return data

    def _rank(self, pfn: int) -> int:
        """Return how many pages before ``pfn`` were dumped; raises when it was not."""
        if not 0 <= pfn < self._bitmap_bytes * 8:
            raise VmcoreError(f"page {pfn:#x} is beyond the dump's memory", EXIT_NO_ADDRESS)
        chunk, bit = divmod(pfn, _BITMAP_CHUNK * 8)
        if not int.from_bytes(self._chunk(chunk), "little") >> bit & 1:
            raise VmcoreError(
                f"page {pfn:#x} was left out of the dump",
                EXIT_NO_ADDRESS,
                hint="a lower makedumpfile dump level (-d) leaves less out",
            )
        return self._count(pfn)

    def _count(self, pfn: int) -> int:
        """Return how many pages before ``pfn`` were dumped."""
        pfn = min(pfn, self._bitmap_bytes * 8)
        chunk, bit = divmod(pfn, _BITMAP_CHUNK * 8)
        while len(self._ranks) <= chunk:
            whole = int.from_bytes(self._chunk(len(self._ranks) - 1), "little")
            self._ranks.append(self._ranks[-1] + whole.bit_count())
        if not bit:
            return self._ranks[chunk]
        bits = int.from_bytes(self._chunk(chunk), "little")
        return self._ranks[chunk] + (bits & (1 << bit) - 1).bit_count()

    def _chunk(self, index: int) -> bytes:
        start = index * _BITMAP_CHUNK
        size = min(_BITMAP_CHUNK, self._bitmap_bytes - start)
        return read_exactly(self._reader, self._bitmap + start, size, "the bitmap", EXIT_READ)


def _warnings(status: int, part: tuple[int, int] | None) -> tuple[str, ...]:
    if not status & _INCOMPLETE:
        return ()
    which = "the dump" if part is None else f"the part from page {part[0]:#x} on"
    return (f"{which} is incomplete: there was no space for the rest when it was taken",)


class SplitDump:
    """The parts that ``makedumpfile --split`` wrote, as one dump."""

    def __init__(self, parts: Sequence[KdumpFile]) -> None:
        """Put parts in order; raises :class:`VmcoreError` when they are not those of one dump."""
        found = []
        for number, dump in enumerate(parts, 1):
            if dump.part is None:
                raise VmcoreError(
                    f"file {number} of {len(parts)} is a whole dump, and no part of a split one",
                    EXIT_NO_ELF,
                    hint="give one dump, or the parts of one",
                )
            if dump.identity != parts[0].identity:
                raise VmcoreError(
                    f"file {number} of {len(parts)} is a part of another dump than the first: "
                    "kernel or time differ",
                    EXIT_NO_ELF,
                )
            found.append((dump.part, number, dump))
        self._parts = sorted(found, key=lambda item: item[:2])
        for (lower, first, _), (upper, second, _) in pairwise(self._parts):
            if lower[1] > upper[0]:
                raise VmcoreError(
                    f"files {first} and {second} both have the pages from {upper[0]:#x} on: the "
                    "same part is given twice, or they are of two dumps",
                    EXIT_NO_ELF,
                )
        self._starts = [part[0] for part, _, _ in self._parts]
        self.layout = parts[0].layout
        self._block = parts[0].block

    def vmcoreinfo(self) -> VmcoreInfo:
        """Return the VMCOREINFO, which every part has; raises :class:`VmcoreError`."""
        return self._parts[0][2].vmcoreinfo()

    def read_physical(self, paddr: int, size: int) -> bytes:
        """Return ``size`` bytes of physical memory; raises :class:`VmcoreError`."""
        data = bytearray()
        while len(data) < size:
            at = paddr + len(data)
            pfn = at // self._block
            index = bisect_right(self._starts, pfn) - 1
            (_, end), _, dump = self._parts[max(index, 0)]
            if index < 0 or pfn >= end:
                raise VmcoreError(
                    f"page {pfn:#x} is in none of the {len(self._parts)} parts of the split dump",
                    EXIT_NO_ADDRESS,
                    hint="give all parts together",
                )
            data += dump.read_physical(at, min(size - len(data), self._block - at % self._block))
        return bytes(data)
