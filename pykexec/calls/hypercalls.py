"""The way to Xen's hypervisor, and the questions that it is asked.

A hypercall is an ioctl of /dev/xen/privcmd (Linux include/uapi/xen/privcmd.h). What its argument
points to has to stay where it is while the hypervisor reads it: such memory comes from
/dev/xen/hypercall (Linux 4.18, drivers/xen/privcmd-buf.c). The calls that change something are in
:mod:`pykexec.calls.xen`.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from struct import Struct

from pykexec.calls._kexec_abi import ffi
from pykexec.calls.xen_structures import (
    E820_ENTRY,
    KEXEC_OP,
    MEMORY_MAP,
    MEMORY_OP,
    PAGE,
    XENMEM_MACHINE_MEMORY_MAP,
    KexecCommand,
    KexecRange,
    KexecType,
    e820_entries,
    range_argument,
    range_of,
    type_argument,
)
from pykexec.values.units import align_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pykexec.values.buffers import Buffer
    from pykexec.values.ranges import Range

PRIVCMD = "/dev/xen/privcmd"
BUFFERS = "/dev/xen/hypercall"

_PRIVCMD_HYPERCALL = Struct("<6Q")
"""struct privcmd_hypercall: op, arg[5]."""
_IOCTL_PRIVCMD_HYPERCALL = _PRIVCMD_HYPERCALL.size << 16 | ord("P") << 8
"""_IOC(_IOC_NONE, 'P', 0, sizeof(struct privcmd_hypercall))."""
_E820_FIRST = 128
"""Entries that there is room for at first."""
_E820_MOST = 1 << 16


class Hypervisor:
    """The hypervisor below this dom0. Use it as a context manager.

    Its methods raise OSError: of the devices when it is entered, later the errno of the call.
    """

    def __init__(self) -> None:
        self._call = self._buffers = -1
        self._kept: list[Any] = []

    def __enter__(self) -> Hypervisor:
        """Open both devices."""
        self._call = os.open(PRIVCMD, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._buffers = os.open(BUFFERS, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            os.close(self._call)
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        """Close them; the memory goes with the last view of it."""
        self._kept.clear()
        os.close(self._buffers)
        os.close(self._call)

    def place(self, data: Buffer, size: int | None = None) -> tuple[int, memoryview]:
        """Copy ``data`` where the hypervisor can read it; ``size`` bytes, zeros behind.

        Returns the address in this program, and the memory; both are good for this block.
        """
        length = len(data) if size is None else size
        room = mmap.mmap(
            self._buffers,
            align_up(max(length, 1), PAGE),
            mmap.MAP_SHARED,
            mmap.PROT_READ | mmap.PROT_WRITE,
        )
        held = ffi.from_buffer(room)
        self._kept.append((held, room))
        view = memoryview(room)[:length]
        view[: len(data)] = memoryview(data).cast("B")
        return int(ffi.cast("uintptr_t", held)), view

    def hypercall(self, op: int, *arguments: int) -> int:
        """Call the hypervisor; returns what it returns where that is no error."""
        words = (*arguments, *[0] * (5 - len(arguments)))
        argument = bytearray(_PRIVCMD_HYPERCALL.pack(op, *words))
        result: int = fcntl.ioctl(self._call, _IOCTL_PRIVCMD_HYPERCALL, argument)
        return result

    def kexec(self, command: KexecCommand, argument: bytes) -> tuple[int, bytes]:
        """Do a ``kexec_op``; returns its result and what it has made of the argument."""
        address, view = self.place(argument)
        result = self.hypercall(KEXEC_OP, command, address)
        return result, bytes(view)

    def is_loaded(self, kind: KexecType) -> bool:
        """Tell whether an image of the kind is loaded."""
        return bool(self.kexec(KexecCommand.KEXEC_CMD_kexec_status, type_argument(kind))[0])

    def range(self, wanted: KexecRange, number: int = 0) -> Range | None:
        """Return where something lies, in machine addresses; None where it is nowhere."""
        argument = range_argument(wanted, number)
        return range_of(self.kexec(KexecCommand.KEXEC_CMD_kexec_get_range, argument)[1])

    def cpu_notes(self) -> tuple[tuple[int, Range], ...]:
        """Return (processor, its notes) for all of the machine's processors that have any."""
        found: list[tuple[int, Range]] = []
        number = 0
        while True:
            try:
                notes = self.range(KexecRange.KEXEC_RANGE_MA_CPU, number)
            except OSError as error:
                # The first number behind the last processor: xen/common/kexec.c, "kexec_get_cpu".
                if error.errno == errno.ERANGE:
                    return tuple(found)
                raise
            if notes is not None:
                found.append((number, notes))
            number += 1

    def memory_map(self) -> list[tuple[int, int, int]]:
        """Return the machine's map: (machine address, bytes, E820 type) of each entry."""
        room = _E820_FIRST
        while True:
            entries, data = self.place(b"", room * E820_ENTRY.size)
            address, view = self.place(MEMORY_MAP.pack(room, entries))
            self.hypercall(MEMORY_OP, XENMEM_MACHINE_MEMORY_MAP, address)
            count = MEMORY_MAP.unpack(view)[0]
            # It fills what room there is, and does not say that there is more.
            if count < room or room >= _E820_MOST:
                return e820_entries(bytes(data[: count * E820_ENTRY.size]))
            room *= 2


def open_hypervisor() -> Hypervisor:
    """Return the hypervisor, not yet opened."""
    return Hypervisor()
