"""The crash info header, which a kernel writes for the one that comes after its crash. Pure.

Linux arch/powerpc/include/asm/fadump-internal.h, "fadump_crash_info_header". Until Linux 6.9 its
magic is FADMPINF, and the core header that the first kernel made lies behind it; from 6.10 on it is
FADMPSIG with a version, and the capture kernel makes the core header.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.crash.fadump.layouts import ORDERS, PT_REGS_KNOWN, pt_regs_of
from pykexec.formats.structs import parse_at
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.ranges import Range
from pykexec.values.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pykexec.crash.fadump.layouts import ByteOrder
    from pykexec.values.buffers import Buffer

OLD = b"FADMPINF"
NEW = b"FADMPSIG"
MAGICS: dict[bytes, tuple[bytes, ByteOrder]] = {
    OLD: (OLD, "big"),
    NEW: (NEW, "big"),
    OLD[::-1]: (OLD, "little"),
    NEW[::-1]: (NEW, "little"),
}
"""By the bytes as they lie in memory: which magic, and whose byte order."""

VERSION = 1
NO_CPU = 0xFFFFFFFF
VMCOREINFO_MAX = 1 << 20
"""Bytes: a note has some 4 KiB."""
CPU_MASK_MAX = 1 << 12
"""Bytes: for 32768 processors, four times as many as a kernel can be built for."""
PT_REGS_MAX = 0x400
HEADER_MAX = 0x28 + PT_REGS_MAX + CPU_MASK_MAX
_OLD_PT_REGS = (0x160, 0x170, 0x180)
"""Bytes, growing with Linux 4.20 and 5.10. The old form does not tell which; the mask is behind."""
_FIXED_OLD = 0x18
_FIXED = 0x28
_ELF = b"\x7fELF"
_PLACES_MAX = 1 << 10
"""Magics looked at in an image: a kernel has a few among its constants."""


@dataclass(frozen=True, slots=True)
class CrashInfo:
    """What the crashed kernel has left about itself."""

    magic: str
    """``FADMPINF`` or ``FADMPSIG``."""
    byte_order: ByteOrder
    """Of the kernel that wrote it."""
    version: int | None
    """None in the form before there was one."""
    crashing_cpu: int | None
    """A logical number on pseries, a PIR on powernv; None: no kernel has said that it crashes."""
    elfcorehdr_addr: int | None
    """Physical, of the core header that the first kernel made; None where the capture kernel makes
    it."""
    vmcoreinfo: Range | None
    """Where the note was in the crashed kernel's memory; None: the old form does not tell."""
    registers: tuple[tuple[str, int], ...]
    """Of the processor that crashed, by the names of ``pt_regs``; all zero before a crash."""
    cpus: tuple[int, ...] | None
    """Numbers of the processors in the mask: those that were online at the crash, or before one
    those that are possible. None: the old form does not tell where the mask lies."""
    size: int
    """Bytes of the header; of an old one whose end is not known, those that are."""


def parse_crash_info(data: Buffer, offset: int = 0, *, address: int | None = None) -> CrashInfo:
    """Read a header at ``offset`` bytes into ``data``.

    ``address`` is its physical address where that is known: it tells how long the old form's mask
    is. Raises :class:`ImageError` for what is none, and for a form that no released kernel has.
    """
    magic = bytes(data[offset : offset + 8])
    if magic not in MAGICS:
        raise ImageError(
            f"no crash info header: the magic is {magic.hex() or 'missing'}; known are FADMPINF "
            "and FADMPSIG, in either byte order",
            offset=offset,
            field="magic_number",
        )
    name, order = MAGICS[magic]
    if name == OLD:
        return _parse_old(data, offset, order, address)
    return _parse_new(data, offset, order)


def find_headers(data: Buffer, limit: int = 16) -> Iterator[int]:
    """Yield the offsets in ``data`` where a header can be read, ascending, ``limit`` at most.

    It is aligned to 8 bytes, as a kernel keeps it. The magic alone is no header: a kernel has it
    among its constants too. Raises :class:`ImageError` for an image that has little else.
    """
    view, step, looked_at = memoryview(data), 1 << 24, 0
    for start in range(0, len(view), step):
        # Pieces overlap by the seven bytes that a magic may lie across.
        piece = bytes(view[start : start + step + 7])
        for at in sorted(at for magic in MAGICS for at in _places(piece, magic, start)):
            looked_at += 1
            if looked_at > _PLACES_MAX:
                raise ImageError(
                    f"more than {_PLACES_MAX} places begin like a crash info header",
                    offset=at,
                    hint="give the header's address",
                )
            try:
                parse_crash_info(view[at : at + HEADER_MAX])
            except ImageError:
                continue
            yield at
            limit -= 1
            if not limit:
                return


def _places(piece: bytes, magic: bytes, start: int) -> Iterator[int]:
    at = piece.find(magic)
    while at >= 0:
        if (start + at) % 8 == 0:
            yield start + at
        at = piece.find(magic, at + 1)


