"""riscv64 machines to compare on, built by hand beside those recorded from guests.

Each stands for one way in which firmware, or the kernel that runs, describes itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from tests.builders.device_trees import Spec, board, build_blob, cells, wide
from tests.builders.machines import MachineDirectory, iomem_of
from tests.builders.riscv64 import DRAM, OPENSBI, opensbi

Properties = dict[str, bytes | str | Sequence[int]]

MIB, GIB = 1 << 20, 1 << 30
PAGE_OFFSET = 0xFF60000000000000
"""With Sv57."""
LINK_ADDRESS = 0xFFFFFFFF80000000
CMDLINE = "BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro  quiet crashkernel=256M cma=128M"
RELEASE = "6.12.107-riscv64"


def image_at(base: int) -> IomemEntry:
    """Make what /proc/iomem shows of a kernel that lies ``base`` bytes into DRAM."""
    parts = [("code", 0x2000, 16), ("rodata", 18 * MIB, 6), ("data", 24 * MIB, 2), ("bss", 0, 1)]
    start = DRAM + base
    spans = [Range.sized(start + at, size * MIB) for _, at, size in parts[:3]]
    spans.append(Range.sized(start + 27 * MIB, MIB))
    names = (f"Kernel {name}" for name, _, _ in parts)
    children = tuple(IomemEntry(span, name) for span, name in zip(spans, names, strict=True))
    return IomemEntry(Range(start + 0x2000, start + 28 * MIB), "Kernel image", children)


def build_board(
    path: Path,
    *,
    iomem: Sequence[IomemEntry],
    tree: bytes,
    base: int = 2 * MIB,
    crash_size: int = 0,
    cpus: int = 2,
) -> Path:
    """Build the directory of a machine whose kernel lies ``base`` bytes into DRAM."""
    machine = MachineDirectory(path)
    state = KernelState(release=RELEASE, crash_size=crash_size, crash_loaded=False)
    machine.write_kernel_state(state)
    text = LINK_ADDRESS + 0x2000
    numbers = {
        "phys_ram_base": str(DRAM),
        "PAGE_OFFSET": hex(PAGE_OFFSET),
        "VA_BITS": "57",
        "KERNEL_LINK_ADDR": hex(LINK_ADDRESS),
        "va_kernel_pa_offset": hex(LINK_ADDRESS - DRAM - base),
    }
    note = {"OSRELEASE": RELEASE, **{f"NUMBER({name})": text for name, text in numbers.items()}}
    ram = [entry.range for entry in iomem if entry.name == "System RAM"]
    loads = [
        {
            "vaddr": hex(PAGE_OFFSET + item.start - DRAM),
            "paddr": hex(item.start),
            "memsz": item.size,
        }
        for item in ram
    ]
    machine.write_description(
        "riscv64", page_size=4096, cpus=cpus, kcore={"loads": loads, "vmcoreinfo": note}
    )
    symbols = {"_text": text, "_start": LINK_ADDRESS, "_stext": text}
    machine.write("proc/kallsyms", "".join(f"{at:016x} T {name}\n" for name, at in symbols.items()))
    machine.write("proc/cmdline", f"{CMDLINE}\n")
    machine.write_iomem(iomem)
    for cpu in range(cpus):
        directory = f"sys/devices/system/cpu/cpu{cpu}"
        machine.write(f"{directory}/crash_notes", f"{DRAM + 0x8000000 + cpu * 0x1000:x}\n")
        machine.write(f"{directory}/crash_notes_size", "380\n")
    machine.write("sys/kernel/vmcoreinfo", f"0x{DRAM + 0x8010000:016x} 1024\n")
    machine.write("sys/firmware/fdt", tree)
    return path


_FIRMWARE = IomemEntry(OPENSBI, "Reserved")


def _board(path: Path) -> Path:
    """A board as QEMU makes it: OpenSBI's memory is no-map, and outside of all RAM."""
    ram = (Range(OPENSBI.end, DRAM + 2 * GIB),)
    chosen: Properties = {
        "bootargs": CMDLINE,
        "stdout-path": "/soc/serial@10000000",
        "rng-seed": bytes(32),
    }
    blob = build_blob(board(chosen, opensbi(), memory=[(DRAM, 2 * GIB)]))
    taken = IomemEntry(Range(DRAM + 0x7FE00000, DRAM + 0x7FE10000), "Reserved")
    iomem = iomem_of(ram, (image_at(2 * MIB), taken), (_FIRMWARE,))
    return build_board(path, iomem=iomem, tree=blob)


