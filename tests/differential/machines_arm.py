"""Machines of 32-bit ARM to compare on, built by hand beside those recorded from guests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from tests.builders.arm import DRAM
from tests.builders.device_trees import Spec, board, build_blob
from tests.builders.machines import MachineDirectory, iomem_of

MIB, GIB = 1 << 20, 1 << 30
CMDLINE = "BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro  quiet crashkernel=128M"
RELEASE = "6.12.117+deb13-armmp"
REGION = Range.sized(DRAM + 128 * MIB, 128 * MIB)
LOWMEM = 768 * MIB


def _build(
    path: Path, *, ram: Sequence[Range], region: Range | None = None, nodes: Sequence[Spec] = ()
) -> Path:
    """Build the directory of a machine whose kernel lies at the start of ``ram``."""
    machine = MachineDirectory(path)
    size = region.size if region else 0
    state = KernelState(release=RELEASE, crash_size=size, crash_loaded=False)
    machine.write_kernel_state(state)
    machine.write_description("armv7l", page_size=4096, cpus=2)
    start = ram[0].start
    machine.write("proc/kallsyms", "c0300000 T _stext\n")
    machine.write("proc/cmdline", f"{CMDLINE}\n")
    children = [
        IomemEntry(Range.sized(start + 0x208000, 19 * MIB), "Kernel code"),
        IomemEntry(Range.sized(start + 23 * MIB, 4 * MIB), "Kernel data"),
    ]
    if region is not None:
        children.append(IomemEntry(region, "Crash kernel"))
    machine.write_iomem(iomem_of(ram, children))
    zones = f"Node 0, zone   Normal\n  start_pfn:           {start >> 12}\n"
    if ram[0].size > LOWMEM:
        zones += f"Node 0, zone  HighMem\n  start_pfn:           {start + LOWMEM >> 12}\n"
    machine.write("proc/zoneinfo", zones)
    for cpu in range(2):
        directory = f"sys/devices/system/cpu/cpu{cpu}"
        machine.write(f"{directory}/crash_notes", f"{start + 0x2F000000 + cpu * 0x1000:x}\n")
        machine.write(f"{directory}/crash_notes_size", "180\n")
    machine.write("sys/kernel/vmcoreinfo", f"0x{start + 0x2F010000:08x} 1024\n")
    memory = [(item.start, item.size) for item in ram]
    chosen = {"bootargs": CMDLINE, "stdout-path": "/pl011@9000000"}
    machine.write("sys/firmware/fdt", build_blob(board(chosen, *nodes, memory=memory)))
    return path


BUILT: Mapping[str, Callable[[Path], Path]] = {
    "board": partial(_build, ram=(Range.sized(DRAM, 512 * MIB),)),
    "highmem": partial(_build, ram=(Range.sized(DRAM, 2 * GIB),), region=REGION),
    "two-banks": partial(
        _build,
        ram=(Range.sized(0x80000000, 512 * MIB), Range.sized(0xC0000000, 512 * MIB)),
    ),
}
