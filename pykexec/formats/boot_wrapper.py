"""The wrapper around a kernel for Open Firmware and others: zImage and its kind. Pure.

Linux arch/powerpc/boot/wrapper: an ELF program for the firmware, with the packed ``vmlinux`` in a
section of its own. That program asks the firmware for memory, so it cannot be entered by another
kernel; what is in it can.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pykexec.formats.layers import Layer
from pykexec.values.elf_headers import class_of
from pykexec.values.errors import ImageError

if TYPE_CHECKING:
    from pykexec.formats.budget import Budget
    from pykexec.values.buffers import Buffer

NAME = "zImage"
_SECTION = b".kernel:vmlinux.strip\0"
_HEADERS_MAX = 256
"""A wrapper has some twenty sections."""
_HEAD = 64
_PLACES = {32: (16, "II"), 64: (24, "QQ")}
"""Where a section header has the offset and the size of its bytes, by the class."""


def probe(data: Buffer) -> str | None:
    """Return None if there is a wrapper around a kernel, else why there is none."""
    return None if _kernel(data) is not None else "no ELF file with a section .kernel:vmlinux.strip"


def unwrap(data: Buffer, budget: Budget | None = None) -> Layer:
    """Return the kernel, as packed as it is.

    Raises :class:`ImageError` for a file that was cut.
    """
    del budget
    found = _kernel(data)
    assert found is not None  # the probe has asked
    start, size = found
    if start + size > len(data):
        raise ImageError(
            f"the zImage is truncated: its kernel should take the bytes from {start:#x} to "
            f"{start + size:#x}, there are {len(data):#x}",
            offset=len(data),
            hint="copy the file again",
        )
    return Layer(NAME, memoryview(data)[start : start + size])


def _kernel(data: Buffer) -> tuple[int, int] | None:
    """Return offset and size in bytes of the section."""
    head = bytes(data[:_HEAD])
    elf = class_of(head)
    if elf is None or len(head) < elf.ehdr.size:
        return None
    header = elf.unpack_header(head)
    each, count = header.shentsize, min(header.shnum, _HEADERS_MAX)
    table = bytes(data[header.shoff : header.shoff + each * count])
    at, form = _PLACES[elf.bits]
    place = struct.Struct(elf.ehdr.format[0] + form)
    if header.shstrndx >= count or each < at + place.size or len(table) < each * count:
        return None
    names_at, names_size = place.unpack_from(table, header.shstrndx * each + at)
    names = bytes(data[names_at : names_at + min(names_size, 1 << 16)])
    for start in range(0, each * count, each):
        name = int.from_bytes(table[start : start + 4], elf.byte_order)
        if names[name : name + len(_SECTION)] == _SECTION:
            found, size = place.unpack_from(table, start + at)
            return found, size
    return None
