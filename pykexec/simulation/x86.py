"""The emulated PC for an x86_64 plan: QEMU's ``pc`` with its own BIOS. Pure.

The BIOS runs first, so that the machine has ACPI tables and set-up devices, as any has that
kexec is used on. It starts a small program of ours (purgatory/start/x86_64.S), which waits until
the segments are in memory, and then does what the running kernel's relocation code does:
64-bit mode, memory identity mapped, interrupts off, all registers zero.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import TYPE_CHECKING

from pykexec.boot.x86.boot_params import BOOT_PARAMS_SIZE, parse_boot_params
from pykexec.purgatory_objects import load_start
from pykexec.simulation.emulated import (
    Bank,
    EmulatedMachine,
    StartProgram,
    segment_contents,
    told_ram,
)
from pykexec.values.command_line import split_words
from pykexec.values.errors import SimulationError
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import GIB, KIB, MIB, align_down, align_up, counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.planning.plans import SegmentPlan

COUNTER = re.compile(r"\bRIP=([0-9a-f]{16})\b")
VECTORS: Range | None = None

START = 0x10000
"""Where the start program runs: below 1 MiB, where plans that are tried out have nothing."""
PAGE_TABLES = 0x11000
_PAGE_TABLES_END = 0x90000

# Behind the Multiboot header of the start program: state, Multiboot information, entry.
_STATE, _INFO, _ENTRY = START + 0x20, START + 0x24, START + 0x28
_READY, _GO = (number.to_bytes(4, "little") for number in (1, 2))

_FIRMWARE_ROOM = 128 * KIB
"""What the BIOS of QEMU takes for ACPI tables, at the end of RAM below 4 GiB."""
_LOW_RAM_END = 3 * GIB
"""With RAM above 4 GiB the board has this much below (QEMU hw/i386/pc_piix.c, "pc_init1")."""
_DEVICES = 0xE0000000
"""Where the board's devices begin without."""

_BIOS = Range(0xE0000, MIB)
_RSDP_SIGNATURE = b"RSD PTR "
_RSDP_SIZE = 36
"""Bytes; 20 before ACPI 2.0."""

_PAGE = 4096
_LARGE_PAGE = 2 * MIB
_TABLE_ENTRY = 0x63
"""Present, writable, accessed, dirty."""
_LARGE_PAGE_ENTRY = 0xE3

# Multiboot Specification 0.6.96, section 3.3: flags; mmap_length and mmap_addr; an mmap entry.
_FLAGS = Struct("<I")
_MMAP_FLAG = 1 << 6
_MMAP = Struct("<II")
_MMAP_OFFSET = 44
_MMAP_MAX = 64 * KIB
_MMAP_ENTRY = Struct("<IQQI")
_AVAILABLE = 1


def emulate(plan: SegmentPlan) -> EmulatedMachine:
    """Return the PC for ``plan``; raises :class:`SimulationError` if there is none for it."""
    low = next((item for item in plan.segments if item.dest.start < MIB), None)
    if low is not None:
        raise SimulationError(
            f"cannot simulate: {low.role} {low.dest} lies in the first MiB, "
            "which the emulated firmware and the start program use"
        )
    rsdp = _check_handover(plan)
    ram = told_ram(plan)
    banks = _banks(ram.union([rsdp]))
    end = banks[-1]
    return EmulatedMachine(
        program="qemu-system-x86_64",
        package="qemu-system-x86",
        title="QEMU's pc with its BIOS",
        # QEMU 7.2 miscompiles cmpxchg16b: kernels from 6.12 on die of it at random.
        words=("-cpu", "max,-cx16", "-smp", "1"),
        board="pc",
        memory=end.offset + end.range.size,
        banks=banks,
        contents=(
            *segment_contents(plan),
            (PAGE_TABLES, build_identity_map(ram.union([Range(0, MIB)]), PAGE_TABLES)),
            (_ENTRY, plan.entry.to_bytes(8, "little")),
        ),
        start=StartProgram(
            image=load_start("x86_64"),
            ready=(_STATE, _READY),
            go=(_STATE, _GO),
            settle=lambda read: _settle(plan, rsdp, read),
        ),
    )


def _check_handover(plan: SegmentPlan) -> Range:
    """Return where the plan says that the ACPI tables begin; empty where it does not.

    Refuses a plan by which the new kernel would not be heard, or would call firmware.
    """
    words = split_words(plan.cmdline)
    heard = (b"console=ttyS0", b"earlyprintk=serial", b"earlyprintk=ttyS0", b"earlycon=uart")
    if not any(word.startswith(heard) for word in words):
        raise SimulationError(
            "cannot simulate: the plan's command line has no serial console, "
            "so that the new kernel would not be heard",
            hint="plan with console=ttyS0 in --append",
        )
    parameters = plan.segment(Role.PARAMETERS)
    if parameters is None or len(parameters.data) < BOOT_PARAMS_SIZE:
        return Range(0, 0)
    told = parse_boot_params(parameters.data)
    if told.efi.memmap_size:
        raise SimulationError(
            "cannot simulate: the plan hands EFI over, and the emulated machine's firmware is "
            "a BIOS: the new kernel would call into memory that holds nothing",
            hint="plan with --noefi to try out the layout",
        )
    return Range.sized(told.acpi_rsdp, _RSDP_SIZE if told.acpi_rsdp else 0)


