"""What a machine directory says, and where segments go by rule: a second opinion.

Nothing of pykexec is used here. The reading is the simplest that does for well-formed
files, the search for a place is the plain one over a list of ranges.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

PAGE = 4096
MIB = 1 << 20
TOP = (1 << 64) - 1

Span = tuple[int, int]
"""Physical bytes, the end exclusive."""


@dataclass(frozen=True)
class Machine:
    """A machine directory, read independently of pykexec."""

    path: Path

    def number(self, name: str) -> int | None:
        """Return a file's hexadecimal number, None when there is no such file."""
        file = self.path / name
        return int(file.read_text(), 16) if file.exists() else None

    @cached_property
    def firmware_map(self) -> list[tuple[Span, str]]:
        """/sys/firmware/memmap in ascending order, with the kernel's names of types."""
        directories = (self.path / "sys/firmware/memmap").glob("*")
        found = []
        for entry in directories:
            first, last = (int((entry / name).read_text(), 16) for name in ("start", "end"))
            found.append(((first, last + 1), (entry / "type").read_text().strip()))
        return sorted(found)

    @cached_property
    def iomem(self) -> list[tuple[int, Span, str]]:
        """/proc/iomem as (depth, range, name), in the order of the file."""
        found = []
        for line in (self.path / "proc/iomem").read_text().splitlines():
            match = re.fullmatch(r"( *)([0-9a-f]+)-([0-9a-f]+) : ?(.*)", line)
            assert match, line
            span = (int(match[2], 16), int(match[3], 16) + 1)
            found.append((len(match[1]) // 2, span, match[4]))
        return found

    @property
    def memory_map(self) -> list[tuple[Span, str]]:
        """The firmware's map, or for want of it the top level of /proc/iomem."""
        top = [(span, name) for depth, span, name in self.iomem if depth == 0]
        return self.firmware_map or top

    @property
    def boot_params(self) -> bytes | None:
        """The running kernel's zero page."""
        file = self.path / "sys/kernel/boot_params/data"
        return file.read_bytes() if file.exists() else None

    @property
    def cmdline(self) -> str:
        """The running kernel's command line."""
        return (self.path / "proc/cmdline").read_text().rstrip("\n")

    def listed(self, name: str) -> list[str]:
        """Return a directory's names in the order in which readdir(3) gives them."""
        directory = self.path / name
        return os.listdir(directory) if directory.is_dir() else []


def subtract(spans: Iterable[Span], taken: Iterable[Span]) -> list[Span]:
    """Return what of ``spans`` is in none of ``taken``; the pieces are not joined."""
    left = sorted(spans)
    for start, end in taken:
        pieces = []
        for low, high in left:
            pieces += [(low, min(high, start)), (max(low, end), high)]
        left = [(low, high) for low, high in pieces if low < high]
    return sorted(left)


def joined(spans: Iterable[Span]) -> list[Span]:
    """Join neighbours that touch."""
    out: list[Span] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def ram_of_firmware(machine: Machine) -> list[Span]:
    """The C tool's free memory: the memory map's RAM, each entry for itself, from 0x400 on."""
    ram = [span for span, name in machine.memory_map if name == "System RAM"]
    return [(max(start, 0x400), end) for start, end in ram]


def ram_of_kernel(machine: Machine) -> list[Span]:
    """pykexec's free memory: the kernel's RAM without what it has reserved inside.

    Where the firmware has a map, only what that calls RAM too.
    """
    ram: list[Span] = []
    taken: list[Span] = []
    inside = False
    for depth, span, name in machine.iomem:
        if depth == 0:
            inside = name == "System RAM"
            ram += [span] if inside else []
        elif inside and not name.startswith("Kernel "):
            taken.append(span)
    free = subtract(joined(ram), taken)
    if machine.firmware_map:
        other = [span for span, name in machine.firmware_map if name == "System RAM"]
        outside = subtract([(0, TOP)], joined(other))
        free = subtract(free, outside)
    return free


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a kernel file that decide about places and appear in the zero page."""

    setup_size: int
    """Bytes of real-mode code, the boot sector included."""
    loadflags: int
    root_flags: int
    root_dev: int
    boot_flag: int
    kernel_alignment: int
    pref_address: int
    init_size: int
    efi_kexec: bool


def read_header(kernel: bytes) -> Header:
    """Read a bzImage's header (Linux Documentation/arch/x86/boot.rst)."""

    def number(offset: int, size: int) -> int:
        return int.from_bytes(kernel[offset : offset + size], "little")

    return Header(
        setup_size=((kernel[0x1F1] or 4) + 1) * 512,
        loadflags=kernel[0x211],
        root_flags=number(0x1F2, 2),
        root_dev=number(0x1FC, 2),
        boot_flag=number(0x1FE, 2),
        kernel_alignment=number(0x230, 4),
        pref_address=number(0x258, 8),
        init_size=number(0x260, 4),
        efi_kexec=bool(number(0x236, 2) >> 4 & 1),
    )


@dataclass(slots=True)
class Allocator:
    """Takes places out of free memory, the way both tools look for them."""

    free: list[Span]
    mem_min: int = 0
    mem_max: int = TOP
    """Inclusive."""
    page: int = PAGE
    placed: dict[str, int] = field(default_factory=dict)

    def _candidates(self, size: int, align: int, lowest: int) -> list[Span]:
        found = []
        for start, end in self.free:
            low = -(-max(start, lowest, self.mem_min) // align) * align
            high = min(end, self.mem_max + 1)
            if low + size <= high:
                found.append((low, high))
        return found

    def has_room(self, size: int, lowest: int) -> bool:
        """Tell whether ``size`` bytes, in whole pages, have a place."""
        return bool(self._candidates(-(-size // self.page) * self.page, self.page, lowest))

    def take(
        self, name: str, size: int, *, align: int = 1, lowest: int = 0, bottom_up: bool = False
    ) -> None:
        """Place ``size`` bytes, in whole pages: at the highest place or at the lowest."""
        size = -(-size // self.page) * self.page
        align = max(align, self.page)
        candidates = self._candidates(size, align, lowest)
        assert candidates, f"no place for {name}"
        highest = (candidates[-1][1] - size) // align * align
        address = candidates[0][0] if bottom_up else highest
        self.placed[name] = address
        self.free = subtract(self.free, [(address, address + size)])


def place_like_c(allocator: Allocator, sizes: Sequence[tuple[str, int]], header: Header) -> None:
    """Place in the C tool's order; ``sizes`` holds what there is besides the four segments."""
    given = dict(sizes)
    allocator.take("purgatory", given["purgatory"], lowest=0x3000)
    allocator.take("parameters", given["parameters"], lowest=0x3000)
    _place_files(allocator, given, header, header.init_size, lowest=MIB)
    for name in ("setup_data.4", "efi_memmap", "setup_data.1", "setup_data.9"):
        if name in given:
            allocator.take(name, given[name], lowest=MIB, bottom_up=True)


def place_like_ours(allocator: Allocator, sizes: Sequence[tuple[str, int]], header: Header) -> None:
    """Place by pykexec's documented rules."""
    given = dict(sizes)
    allocator.take("purgatory", given["purgatory"], lowest=MIB)
    allocator.take("parameters", given["parameters"], lowest=MIB)
    size = max(header.init_size, given["payload"])
    _place_files(allocator, given, header, size, lowest=max(header.pref_address, MIB))
    if "setup_data" in given:
        allocator.take("setup_data", given["setup_data"], lowest=MIB)


def _place_files(
    allocator: Allocator, given: dict[str, int], header: Header, size: int, lowest: int
) -> None:
    """Place the kernel, ``size`` bytes from ``lowest`` on, and the initrd: common to both."""
    allocator.take("kernel", size, align=header.kernel_alignment, lowest=lowest)
    if "initrd" in given:
        allocator.take("initrd", given["initrd"], lowest=16 * MIB)
