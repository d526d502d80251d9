"""Builds ELF programs of both classes, written with ``struct`` and no parser's help."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field

from tests.builders.pe_files import padded

PAGE = 0x1000


@dataclass(frozen=True, slots=True)
class Load:
    """One PT_LOAD; ``data`` is followed by zeros up to ``memsz``."""

    paddr: int
    data: bytes
    memsz: int | None = None
    """None: as many bytes as ``data``."""
    vaddr: int | None = None
    """None: the physical address."""
    align: int = PAGE


def noise(size: int, seed: int = 1) -> bytes:
    """Return bytes that stand for code."""
    return random.Random(seed).randbytes(size)


@dataclass(frozen=True, slots=True)
class ElfSpec:
    """An ELF program; the defaults are a 64-bit program for x86 that is not Linux."""

    loads: tuple[Load, ...] = field(default_factory=lambda: (Load(0x200000, noise(0x2800)),))
    entry: int = 0x200010
    bits: int = 64
    machine: int = 62
    type: int = 2
    """2 ET_EXEC, 3 ET_DYN."""
    dynamic: bytes | None = None
    """The dynamic section; None: there is none."""
    big_endian: bool = False


def build_elf(spec: ElfSpec | None = None) -> bytes:
    """Build the file: headers, then each segment on a page of its own."""
    spec = spec or ElfSpec()
    wide = spec.bits == 64
    order = ">" if spec.big_endian else "<"
    ehsize, phentsize = (64, 56) if wide else (52, 32)
    headers, body = b"", b""
    loads = [(1, load) for load in spec.loads]
    if spec.dynamic is not None:
        loads.append((2, Load(0, spec.dynamic)))
    for kind, load in loads:
        offset = PAGE + len(body)
        vaddr = load.paddr if load.vaddr is None else load.vaddr
        memsz = len(load.data) if load.memsz is None else load.memsz
        sizes = (vaddr, load.paddr, len(load.data), memsz)
        if wide:
            headers += struct.pack(f"{order}IIQQQQQQ", kind, 7, offset, *sizes, load.align)
        else:
            headers += struct.pack(f"{order}8I", kind, offset, *sizes, 7, load.align)
        body += padded(load.data, PAGE)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 2 if spec.big_endian else 1, 1]).ljust(12, b"\0")
    address = "Q" if wide else "I"
    ehdr = struct.pack(
        f"{order}HHI{address}{address}{address}IHHHHHH",
        spec.type,
        spec.machine,
        1,
        spec.entry,
        ehsize,
        0,
        0,
        ehsize,
        phentsize,
        len(loads),
        0,
        0,
        0,
    )
    return (ident + ehdr + headers).ljust(PAGE, b"\0") + body


LINUX_VADDR = 0xFFFFFFFF81000000


def build_x86_vmlinux(*, bits: int = 64, release: str = "6.99.0-synthetic") -> bytes:
    """Build what a kernel without its decompressor looks like: text, data, bss."""
    text = noise(0x3000) + f"Linux version {release} (builder@synthetic) #1\0".encode()
    base = 0x1000000
    vaddr = LINUX_VADDR if bits == 64 else 0xC0000000 + base
    return build_elf(
        ElfSpec(
            loads=(
                Load(base, text, vaddr=vaddr, align=0x200000),
                Load(base + 0x200000, noise(0x1234, 2), 0x40000, vaddr + 0x200000, 0x200000),
            ),
            entry=base + 0xC43,
            bits=bits,
            machine=62 if bits == 64 else 3,
        )
    )