def _parse_old(data: Buffer, offset: int, order: ByteOrder, address: int | None) -> CrashInfo:
    what = "the crash info header (FADMPINF)"
    fields = parse_at(ORDERS[order].old_header, data, offset, what)
    registers = parse_at(ORDERS[order].pt_regs, data, offset + _FIXED_OLD, "its pt_regs")
    end = _old_end(data, offset, fields.elfcorehdr_addr, address)
    mask = None if end is None else _old_mask(data, offset, end)
    return CrashInfo(
        magic=OLD.decode(),
        byte_order=order,
        version=None,
        crashing_cpu=_cpu(fields.crashing_cpu),
        elfcorehdr_addr=fields.elfcorehdr_addr,
        vmcoreinfo=None,
        registers=pt_regs_of(registers),
        cpus=None if mask is None else cpus_in(mask, order),
        size=_FIXED_OLD + PT_REGS_KNOWN if end is None else end,
    )


def _old_end(data: Buffer, offset: int, elfcorehdr: int, address: int | None) -> int | None:
    """Return the bytes of the header, behind which the core header lies; None: nobody knows."""
    least = _FIXED_OLD + PT_REGS_KNOWN
    if address is not None:
        size = elfcorehdr - address
    else:
        size = bytes(data[offset : offset + HEADER_MAX]).find(_ELF, least)
    return size if least <= size <= HEADER_MAX and offset + size <= len(data) else None


def _old_mask(data: Buffer, offset: int, end: int) -> bytes | None:
    """Return the mask, which is for a power of two; None: it may begin in two places."""
    sizes = (end - _FIXED_OLD - regs for regs in _OLD_PT_REGS)
    fitting = [size for size in sizes if _is_mask_size(size) and size & size - 1 == 0]
    if len(fitting) != 1:
        return None
    return _piece(data, offset + end - fitting[0], fitting[0])


def _parse_new(data: Buffer, offset: int, order: ByteOrder) -> CrashInfo:
    layout = ORDERS[order]
    fields = parse_at(layout.header, data, offset, "the crash info header (FADMPSIG)")
    if fields.version != VERSION:
        raise ImageError(
            f"the crash info header has version {fields.version}; known is {VERSION}",
            offset=offset + 8,
            field="version",
        )
    _check_sizes(data, offset, order, fields.pt_regs_sz, fields.cpu_mask_sz)
    vmcoreinfo = Range.fitting(fields.vmcoreinfo_raddr, fields.vmcoreinfo_size)
    if vmcoreinfo is None or vmcoreinfo.size > VMCOREINFO_MAX:
        raise ImageError(
            f"vmcoreinfo of {counted(fields.vmcoreinfo_size, 'byte')} at "
            f"{fields.vmcoreinfo_raddr:#x} cannot be: at most {VMCOREINFO_MAX}, below 2^64",
            offset=offset + 0x18,
            field="vmcoreinfo_size",
        )
    registers = parse_at(layout.pt_regs, data, offset + _FIXED, "its pt_regs")
    mask = _piece(data, offset + _FIXED + fields.pt_regs_sz, fields.cpu_mask_sz)
    return CrashInfo(
        magic=NEW.decode(),
        byte_order=order,
        version=fields.version,
        crashing_cpu=_cpu(fields.crashing_cpu),
        elfcorehdr_addr=None,
        vmcoreinfo=vmcoreinfo,
        registers=pt_regs_of(registers),
        cpus=cpus_in(mask, order),
        size=_FIXED + fields.pt_regs_sz + fields.cpu_mask_sz,
    )


def _check_sizes(data: Buffer, offset: int, order: ByteOrder, regs: int, mask: int) -> None:
    """Refuse sizes that the merged form cannot have; names the other one that has them."""
    if _are_sizes(regs, mask):
        return
    other = ORDERS[order].unmerged_header
    if len(data) - offset >= other.size:
        guess = parse_at(other, data, offset, "the crash info header")
        if _are_sizes(guess.pt_regs_sz, guess.cpu_mask_sz):
            raise ImageError(
                "a crash info header of unknown form: the sizes stand at 0x30, as in a patch that "
                "no released kernel has; in Linux 6.10 and later they stand at 0x20",
                offset=offset + 0x20,
                field="pt_regs_sz",
                hint="read the dump with the kernel that wrote it",
            )
    raise ImageError(
        f"a crash info header of unknown form: pt_regs of {regs:#x} bytes and a mask of {mask:#x}; "
        f"known are multiples of 8, {PT_REGS_KNOWN:#x} to {PT_REGS_MAX:#x} and up to "
        f"{CPU_MASK_MAX:#x}",
        offset=offset + 0x20,
        field="pt_regs_sz",
    )


def _are_sizes(regs: int, mask: int) -> bool:
    return PT_REGS_KNOWN <= regs <= PT_REGS_MAX and regs % 8 == 0 and _is_mask_size(mask)


def _is_mask_size(size: int) -> bool:
    return 8 <= size <= CPU_MASK_MAX and size % 8 == 0


def _cpu(number: int) -> int | None:
    return None if number == NO_CPU else number


def _piece(data: Buffer, offset: int, size: int) -> bytes:
    piece = bytes(data[offset : offset + size])
    if len(piece) < size:
        raise ImageError(
            f"truncated: the mask of processors needs {counted(size, 'byte')} at offset "
            f"{offset:#x}, the file has {len(piece)} there",
            offset=offset,
            field="cpu_mask",
        )
    return piece


def cpus_in(mask: bytes, order: ByteOrder) -> tuple[int, ...]:
    """Return the numbers of the bits in a ``struct cpumask``: 64-bit words, lowest bit first."""
    words = (int.from_bytes(mask[at : at + 8], order) for at in range(0, len(mask), 8))
    return tuple(
        number * 64 + bit
        for number, word in enumerate(words)
        for bit in range(64)
        if word >> bit & 1
    )
