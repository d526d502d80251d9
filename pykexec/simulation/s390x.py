"""The emulated machine for an s390x plan: QEMU's ``s390-ccw-virtio`` without firmware. Pure.

A kernel there takes nothing from firmware but what the machine answers when it is asked: memory,
processors, devices. So a small program of ours (purgatory/start/s390x.S) is started in the place of
a kernel, waits until the segments are in memory, and leaves as the running kernel does: by a reset
that loads a PSW of 31 bits, or after a crash by calling the purgatory twice.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.purgatory_objects import load_start
from pykexec.simulation.emulated import (
    Bank,
    EmulatedMachine,
    StartProgram,
    segment_contents,
    told_ram,
)
from pykexec.values.calls import Target
from pykexec.values.errors import SimulationError
from pykexec.values.ranges import Range
from pykexec.values.units import MIB, align_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from pykexec.planning.plans import SegmentPlan

COUNTER = re.compile(r"\bPSW=mask [0-9a-f]{16} addr ([0-9a-f]{16})\b")
VECTORS: Range | None = None

_STATE, _ENTRY, _CRASH = 0x200, 0x208, 0x210
"""In the start program: physical addresses of what it tells and is told."""
_READY, _GO = (number.to_bytes(8, "big") for number in (1, 2))
_PROGRAM = Range(0, 0x4000)
"""With its stack."""
_RAM_UNIT = 256 * MIB
"""Of such multiples QEMU cuts nothing off, up to 255 GiB: it counts memory in at most 1020 pieces
(hw/s390x/s390-virtio-ccw.c, "s390_fixup_ram_size")."""


def emulate(plan: SegmentPlan) -> EmulatedMachine:
    """Return the machine for ``plan``; raises :class:`SimulationError` if there is none."""
    for item in plan.segments:
        if item.dest.overlaps(_PROGRAM):
            raise SimulationError(
                f"cannot simulate: {item.role} {item.dest} lies on {_PROGRAM}, which the start "
                "program uses",
                hint="plan with a higher --mem-min to try out the rest of the layout",
            )
    memory = align_up(max(item.end for item in told_ram(plan)), _RAM_UNIT)
    crash = plan.target is Target.CRASH
    image = bytearray(load_start("s390x"))
    image[_ENTRY : _ENTRY + 8] = plan.entry.to_bytes(8, "big")
    image[_CRASH : _CRASH + 8] = crash.to_bytes(8, "big")
    return EmulatedMachine(
        program="qemu-system-s390x",
        package="qemu-system-misc (of Debian 14 qemu-system-s390x)",
        title="QEMU's s390-ccw-virtio without firmware",
        words=("-nodefaults", "-cpu", "max", "-smp", "1"),
        board="s390-ccw-virtio",
        memory=memory,
        banks=(Bank(Range(0, memory), 0),),
        contents=segment_contents(plan),
        start=StartProgram(
            image=bytes(image), ready=(_STATE, _READY), go=(_STATE, _GO), settle=_settle
        ),
    )


def _settle(_: Callable[[int, int], bytes]) -> tuple[tuple[int, bytes], ...]:
    """Return nothing to move: there is no firmware that keeps memory."""
    return ()
