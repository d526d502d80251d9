"""loongarch64 machines to compare on, built by hand beside those recorded from guests.

Each stands for one way in which memory is there: a small block at the start and the rest above 2
GiB, nodes that begin at multiples of 16 TiB, one region for crash kernels or two, and a kernel of
small pages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from tests.builders.machines import MachineDirectory, iomem_of

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
CMDLINE = "BOOT_IMAGE=/boot/vmlinuz root=/dev/sda2 ro  quiet crashkernel=512M mem=8G"
RELEASE = "7.2.13+deb14-loong64"
CACHED = 0x9000 << 48
LOW = Range(2 * MIB, 254 * MIB)
"""Of a board: what is below the devices."""


def kernel_at(start: int) -> list[IomemEntry]:
    """Make what /proc/iomem shows of a kernel whose image begins at ``start``."""
    parts = (("code", 0, 0x10E0000), ("data", 0x10E0000, 0x7C0000), ("bss", 0x18C0000, 0x120000))
    return [IomemEntry(Range.sized(start + at, size), f"Kernel {name}") for name, at, size in parts]


def build_board(
    path: Path,
    ram: Sequence[Range],
    *,
    regions: Sequence[Range] = (),
    reserved: Sequence[Range] = (),
    kernel: int = 2 * MIB,
    page_size: int = 16 * KIB,
    cpus: int = 2,
) -> Path:
    """Build the directory of a machine with ``ram``, whose kernel's image begins at ``kernel``."""
    machine = MachineDirectory(path)
    size = sum(region.size for region in regions)
    machine.write_kernel_state(KernelState(release=RELEASE, crash_size=size, crash_loaded=False))
    loads = [
        {"vaddr": hex(CACHED | item.start), "paddr": hex(item.start), "memsz": item.size}
        for item in ram
    ]
    kcore = {"loads": loads, "vmcoreinfo": {"OSRELEASE": RELEASE}}
    machine.write_description("loongarch64", page_size=page_size, cpus=cpus, kcore=kcore)
    machine.write("proc/cmdline", f"{CMDLINE}\n")
    text = CACHED | kernel
    machine.write("proc/kallsyms", "".join(f"{text:016x} T {name}\n" for name in ("_text",)))
    children = [
        *kernel_at(kernel),
        *(IomemEntry(region, "Crash kernel") for region in regions),
        *(IomemEntry(item, "Reserved") for item in reserved),
    ]
    machine.write_iomem(iomem_of(ram, children))
    for cpu in range(cpus):
        directory = f"sys/devices/system/cpu/cpu{cpu}"
        machine.write(f"{directory}/crash_notes", f"{ram[0].start + 0x800000 + cpu * 0x1000:x}\n")
        machine.write(f"{directory}/crash_notes_size", "488\n")
    machine.write("sys/kernel/vmcoreinfo", f"0x{ram[0].start + 0x810000:016x} 1024\n")
    return path


def _board(path: Path) -> Path:
    """A board without memory for a crash kernel, as QEMU makes it."""
    high = Range(0x80000000, 0xF0000000)
    return build_board(path, [LOW, high], reserved=[Range(0xEFC00000, 0xEFF00000)])


def _crash(path: Path) -> Path:
    """The same with a region in the larger block."""
    region = Range.sized(0xC0000000, 512 * MIB)
    return build_board(path, [LOW, Range(0x80000000, 0xF0000000)], regions=[region], cpus=4)


def _two_regions(path: Path) -> Path:
    """A server with a region above 4 GiB, and one below for devices."""
    ram = [LOW, Range(0x90400000, 0xFA180000), Range(0x100000000, 0x480000000)]
    regions = [Range.sized(0x460000000, 512 * MIB), Range.sized(0xE0000000, 128 * MIB)]
    return build_board(path, ram, regions=regions, reserved=[Range(0xFA120000, 0xFA180000)])


def _nodes(path: Path) -> Path:
    """Two nodes; the region is on the second."""
    node = 1 << 44
    ram = [
        *(LOW, Range(0x90000000, 0x280000000)),
        *(Range(node + 2 * MIB, node + 254 * MIB), Range(node + 0x90000000, node + 0x280000000)),
    ]
    region = Range.sized(node + 0x240000000, 768 * MIB)
    return build_board(path, ram, regions=[region], page_size=4 * KIB, cpus=8)


def _high_only(path: Path) -> Path:
    """A server whose memory begins above what kernels are linked for."""
    ram = [Range(0x90400000, 0xFA180000), Range(0x100000000, 0x480000000)]
    return build_board(path, ram, kernel=0x90400000)


HIGH_ONLY = "high-only"
BUILT: Mapping[str, Callable[[Path], Path]] = {
    "board": _board,
    "crash": _crash,
    "two-regions": _two_regions,
    "nodes": _nodes,
    HIGH_ONLY: _high_only,
}
FOR_CRASHES = ("crash", "two-regions", "nodes")
