"""The records that an m68k kernel is told its machine by, out of those of the running one. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.formats.bootinfo import (
    Record,
    Tag,
    build_bootinfo,
    chunks_of,
    parse_bootinfo,
    place_record,
    seed_record,
)
from pykexec.values.errors import CommandLineError, ImageError, MachineError
from pykexec.values.units import counted

if TYPE_CHECKING:
    from pykexec.values.facts import MachineFacts
    from pykexec.values.ranges import Range

COMMAND_LINE_SIZE = 256
"""Bytes with the NUL (Linux arch/m68k/include/uapi/asm/setup.h)."""
FILE = "/proc/bootinfo"
MACH_VIRT = 14
_VIRT_SEED = 0x8006
"""What has been the seed on QEMU's machine (arch/m68k/include/uapi/asm/bootinfo-virt.h)."""
_TOLD_ANEW = frozenset({Tag.RAMDISK, Tag.COMMAND_LINE, Tag.RNG_SEED})
_NEEDED = (Tag.MACHTYPE, Tag.CPUTYPE, Tag.FPUTYPE, Tag.MMUTYPE)
"""What the kernel's first instructions look for (arch/m68k/kernel/head.S, "__start")."""


def records_of(facts: MachineFacts) -> tuple[Record, ...]:
    """Return what the running kernel was told.

    Raises :class:`MachineError` where that is not known, or is not enough for another kernel.
    """
    if facts.bootinfo is None:
        raise MachineError(
            f"there is no {FILE}, by which the next kernel is told of its machine",
            hint="boot a kernel with CONFIG_BOOTINFO_PROC=y",
        )
    try:
        records = parse_bootinfo(facts.bootinfo)
    except ImageError as error:
        raise MachineError(f"{FILE}: {error.message}") from error
    tags = {item.tag for item in records if item.word is not None}
    missing = [tag for tag in _NEEDED if tag not in tags]
    if missing:
        names = ", ".join(f"BI_{tag.name}" for tag in missing)
        raise MachineError(f"{FILE} has no {names}, which a kernel looks for first")
    if not chunks_of(records):
        raise MachineError(f"{FILE} tells of no memory (BI_MEMCHUNK)")
    return records


def next_records(
    records: tuple[Record, ...],
    cmdline: bytes,
    *,
    initrd: tuple[Range, int] | None,
    seed: bytes | None,
) -> bytes:
    """Return what the next kernel is told; ``initrd`` is its place and its size in bytes.

    What is of this boot alone is left out. The size does not depend on the place. Raises
    :class:`CommandLineError` where the command line is too long.
    """
    if len(cmdline) >= COMMAND_LINE_SIZE:
        over = len(cmdline) - COMMAND_LINE_SIZE + 1
        raise CommandLineError(
            f"the command line is {counted(len(cmdline), 'byte')} long, m68k kernels take at most "
            f"{COMMAND_LINE_SIZE - 1} (COMMAND_LINE_SIZE)",
            hint=f"shorten it by {counted(over, 'byte')}",
        )
    virt = any(item.tag == Tag.MACHTYPE and item.word == MACH_VIRT for item in records)
    gone = _TOLD_ANEW | ({_VIRT_SEED} if virt else set())
    told = [item for item in records if item.tag not in gone]
    if initrd is not None:
        told.append(place_record(Tag.RAMDISK, *initrd))
    told.append(Record(Tag.COMMAND_LINE, cmdline + b"\0"))
    if seed:
        told.append(seed_record(seed))
    return build_bootinfo(told)
