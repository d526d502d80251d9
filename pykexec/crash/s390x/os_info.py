"""What an s390x kernel leaves in its memory for the one that captures its crash. Pure.

Linux arch/s390/include/asm/os_info.h, arch/s390/kernel/os_info.c. A page that the lowcore points
to: where VMCOREINFO is, what the machine is to be started again from after the dump, the crash
region. Its checksums are those of the instruction CKSM. A capture kernel takes nothing of the page
where its own is wrong, and nothing of what it leads to where that one's is.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.ranges import Range
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[int, int], bytes]
    """Returns so many bytes from a physical address on."""

POINTER = 0xE18
"""Physical address of the pointer: Linux arch/s390/include/asm/lowcore.h, "os_info"."""
PAGE = 4096
_MAGIC = b"OSINFOSZ"
_HEAD = Struct(">8sIHHQQ")
_SUMMED = 12
"""Where what the checksum is of begins."""
_ENTRY = Struct(">QQI")
_ENTRIES = {0: "VMCOREINFO", 1: "the re-IPL block"}
"""Those with contents of their own, which have a checksum."""
_CONTENTS_MAX = 1 << 20
_MAJOR = 1


@dataclass(frozen=True, slots=True)
class OsInfo:
    """What the page says. Ranges are physical."""

    version: tuple[int, int]
    crash_region: Range | None
    """None: no memory is reserved for a crash kernel."""
    contents: tuple[tuple[str, Range], ...]
    """What it leads to, and where that is."""
    missing: tuple[str, ...]
    """What it could lead to, and does not."""


def checksum(data: bytes) -> int:
    """Return what CKSM makes of ``data``: words added, with each carry added again."""
    padded = data.ljust(-(-len(data) // 4) * 4, b"\0")
    total: int = sum(word for (word,) in Struct(">I").iter_unpack(padded))
    while total >> 32:
        total = (total & 0xFFFF_FFFF) + (total >> 32)
    return total


def read_os_info(read: Read) -> OsInfo:
    """Follow the pointer, and check everything that a capture kernel checks.

    Raises :class:`ImageError` for what it would take nothing of, and what ``read`` raises.
    """
    address = int.from_bytes(read(POINTER, 8), "big")
    if not address or address % PAGE:
        raise ImageError(f"the lowcore has no address of os_info, but {address:#x}")
    page = read(address, PAGE)
    magic, expected, major, minor, start, size = _HEAD.unpack_from(page)
    if magic != _MAGIC:
        raise ImageError(f"there is no os_info at {address:#x}, where the lowcore says that it is")
    found = checksum(page[_SUMMED:])
    if found != expected:
        raise ImageError(f"os_info at {address:#x} has the checksum {found:#x}, not {expected:#x}")
    if major > _MAJOR:
        raise ImageError(f"os_info is of version {major}.{minor}, {_MAJOR} is known")
    contents, missing = [], []
    for number, name in _ENTRIES.items():
        where = _contents(read, page, number, name)
        if where is None:
            missing.append(name)
        else:
            contents.append((name, where))
    region = Range.fitting(start, size) if size else None
    return OsInfo((major, minor), region, tuple(contents), tuple(missing))


def _contents(read: Read, page: bytes, number: int, name: str) -> Range | None:
    address, size, expected = _ENTRY.unpack_from(page, _HEAD.size + number * _ENTRY.size)
    if not address:
        return None
    where = Range.fitting(address, size) if 0 < size <= _CONTENTS_MAX else None
    if where is None:
        raise ImageError(f"os_info has {counted(size, 'byte')} at {address:#x} for {name}")
    found = checksum(read(address, size))
    if found != expected:
        raise ImageError(
            f"{name} at {where} has the checksum {found:#x}, os_info has {expected:#x}"
        )
    return where
