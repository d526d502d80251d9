"""What firmware has saved of each processor's registers. Pure.

On pseries the register save area, whose entries are named (Linux
arch/powerpc/platforms/pseries/rtas-fadump.h); on powernv OPAL's threads, whose entries are numbered
(platforms/powernv/opal-fadump.h). Both big-endian. The processor that crashed has its registers in
the crash info header; what firmware saved of that one is later.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from pykexec.crash.fadump._structures import HDAT_THREAD, REG_COUNT, REG_SAVE_AREA
from pykexec.crash.fadump.layouts import HDAT_OFFSET_AT
from pykexec.formats.structs import parse_at
from pykexec.values.data_classes import dataclass
from pykexec.values.errors import ImageError
from pykexec.values.units import counted

if TYPE_CHECKING:
    from pykexec.values.buffers import Buffer

MAGIC = b"REGSAVE\0"
AREA_MAX = 64 << 20
"""Bytes: some 1.3 KiB for each processor."""
THREADS_MAX = 1 << 15
_START, _END = b"CPUSTRT", b"CPUEND"
_ENTRY = Struct(">8sQ")
_LOW_WORD = 0xFFFFFFFF
_HDAT_ENTRY = Struct(">IIQ")
_GPR, _SPR = 1, 2
_CORE_INACTIVE = 0x0F
# Linux arch/powerpc/include/asm/reg.h, "SPRN_…", and HDAT's own numbers from 0x7d0 on.
_SPR_NAMES = {1: "xer", 8: "link", 9: "ctr", 18: "dsisr", 19: "dar",
              0x7D0: "nip", 0x7D1: "msr", 0x7D2: "ccr"}  # fmt: skip
_NAMES = {"NIA": "nip", "MSR": "msr", "CTR": "ctr", "LR": "link", "XER": "xer", "CR": "ccr",
          "DAR": "dar", "DSISR": "dsisr",
          **{f"GPR{number:02}": f"gpr{number}" for number in range(32)}}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SavedCpu:
    """A processor's registers, as firmware had them."""

    cpu: int
    """A logical number on pseries, a PIR on powernv."""
    active: bool
    """False: its core was not in use, and the values mean nothing."""
    registers: tuple[tuple[str, int], ...]
    """By the names of ``pt_regs``, in firmware's order; what a kernel does not read is left out."""


def parse_register_area(data: Buffer) -> tuple[SavedCpu, ...]:
    """Read a register save area, which begins with ``data``; raises :class:`ImageError`."""
    view = memoryview(data)[:AREA_MAX]
    header = parse_at(REG_SAVE_AREA, view, 0, "the register save area")
    if header.magic_number != MAGIC:
        raise ImageError(
            f"no register save area: the magic is {header.magic_number.hex()}, not "
            f"{MAGIC.hex()} (REGSAVE)",
            offset=0,
            field="magic_number",
        )
    start = header.num_cpu_offset
    count = parse_at(REG_COUNT, view, start, "the number of processors").num_cpus
    entries = start + REG_COUNT.size
    room = (len(view) - entries) // _ENTRY.size // 2
    if count > room:
        raise ImageError(
            f"{counted(count, 'processor')} in a register save area that has room for {room}",
            offset=start,
            field="num_cpus",
        )
    found = []
    for _ in range(count):
        cpu, entries = _named(view, entries)
        found.append(cpu)
    return tuple(found)


def _named(view: memoryview, at: int) -> tuple[SavedCpu, int]:
    """Read the entries of one processor; returns it and where the next one's begin."""
    number: int | None = None
    registers: list[tuple[str, int]] = []
    while at + _ENTRY.size <= len(view):
        raw, value = _ENTRY.unpack_from(view, at)
        name = raw.rstrip(b"\0 ")
        at += _ENTRY.size
        if number is None:
            if name != _START:
                raise ImageError(
                    f"{name!r} in the register save area where CPUSTRT is due",
                    offset=at - _ENTRY.size,
                    field="reg_id",
                )
            number = value & _LOW_WORD
        elif name == _END:
            return SavedCpu(number, True, tuple(registers)), at
        elif (known := _NAMES.get(name.decode("latin-1"))) is not None:
            registers.append((known, value))
    raise ImageError(
        "the register save area ends within a processor's registers: no CPUEND",
        offset=len(view),
        field="reg_id",
    )


def parse_opal_threads(data: Buffer, thread_size: int) -> tuple[SavedCpu, ...]:
    """Read OPAL's threads of ``thread_size`` bytes each, ``mpipl``'s ``cpu_data_size``.

    Where the entries lie says the first thread for all, as for the kernel. Raises
    :class:`ImageError`.
    """
    view = memoryview(data)[:AREA_MAX]
    first = parse_at(HDAT_THREAD, view, 0, "the first thread")
    entries = HDAT_OFFSET_AT + first.offset
    if (
        first.esize < _HDAT_ENTRY.size
        or entries < HDAT_THREAD.size
        or entries + first.ecnt * first.esize > thread_size
    ):
        raise ImageError(
            f"{first.ecnt} entries of {first.esize} bytes at {entries:#x} do not fit a thread of "
            f"{counted(thread_size, 'byte')}",
            offset=HDAT_OFFSET_AT,
            field="ecnt",
        )
    count = min(len(view) // thread_size, THREADS_MAX)
    found = []
    for at in range(0, count * thread_size, thread_size):
        thread = parse_at(HDAT_THREAD, view, at, "a thread")
        active = thread.core_state != _CORE_INACTIVE
        places = range(at + entries, at + entries + first.ecnt * first.esize, first.esize)
        numbered = (_HDAT_ENTRY.unpack_from(view, place) for place in places)
        named = ((_opal_name(kind, number), value) for kind, number, value in numbered)
        registers = tuple((name, value) for name, value in named if name) if active else ()
        found.append(SavedCpu(thread.pir, active, registers))
    return tuple(found)


def _opal_name(kind: int, number: int) -> str:
    if kind == _GPR:
        return f"gpr{number}" if number < 32 else ""
    return _SPR_NAMES.get(number, "")
