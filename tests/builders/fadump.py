"""What a firmware-assisted dump leaves in memory, byte by byte.

The values are those that Linux 6.1, 6.12 and QEMU 11.1 were seen to write for a guest with 1 GiB
and two processors, built for 8.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

PT_REGS = {"gpr1": 0xC000000004D3BA10, "nip": 0xC00000000029C6E4, "msr": 0x8000000000001033,
           "trap": 0x700, "result": 0x0}  # fmt: skip
_OTHERS = ("nip", "msr", "orig_gpr3", "ctr", "link", "xer", "ccr", "softe", "trap", "dar", "dsisr",
           "result")  # fmt: skip
NAMES = (*(f"gpr{number}" for number in range(32)), *_OTHERS)

BOOT_MEMORY = 0x14000000
DESTINATION = 0x14001000
HEADER_AT = DESTINATION + BOOT_MEMORY
VMCOREINFO = 0x1509F000
OLD_HEADER_AT = 0x28001000
"""Linux 6.1: the core header lies 0x1a0 behind it."""


def pt_regs(order: str = "<", size: int = 0x180) -> bytes:
    known = struct.pack(f"{order}44Q", *(PT_REGS.get(name, 0) for name in NAMES))
    return known + bytes(size - len(known))


def mask(cpus: Sequence[int], order: str = "<", size: int = 8) -> bytes:
    bits = sum(1 << cpu for cpu in cpus)
    words = [bits >> 64 * number & (1 << 64) - 1 for number in range(size // 8)]
    return struct.pack(f"{order}{len(words)}Q", *words)


def magic(name: bytes, order: str = "<") -> bytes:
    return name[::-1] if order == "<" else name


def new_header(
    order: str = "<",
    *,
    version: int = 1,
    cpu: int = 0,
    regs: int = 0x180,
    mask_size: int = 8,
    cpus: Sequence[int] = (0, 1),
) -> bytes:
    fixed = struct.pack(f"{order}IIQQII", version, cpu, VMCOREINFO, 0x1024, regs, mask_size)
    return magic(b"FADMPSIG", order) + fixed + pt_regs(order, regs) + mask(cpus, order, mask_size)


def old_header(
    order: str = "<", *, regs: int = 0x180, mask_size: int = 8, cpus: Sequence[int] = (0, 1)
) -> bytes:
    end = OLD_HEADER_AT + 0x18 + regs + mask_size
    fixed = struct.pack(f"{order}QI4x", end, 1)
    return magic(b"FADMPINF", order) + fixed + pt_regs(order, regs) + mask(cpus, order, mask_size)


def unmerged_header(order: str = "<") -> bytes:
    fixed = struct.pack(f"{order}IIQQQQII", 1, 0, 0x280011C0, 0x200, VMCOREINFO, 0x1024, 0x180, 8)
    return magic(b"FADMPSIG", order) + fixed + pt_regs(order) + mask((0, 1), order)


def section(kind: int, source: int, size: int, to: int, dumped: int | None = None) -> bytes:
    return struct.pack(">IHHQQQQ", 1, kind, 0, source, size, size if dumped is None else dumped, to)


SECTIONS = (
    section(0x0001, 0, 0xA00, 0x14000000),
    section(0x0002, 0, 0, 0x14000A00),
    section(0x0011, 0, BOOT_MEMORY, DESTINATION),
    section(0x0100, 0x2DFFF800, 0x800, 0x2DFFF800),
)


def kernel_dump(sections: Sequence[bytes] = SECTIONS, status: int = 0xC000) -> bytes:
    head = struct.pack(">IHHIIQQII", 1, len(sections), status, 0x28, 0, 0, 0, 0, 0)
    return head + b"".join(sections)


def register_area(cpus: Sequence[int] = (0, 1), *, offset: int = 0x10, size: int = 0xA00) -> bytes:
    """Return an area as QEMU writes it: 79 entries for each processor."""

    def entry(name: bytes, value: int) -> bytes:
        return struct.pack(">8sQ", name, value)

    data = b"REGSAVE\0" + struct.pack(">II", 0, offset) + bytes(offset - 0x10)
    data += struct.pack(">I", len(cpus))
    for cpu in cpus:
        data += entry(b"CPUSTRT", cpu)
        data += b"".join(entry(b"GPR%02d" % number, cpu << 8 | number) for number in range(32))
        known = (b"NIA", b"MSR", b"CTR", b"LR", b"XER", b"CR", b"DAR", b"DSISR")
        data += b"".join(entry(name, 0x1000 + at) for at, name in enumerate(known))
        data += b"".join(entry(b"SPRG%d" % number, 7) for number in range(37))
        data += entry(b"CPUEND", cpu)
    return data + bytes(max(size - len(data), 0))


def opal_metadata(
    order: str = ">", *, header: int = HEADER_AT, registered: int = 1, count: int = 1
) -> bytes:
    regions = b"".join(
        struct.pack(f"{order}QQQ", number << 28, 0x30000000 + (number << 28), 0x30000000)
        for number in range(count)
    )
    return struct.pack(f"{order}B3xHHQ", 1, count, registered, header) + regions


def opal_thread(pir: int, state: int = 0, *, size: int = 0x400) -> bytes:
    entries = [(1, number, pir << 8 | number) for number in range(32)]
    entries += [(2, 0x7D0, 0xC000), (2, 0x7D1, 0x9000), (2, 8, 0x11), (2, 999, 1)]
    head = struct.pack(">IB3xIIII", pir, state, 16, len(entries), 16, 16)
    data = head + b"".join(struct.pack(">IIQ", *entry) for entry in entries)
    return data + bytes(size - len(data))


def mpipl(count: int = 1) -> bytes:
    regions = struct.pack(">QQQ", 0, 0x31000000, 0x800) * count
    return struct.pack(">B7xIIII", 1, 0x20, 1, 0x400, count) + regions


def memory(size: int = 0x30000000) -> bytearray:
    """Return the memory of the captured guest, as far as a dump is in it."""
    data = bytearray(size)
    area = register_area()
    data[0x14000000 : 0x14000000 + len(area)] = area
    header = new_header()
    data[HEADER_AT : HEADER_AT + len(header)] = header
    return data