def _banks(ram: RangeSet) -> tuple[Bank, ...]:
    """Return the RAM of a machine that has all of ``ram``."""
    border = 4 * GIB
    below = ram.intersect([Range(0, border)])
    above = ram.minus([Range(0, border)])
    low_end = max((item.end for item in below), default=MIB)
    limit = _LOW_RAM_END if above else _DEVICES - MIB
    if low_end > limit:
        raise SimulationError(
            f"cannot simulate: the plan's memory below 4 GiB reaches up to {low_end:#x}, "
            f"the emulated machine's up to {limit:#x}"
        )
    if not above:
        # Room for the firmware where there is any; _settle sees what else there is.
        return (Bank(Range(0, min(align_up(low_end + _FIRMWARE_ROOM, MIB), limit)), 0),)
    end = align_up(max(item.end for item in above), MIB)
    return Bank(Range(0, limit), 0), Bank(Range(border, end), limit)


def build_identity_map(memory: RangeSet, at: int) -> bytes:
    """Return page tables, to lie at the physical address ``at``, that map ``memory`` to itself.

    In large pages, rounded outward. What is not in ``memory`` stays unmapped, as in the
    tables that a running kernel makes. Raises :class:`SimulationError` if they have no room.
    """
    pages = sorted(
        {
            address
            for item in memory
            for address in range(align_down(item.start, _LARGE_PAGE), item.end, _LARGE_PAGE)
        }
    )
    # Level and what the table covers, for each table in the order of its place.
    places: dict[tuple[int, int], int] = {(4, 0): 0}
    entries: list[tuple[int, int, int]] = []
    for address in pages:
        for level in (4, 3, 2):
            covered = _LARGE_PAGE << 9 * (level - 2)
            parent = places[level, align_down(address, covered << 9)] if level < 4 else 0
            index = address // covered % 512
            if level == 2:
                entries.append((parent, index, address | _LARGE_PAGE_ENTRY))
                continue
            child = (level - 1, align_down(address, covered))
            if child not in places:
                places[child] = len(places)
                entries.append((parent, index, at + places[child] * _PAGE | _TABLE_ENTRY))
    if at + len(places) * _PAGE > _PAGE_TABLES_END:
        raise SimulationError(
            f"cannot simulate: the plan's memory needs {len(places)} page tables, "
            f"there is room for {(_PAGE_TABLES_END - at) // _PAGE}"
        )
    tables = bytearray(len(places) * _PAGE)
    for table, index, value in entries:
        start = table * _PAGE + index * 8
        tables[start : start + 8] = value.to_bytes(8, "little")
    return bytes(tables)


def firmware_ram(read: Callable[[int, int], bytes]) -> RangeSet:
    """Return the RAM that the emulated firmware leaves to a kernel, by its own memory map.

    ``read`` returns physical memory. Raises :class:`SimulationError` if there is no map.
    """
    info = int.from_bytes(read(_INFO, 4), "little")
    (flags,) = _FLAGS.unpack(read(info, _FLAGS.size))
    length, address = _MMAP.unpack(read(info + _MMAP_OFFSET, _MMAP.size))
    if not flags & _MMAP_FLAG or length > _MMAP_MAX:
        raise SimulationError(
            f"the emulated firmware gives no memory map: flags {flags:#x}, "
            f"{counted(length, 'byte')}"
        )
    data = read(address, length)
    found, offset = [], 0
    while offset + _MMAP_ENTRY.size <= length:
        size, start, length_of_range, kind = _MMAP_ENTRY.unpack_from(data, offset)
        if kind == _AVAILABLE:
            found.append(Range.sized(start, length_of_range))
        offset += size + 4
    return RangeSet(found)


def _settle(
    plan: SegmentPlan, rsdp: Range, read: Callable[[int, int], bytes]
) -> tuple[tuple[int, bytes], ...]:
    """Return the emulated firmware's RSDP for where the plan says that its machine has it.

    A kernel that finds other bytes there takes them for addresses, and faults. Refuses segments
    on memory that the firmware keeps.
    """
    ram = firmware_ram(read)
    for item in plan.segments:
        if ram.covering(item.dest) is None or item.dest.overlaps(rsdp):
            raise SimulationError(
                f"cannot simulate: {item.role} {item.dest} lies on memory that the emulated "
                "firmware keeps for itself",
                hint="plan with a lower --mem-max to try out the rest of the layout",
            )
    return ((rsdp.start, _find_rsdp(read)),) if rsdp.size else ()


def _find_rsdp(read: Callable[[int, int], bytes]) -> bytes:
    """Return the Root System Description Pointer: ACPI 6.5, 5.2.5.1, for machines with a BIOS."""
    area = read(_BIOS.start, _BIOS.size)
    for at in range(0, _BIOS.size, 16):
        if area.startswith(_RSDP_SIGNATURE, at) and not sum(area[at : at + 20]) % 256:
            return area[at : at + _RSDP_SIZE]
    raise SimulationError("the emulated firmware has no ACPI tables")
