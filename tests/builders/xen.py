"""A Xen hypervisor that is none: it answers hypercalls, and remembers what was loaded."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from struct import Struct

from pykexec.calls import hypercalls
from pykexec.values.buffers import Buffer
from pykexec.values.ranges import Range
from pykexec.values.xen import XenFacts, map_of_e820

MEMORY_OP, KEXEC_OP = 12, 37
EXEC, GET_RANGE, LOAD, UNLOAD, STATUS = 0, 3, 4, 5, 6
_RANGE = Struct("<iiQQ")
_LOAD = Struct("<BxHIQQ")
_SEGMENT = Struct("<QQQQ")

RAM, RESERVED = 1, 2
E820 = (
    (0, 0x9FC00, RAM),
    (0x9FC00, 0x400, RESERVED),
    (0xF0000, 0x10000, RESERVED),
    (0x100000, 0x3FEE0000, RAM),
    (0x3FFE0000, 0x20000, RESERVED),
)
"""A machine of 1 GiB, as QEMU's board has it."""


@dataclass(frozen=True)
class Image:
    """What was loaded: machine addresses."""

    machine: int
    entry: int
    segments: tuple[tuple[bytes | None, Range], ...]
    """(data, None for a null pointer; place)."""


@dataclass
class FakeXen(hypercalls.Hypervisor):
    """Takes :func:`pykexec.calls.hypercalls.open_hypervisor`'s place."""

    e820: tuple[tuple[int, int, int], ...] = E820
    ranges: dict[tuple[int, int], Range] = field(
        default_factory=lambda: {
            (0, 0): Range.sized(0x2D4E6000, 160 << 20),
            (1, 0): Range.sized(0x3FA00000, 0x3C7240),
            (2, 0): Range.sized(0x3FDCE280, 0x1F4),
            (2, 1): Range.sized(0x3FC98C00, 0x194),
            (6, 0): Range.sized(0x3FD9D5C0, 4096),
        }
    )
    """By (KEXEC_RANGE_MA_, number)."""
    cpus: int = 2
    images: dict[int, Image] = field(default_factory=dict)
    """By KEXEC_TYPE_."""
    answers: dict[int, int] = field(default_factory=dict)
    """The errno of a command of kexec_op."""
    calls: list[int] = field(default_factory=list)
    """Commands of kexec_op that change something."""
    missing: str | None = None
    """A device that is not there."""
    _memory: dict[int, memoryview] = field(default_factory=dict)

    def __enter__(self) -> FakeXen:
        if self.missing is not None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), self.missing)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._memory.clear()

    def place(self, data: Buffer, size: int | None = None) -> tuple[int, memoryview]:
        length = len(data) if size is None else size
        address = 0x7F0000000000 + (len(self._memory) << 32)
        view = memoryview(bytearray(bytes(data).ljust(length, b"\0")))
        self._memory[address] = view
        return address, view

    def hypercall(self, op: int, *arguments: int) -> int:
        command, address = arguments
        view = self._memory[address]
        if op == MEMORY_OP:
            assert command == 10
            return self._memory_map(view)
        assert op == KEXEC_OP
        if command in self.answers:
            number = self.answers[command]
            raise OSError(number, os.strerror(number))
        if command in (EXEC, LOAD, UNLOAD):
            self.calls.append(command)
        if command == GET_RANGE:
            return self._range(view)
        if command == LOAD:
            return self._load(view)
        kind = view[0]
        if command == UNLOAD:
            self.images.pop(kind, None)
        return int(command == STATUS and kind in self.images)

    def _memory_map(self, view: memoryview) -> int:
        room, address = Struct("<I4xQ").unpack(view)
        packed = b"".join(Struct("<QQI").pack(*entry) for entry in self.e820[:room])
        self._memory[address][: len(packed)] = packed
        Struct("<I").pack_into(view, 0, min(room, len(self.e820)))
        return 0

    def _range(self, view: memoryview) -> int:
        wanted, number, _, _ = _RANGE.unpack(view)
        if wanted == 2 and number >= self.cpus:
            raise OSError(errno.ERANGE, os.strerror(errno.ERANGE))
        found = self.ranges.get((wanted, number))
        if found is not None:
            _RANGE.pack_into(view, 0, wanted, number, found.size, found.start)
        return 0

    def _load(self, view: memoryview) -> int:
        kind, machine, count, array, entry = _LOAD.unpack(view)
        segments = []
        for at in range(count):
            where, size, start, room = _SEGMENT.unpack_from(self._memory[array], at * 32)
            data = bytes(self._memory[where][:size]) if where else None
            segments.append((data, Range.sized(start, room)))
        self.images[kind] = Image(machine, entry, tuple(segments))
        return 0


def facts(xen: FakeXen) -> XenFacts:
    """Return what the hypervisor tells."""
    return XenFacts(
        memory_map=map_of_e820(xen.e820),
        crash_area=xen.ranges.get((0, 0)),
        image=xen.ranges.get((1, 0)),
        cpu_notes=tuple((n, xen.ranges[2, n]) for n in range(xen.cpus) if (2, n) in xen.ranges),
        vmcoreinfo=xen.ranges.get((6, 0)),
        loaded=0 in xen.images,
        crash_loaded=1 in xen.images,
    )
