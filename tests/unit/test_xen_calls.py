"""What is handed to Xen, byte for byte, and the way to it."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pykexec.calls import hypercalls, xen
from pykexec.calls.xen_structures import (
    FIRST_MIB,
    KexecCommand,
    KexecRange,
    KexecType,
    XenSegment,
    exec_argument,
    pack_segments,
    range_argument,
    range_of,
    type_argument,
    xen_segments,
)
from pykexec.errors import KernelRejectedError, PykexecError
from pykexec.planning.planner import plan
from pykexec.values.calls import Target
from pykexec.values.data_classes import replace
from pykexec.values.ranges import Range, RangeSet
from tests.builders import plans

PAGE = 4096


def test_arguments() -> None:
    """xen/include/public/kexec.h, as a compiler for x86_64 lays it out."""
    assert exec_argument(KexecType.KEXEC_TYPE_CRASH) == b"\x01\0\0\0"
    assert type_argument(KexecType.KEXEC_TYPE_CRASH) == b"\x01"
    assert range_argument(KexecRange.KEXEC_RANGE_MA_CPU, 3) == struct.pack("<iiQQ", 2, 3, 0, 0)
    answer = struct.pack("<iiQQ", 0, 0, 0xA000000, 0x2D4E6000)
    assert range_of(answer) == Range.sized(0x2D4E6000, 0xA000000)
    assert range_of(bytes(24)) is None


def test_segments() -> None:
    """Of nothing to copy the data's address is told all the same: then the place is zeroed."""
    segments = [
        XenSegment(b"abc", Range(0x100000, 0x102000)),
        XenSegment(b"", Range(0x102000, 0x103000)),
        XenSegment(None, Range(0, PAGE)),
    ]
    assert struct.unpack("<12Q", pack_segments(segments, [0x7F00, 0x8F00, 0])) == (
        *(0x7F00, 3, 0x100000, 0x2000),
        *(0x8F00, 0, 0x102000, 0x1000),
        *(0, 0, 0, 0x1000),
    )


def test_the_first_mib_is_mapped_around_what_lies_there() -> None:
    made = plan(plans.build_facts(), plans.build_request())
    low = replace(made.segments[0], dest=Range(0x10000, 0x10000 + made.segments[0].dest.size))
    made = replace(made, segments=(low, *made.segments[1:]))
    segments = xen_segments(made)
    mapped = RangeSet(item.dest for item in segments if item.data is None)
    assert mapped == RangeSet([FIRST_MIB]).minus([low.dest])
    assert [item.dest for item in segments] == sorted(item.dest for item in segments)
    assert len(segments) == len(made.segments) + len(mapped)


def test_more_segments_than_xen_takes() -> None:
    made = plan(plans.build_facts(), plans.build_request())
    first = made.segments[0]
    base = 1 << 32
    many = tuple(
        replace(first, dest=Range.sized(base + at * PAGE * 2, PAGE), data=b"") for at in range(15)
    )
    with pytest.raises(PykexecError, match="Xen takes 15 segments, and this load needs 16"):
        xen_segments(replace(made, segments=many))
    assert len(xen_segments(replace(made, segments=many[:14]))) == 15


class Kernel:
    """Answers the ioctl of /dev/xen/privcmd; the devices are files."""

    def __init__(self, answer: Callable[[int, list[int]], int]) -> None:
        self.asked: list[tuple[int, list[int]]] = []
        self._answer = answer

    def ioctl(self, descriptor: int, number: int, argument: bytearray) -> int:
        """See fcntl.ioctl."""
        assert number == 0x305000
        assert isinstance(argument, bytearray)
        op, *words = struct.unpack("<6Q", argument)
        self.asked.append((op, words))
        return self._answer(op, words)


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("privcmd", "hypercall"):
        (tmp_path / name).write_bytes(b"")
        os.truncate(tmp_path / name, 1 << 20)
    monkeypatch.setattr(hypercalls, "PRIVCMD", str(tmp_path / "privcmd"))
    monkeypatch.setattr(hypercalls, "BUFFERS", str(tmp_path / "hypercall"))
    return tmp_path


def test_what_is_placed_is_in_memory_of_the_device(
    devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its address is that of the bytes, which the hypervisor reads and answers into."""
    import ctypes

    def answer(op: int, words: list[int]) -> int:
        assert (op, words[0]) == (37, KexecCommand.KEXEC_CMD_kexec_get_range)
        told = ctypes.string_at(words[1], 24)
        assert struct.unpack("<iiQQ", told) == (2, 1, 0, 0)
        ctypes.memmove(words[1] + 8, struct.pack("<QQ", 0x194, 0x3FC98C00), 16)
        return 0

    kernel = Kernel(answer)
    monkeypatch.setattr(fcntl, "ioctl", kernel.ioctl)
    asked: list[tuple[int, int]] = []
    real = mmap.mmap

    def mapped(descriptor: int, size: int, flags: int, protection: int) -> mmap.mmap:
        asked.append((size, flags))
        return real(descriptor, size, flags, protection)

    monkeypatch.setattr(mmap, "mmap", mapped)
    with hypercalls.open_hypervisor() as hypervisor:
        assert hypervisor.range(KexecRange.KEXEC_RANGE_MA_CPU, 1) == Range.sized(0x3FC98C00, 0x194)
        hypervisor.place(bytes(5000))
    assert asked == [(PAGE, mmap.MAP_SHARED), (2 * PAGE, mmap.MAP_SHARED)]
    assert len(kernel.asked) == 1


@pytest.mark.parametrize("name", ["privcmd", "hypercall"])
def test_a_device_that_is_not_there(devices: Path, name: str) -> None:
    (devices / name).unlink()
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(KernelRejectedError) as caught:
        xen.execute()
    assert f"opening {devices / name} failed: No such file or directory (ENOENT)" in str(
        caught.value
    )
    assert "xen-privcmd" in (caught.value.hint or "")
    assert set(os.listdir("/proc/self/fd")) == before


def test_an_unload_of_nothing_asks_only_whether_there_is_something(
    devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(lambda op, words: 0)
    monkeypatch.setattr(fcntl, "ioctl", kernel.ioctl)
    xen.unload(Target.CRASH)
    assert [words[0] for _, words in kernel.asked] == [KexecCommand.KEXEC_CMD_kexec_status]


def test_processors_end_where_the_hypervisor_says_so(
    devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other error is one."""

    def answer(op: int, words: list[int]) -> int:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(fcntl, "ioctl", Kernel(answer).ioctl)
    with hypercalls.open_hypervisor() as hypervisor, pytest.raises(OSError, match="no"):
        hypervisor.cpu_notes()