def _older_firmware(path: Path) -> Path:
    """A board whose OpenSBI does not say no-map, with memory for a crash kernel."""
    ram = (Range(DRAM, DRAM + 2 * GIB),)
    blob = build_blob(board({"bootargs": CMDLINE}, opensbi(no_map=False), memory=[(DRAM, 2 * GIB)]))
    region = IomemEntry(Range.sized(DRAM + 0x60000000, 256 * MIB), "Crash kernel")
    iomem = iomem_of(ram, (_FIRMWARE, image_at(2 * MIB), region))
    return build_board(path, iomem=iomem, tree=blob, crash_size=256 * MIB, cpus=4)


def _server(path: Path, *, low: bool = False) -> Path:
    """A server with EFI and ACPI, memory in pieces, and memory for a capture kernel high up.

    With ``low``, there is a second reservation for it, as ``crashkernel=SIZE,high`` makes it.
    """
    pieces = [
        Range(0x80080000, 0xF0000000),
        Range(0xF0000000, 0xF8000000),
        Range(0xF8100000, 0xFFC00000),
        Range(0x100000000, 0x400000000),
    ]
    regions = [Range.sized(0x3C0000000, 512 * MIB)]
    regions += [Range.sized(0xE0000000, 128 * MIB)] if low else []
    reserved = [
        *(IomemEntry(region, "Crash kernel") for region in regions),
        IomemEntry(Range(0xFFA00000, 0xFFA40000), "Reserved"),
        IomemEntry(Range(0x3FF000000, 0x3FF800000), "Reserved"),
    ]
    others = (_FIRMWARE, IomemEntry(Range(0xF8000000, 0xF8100000), "Reserved"))
    told: Properties = {
        "bootargs": CMDLINE,
        "linux,uefi-system-table": wide(0xF8050018),
        "linux,uefi-mmap-start": wide(0xFFA00018),
        "linux,uefi-mmap-size": cells(0x1800),
        "linux,uefi-mmap-desc-size": cells(48),
        "linux,uefi-mmap-desc-ver": cells(1),
        "kaslr-seed": wide(0),
    }
    root = {"#address-cells": cells(2), "#size-cells": cells(2)}
    blob = build_blob(Spec("", root, (Spec("chosen", told),)), [(0xFFA40000, 0x10000)])
    iomem = iomem_of(pieces, (image_at(64 * MIB), *reserved), others)
    size = sum(region.size for region in regions)
    return build_board(path, iomem=iomem, tree=blob, base=64 * MIB, crash_size=size, cpus=3)


def _capture(path: Path) -> Path:
    """A machine that runs a capture kernel: /chosen has what that one was told."""
    told: Properties = {
        "bootargs": "irqpoll nr_cpus=1",
        "linux,initrd-start": wide(DRAM + 0x6F000000),
        "linux,initrd-end": wide(DRAM + 0x6F100080),
        "linux,elfcorehdr": wide(DRAM + 0x6FFF0000, 0x400),
        "linux,usable-memory-range": wide(DRAM + 0x60000000, 256 * MIB),
        "linux,ima-kexec-buffer": wide(DRAM + 0x6E000000, 0x2000),
        "linux,booted-from-kexec": b"",
        "kaslr-seed": wide(0x123456789ABCDEF0),
    }
    tree = board(told, opensbi(), memory=[(DRAM, 2 * GIB)])
    blob = build_blob(tree, [(DRAM + 0x6E000000, 0x2000)], boot_cpuid=3)
    ram = (Range.sized(DRAM + 0x60000000, 256 * MIB),)
    children = (
        image_at(0x60000000),
        IomemEntry(Range(DRAM + 0x6F000000, DRAM + 0x6F101000), "Reserved"),
        IomemEntry(Range(DRAM + 0x6FFF0000, DRAM + 0x70000000), "ELF Core hdr"),
    )
    iomem = iomem_of(ram, children, (_FIRMWARE,))
    return build_board(path, iomem=iomem, tree=blob, base=0x60000000, cpus=1)


def _without_chosen(path: Path) -> Path:
    """A board whose tree has no /chosen."""
    region = IomemEntry(Range.sized(DRAM + 0x60000000, 256 * MIB), "Crash kernel")
    ram = (Range(OPENSBI.end, DRAM + 2 * GIB),)
    blob = build_blob(board(None, opensbi(), memory=[(DRAM, 2 * GIB)]))
    iomem = iomem_of(ram, (image_at(2 * MIB), region), (_FIRMWARE,))
    return build_board(path, iomem=iomem, tree=blob, crash_size=256 * MIB)


TWO_REGIONS = "two-regions"
BUILT: Mapping[str, Callable[[Path], Path]] = {
    "board": _board,
    "older-firmware": _older_firmware,
    "server": _server,
    TWO_REGIONS: partial(_server, low=True),
    "capture": _capture,
    "without-chosen": _without_chosen,
}
FOR_CRASHES = ("older-firmware", "server", "without-chosen")
