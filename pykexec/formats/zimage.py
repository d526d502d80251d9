"""The ``zImage`` of 32-bit ARM: a program that unpacks a kernel and enters it. Pure.

Linux arch/arm/boot/compressed/head.S and vmlinux.lds.S: the magic number at 0x24, then the start,
the end and the byte order; since v4.15 a table at the offset that the word at 0x38 has. The kernel
is unpacked ``text_offset`` behind the base of memory that the program finds, and takes
``inflated_size`` and its BSS there. Behind the end there may be a device tree
(CONFIG_ARM_APPENDED_DTB), which goes before the one that a boot loader hands over.
"""

from __future__ import annotations

import re
from struct import unpack_from
from typing import TYPE_CHECKING, ClassVar

from pykexec.formats.compression import decompress
from pykexec.formats.device_tree import FDT_MAGIC
from pykexec.formats.layers import KERNEL_LIMIT, Brought, Layer
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError, MissingLibraryError
from pykexec.values.large_values import reduce_to_copies, short_repr
from pykexec.values.units import KIB, counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.values.buffers import Buffer

NAME = "zImage"
APPENDED = "zImage with a device tree behind it"

_ARCH = "arm"
_HEADER_SIZE = 0x34
_MAGIC_OFFSET, _MAGIC = 0x24, 0x016F2818
_ENDIAN_OFFSET, _LITTLE_ENDIAN, _BIG_ENDIAN = 0x30, 0x04030201, 0x01020304
_TABLE_OFFSET, _TABLE_MAGIC = 0x34, 0x45454545
_KERNEL_SIZES = 0x5A534C4B
_TAGS_MAX = 64
_GUESSED_RATIO = 5
"""How often larger a kernel is than the file that it is packed in, at most: xz gives 4."""
_TEXT_OFFSETS = (0x8000, 0x308000)
"""Linux arch/arm/Makefile, "textofs": the smallest and the largest there are."""
_USUAL_MALLOC = 64 * KIB
_TAIL = 16 * KIB
"""BSS and stack of the program behind the file, and the code that it copies with where it moves."""

_BANNER = re.compile(rb"Linux version ([\x21-\x7e]{1,60}) \(")
_PACKED = re.compile(
    rb"\xfd7zXZ\0|\x1f\x8b\x08|\x5d\0\0.{2}\xff|\x89LZO\0\r\n\x1a\n|\x02\x21\x4c\x18|\x28\xb5\x2f\xfd",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class ZImage:
    """A parsed zImage; sizes in bytes."""

    payload: Buffer
    """The program, from its first byte to the end that its header tells."""
    text_offset: int | None
    """What the kernel lies behind the base of memory; None where the table does not tell."""
    inflated_size: int
    """Of the kernel, without its BSS; an estimate where nothing tells (``size_given``)."""
    size_given: bool
    packed_end: int
    """Offset behind the packed kernel in ``payload``; 0 where nothing tells."""
    bss_size: int
    malloc_size: int
    """Of the memory that the program unpacks with, behind itself."""

    __repr__ = short_repr
    __reduce__ = reduce_to_copies

    @property
    def arch(self) -> str:
        """Whom it is for."""
        return _ARCH

    @property
    def format_name(self) -> str:
        """Name of the format."""
        return NAME

    @property
    def signed(self) -> bool:
        """The running kernel could check a signature: there is no file call."""
        return False

    @property
    def text_offsets(self) -> tuple[int, int]:
        """The smallest and the largest that ``text_offset`` can be."""
        known = self.text_offset
        return _TEXT_OFFSETS if known is None else (known, known)

    @property
    def program_size(self) -> int:
        """Memory of the program while it runs: file, BSS, stack and what it unpacks with."""
        return len(self.payload) + _TAIL + self.malloc_size

    @property
    def kernel_end(self) -> int:
        """What the base of memory is away from the end of the kernel, its BSS included."""
        return self.text_offsets[1] + self.inflated_size + self.bss_size

    @property
    def release(self) -> str:
        """What the kernel calls itself, "" where that cannot be found; each look unpacks it."""
        return _release(self.payload, self.packed_end)


@dataclass(frozen=True, slots=True)
class Appended(Brought):
    """The device tree behind a zImage."""

    container: ClassVar[str] = "the zImage"

    __repr__ = short_repr
    __reduce__ = reduce_to_copies


def probe(data: Buffer) -> str | None:
    """Return None if the header is a zImage's with nothing behind it, else why it is not."""
    reason = _probe_header(data)
    if reason is None and _appended(data) is not None:
        return "a device tree is behind it"
    return reason


def probe_appended(data: Buffer) -> str | None:
    """Return None if this is a zImage with a device tree behind it, else why it is not."""
    reason = _probe_header(data)
    if reason is None and _appended(data) is None:
        return "no device tree is behind it"
    return reason


def unwrap(data: Buffer) -> Layer:
    """Take the device tree off that is behind a zImage.

    The program looks for one where it ends, and moves it along.
    """
    tree = _appended(data)
    assert tree is not None  # it was probed
    inner = memoryview(data)[: len(data) - len(tree)]
    brought = Appended(initrd=None, cmdline=None, device_tree=tree, device_trees=())
    return Layer(APPENDED, inner, brought=brought)


def parse_zimage(data: Buffer) -> ZImage:
    """Parse a zImage.

    Raises :class:`ImageError` for one that is cut, for another byte order, or whose table makes no
    sense.
    """
    reason = _probe_header(data)
    if reason is not None:
        raise ImageError(f"not a {NAME}: {reason}")
    _check_byte_order(data)
    size = _size(data)
    if size > len(data):
        raise ImageError(
            f"the zImage is truncated: its header announces {counted(size, 'byte')}, there are "
            f"{len(data)}",
            offset=0x2C,
            field="end",
            hint="copy the kernel again",
        )
    payload = memoryview(data)[:size]
    words = _kernel_sizes(payload)
    if words is None:
        return ZImage(payload, None, _GUESSED_RATIO * size, False, 0, 0, _USUAL_MALLOC)
    pointer, bss = words[:2]
    if not _HEADER_SIZE <= pointer <= size - 4:
        raise _malformed(f"the kernel's size is at {pointer:#x}, the file ends at {size:#x}")
    (inflated,) = unpack_from("<I", payload, pointer)
    _check_sizes(inflated, bss, size)
    text_offset, malloc = words[2:4] if len(words) >= 4 else (None, _USUAL_MALLOC)
    if text_offset is not None and (text_offset % 0x8000 or not text_offset):
        raise _malformed(f"TEXT_OFFSET is {text_offset:#x}, needed is a multiple of 0x8000")
    if malloc > KERNEL_LIMIT:
        raise _malformed(f"MALLOC_SIZE is {malloc:#x}")
    return ZImage(payload, text_offset, inflated, True, pointer, bss, malloc)


def _probe_header(data: Buffer) -> str | None:
    if len(data) < _HEADER_SIZE:
        return f"the header needs {_HEADER_SIZE} bytes, there are {len(data)}"
    magic = bytes(data[_MAGIC_OFFSET : _MAGIC_OFFSET + 4])
    if int.from_bytes(magic, "little") == _MAGIC or int.from_bytes(magic, "big") == _MAGIC:
        return None
    return f"no {_MAGIC:#x} at offset {_MAGIC_OFFSET:#x} (found {magic.hex(' ')})"


def _check_byte_order(data: Buffer) -> None:
    magic, order = (unpack_from("<I", data, at)[0] for at in (_MAGIC_OFFSET, _ENDIAN_OFFSET))
    # Old ones have no word of that kind, and what is there is code.
    if magic != _MAGIC or order == _BIG_ENDIAN:
        raise ImageError(
            "the zImage is of a big-endian kernel, and the running kernel is little-endian",
            offset=_ENDIAN_OFFSET,
            field="byte order",
            hint="give a little-endian kernel",
        )


def _size(data: Buffer) -> int:
    """Return the bytes from the start to the end that the header tells; 0, 0: all of the file."""
    start, end = unpack_from("<II", data, 0x28)
    if not start and not end:
        return len(data)
    size = int(end) - int(start)
    if size < _HEADER_SIZE:
        raise ImageError(
            f"malformed zImage: it starts at {start:#x} and ends at {end:#x}",
            offset=0x28,
            field="start",
        )
    return size


def _appended(data: Buffer) -> Buffer | None:
    """Return the device tree behind the end that the header tells, None without."""
    try:
        _check_byte_order(data)
        size = _size(data)
    except ImageError:
        return None
    tree = memoryview(data)[size:]
    return tree if bytes(tree[:4]) == FDT_MAGIC.to_bytes(4, "big") else None


def _kernel_sizes(payload: Buffer) -> tuple[int, ...] | None:
    """Return the words of the tag that tells the kernel's sizes; None where there is none."""
    for tag, words in _tags(payload):
        if tag == _KERNEL_SIZES:
            if len(words) < 2:
                raise _malformed(f"its tag {tag:#x} has {counted(len(words), 'word')}, not 2")
            return words
    return None


def _tags(payload: Buffer) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield identifier and words of each tag; a size of 0 ends the table."""
    if len(payload) < _TABLE_OFFSET + 8:
        return
    magic, at = unpack_from("<II", payload, _TABLE_OFFSET)
    if magic != _TABLE_MAGIC:
        return
    for _ in range(_TAGS_MAX):
        if at + 4 > len(payload):
            raise _malformed(f"it leaves the file, which ends at {len(payload):#x}")
        (count,) = unpack_from("<I", payload, at)
        if not count:
            return
        if count < 2 or at + 4 * count > len(payload):
            raise _malformed(f"a tag of {counted(count, 'word')} at {at:#x}")
        tag, *words = unpack_from(f"<{count - 1}I", payload, at + 4)
        yield tag, tuple(words)
        at += 4 * count
    raise _malformed(f"it has more than {_TAGS_MAX} tags")


def _check_sizes(inflated: int, bss: int, size: int) -> None:
    if inflated + bss > KERNEL_LIMIT or inflated < size // 2:
        raise _malformed(
            f"the kernel has {counted(inflated, 'byte')} and {bss} of BSS, the file {size}"
        )


def _malformed(why: str) -> ImageError:
    return ImageError(
        f"malformed zImage: the table of its header: {why}",
        offset=_TABLE_OFFSET,
        field="table",
        hint="copy the kernel again",
    )


def _release(payload: Buffer, packed_end: int) -> str:
    """Search the packed kernel, which begins behind the program's code.

    Behind it are the program's data, and in gzip its own last word is the size.
    """
    data = memoryview(payload)
    for match in _PACKED.finditer(data):
        for end in (packed_end, packed_end + 4) if packed_end else (len(data),):
            try:
                kernel = decompress(data[match.start() : end], KERNEL_LIMIT, "the kernel")
            except (ImageError, MissingLibraryError):
                continue
            banner = _BANNER.search(kernel)
            if banner is not None:
                return banner[1].decode("ascii")
    return ""
