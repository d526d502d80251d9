"""arm64 machines to compare on, built by hand beside those recorded from guests.

Each stands for one way in which firmware, or the kernel that runs, describes itself.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from tests.builders.arm64 import server_iomem
from tests.builders.device_trees import Spec, board, build_blob, cells, wide
from tests.builders.machines import MachineDirectory, iomem_of

MIB, GIB = 1 << 20, 1 << 30
KIMAGE_VOFFSET = 0xFFFF7FFF40000000
DIRECT_MAP = 0xFFFF000000000000
"""Of a kernel for 48 bits, in the layout since Linux v5.4."""
CMDLINE = (
    "BOOT_IMAGE=/vmlinuz root=/dev/sda2 ro  quiet retain_initrd crashkernel=1G,high "
    "crashkernel=128M,low log_buf_len=16M cma=512M swiotlb=65536"
)
RELEASE = "6.12.107-arm64"

_RAM = (Range(GIB, 4 * GIB),)
_KERNEL = (
    IomemEntry(Range(0x40210000, 0x41800000), "Kernel code"),
    IomemEntry(Range(0x41800000, 0x419C0000), "reserved"),
    IomemEntry(Range(0x419C0000, 0x41D00000), "Kernel data"),
)
_LOW, _HIGH = Range(0xE0000000, 0xE8000000), Range(0x80400000000, 0x80440000000)


def build_board(
    path: Path,
    *,
    iomem: Sequence[IomemEntry],
    tree: bytes | Spec,
    page_size: int = 4096,
    crash: bool = False,
    image: int = 0x40200000,
    cpus: int = 2,
) -> Path:
    """Build the directory of a machine whose kernel has its ``_text`` at ``image``.

    ``tree`` is the blob, or the node that /proc/device-tree shows when there is no blob.
    """
    machine = MachineDirectory(path)
    state = KernelState(release=RELEASE, crash_size=GIB if crash else 0, crash_loaded=crash)
    machine.write_kernel_state(state, old_names=True)
    base = min(entry.range.start for entry in iomem if entry.name.startswith("System RAM"))
    numbers = {"VA_BITS": "48", "PHYS_OFFSET": hex(base), "kimage_voffset": hex(KIMAGE_VOFFSET)}
    note = {"OSRELEASE": RELEASE, **{f"NUMBER({name})": text for name, text in numbers.items()}}
    vaddr = image + KIMAGE_VOFFSET
    loads = [{"vaddr": hex(vaddr), "paddr": hex(image), "memsz": 32 * MIB}]
    machine.write_description(
        "aarch64", page_size=page_size, cpus=cpus, kcore={"loads": loads, "vmcoreinfo": note}
    )
    symbols = {"_text": vaddr, "_stext": vaddr + 0x10000, "__init_begin": vaddr + 0x1600000}
    lines = (f"{address:016x} T {name}\n" for name, address in symbols.items())
    machine.write("proc/kallsyms", "".join(lines))
    machine.write("proc/cmdline", f"{CMDLINE}\n")
    machine.write_iomem(iomem)
    for cpu in range(cpus):
        directory = f"sys/devices/system/cpu/cpu{cpu}"
        machine.write(f"{directory}/crash_notes", f"{base + 0x8000000 + cpu * 0x1000:x}\n")
        machine.write(f"{directory}/crash_notes_size", "424\n")
    machine.write("sys/kernel/vmcoreinfo", f"0x{base + 0x8010000:016x} 1024\n")
    if isinstance(tree, Spec):
        _write_directories(machine, "proc/device-tree", tree)
    else:
        machine.write("sys/firmware/fdt", tree)
    return path


def _write_directories(machine: MachineDirectory, where: str, node: Spec) -> None:
    """Write a node as Linux shows it: each has a property ``name``, made up by the kernel."""
    properties = {"name": (node.name or "").partition("@")[0], **node.properties}
    for name, value in properties.items():
        text = value.encode() + b"\0" if isinstance(value, str) else value
        machine.write(f"{where}/{name}", text if isinstance(text, bytes) else cells(*text))
    for child in node.children:
        _write_directories(machine, f"{where}/{child.name}", child)


def _plain(chosen: Mapping[str, bytes | str] | None, *more: Spec) -> Spec:
    return board(chosen, *more, memory=[(item.start, item.size) for item in _RAM])


def _server(path: Path, page_size: int) -> Path:
    """A server with EFI, memory in many pieces, and two reservations for a capture kernel."""
    reserved = [IomemEntry(item, "Crash kernel") for item in (_LOW, _HIGH)]
    iomem = [
        replace(
            entry,
            children=tuple(
                sorted(
                    (*entry.children, *(r for r in reserved if entry.range.contains(r.range))),
                    key=lambda item: item.range,
                )
            ),
        )
        for entry in server_iomem()
    ]
    tree = Spec(
        "",
        {"#address-cells": cells(2), "#size-cells": cells(2)},
        (
            Spec(
                "chosen",
                {
                    "bootargs": CMDLINE,
                    "linux,uefi-system-table": wide(0xF8100018),
                    "linux,uefi-mmap-start": wide(0xF8200018),
                    "linux,uefi-mmap-size": cells(0x1800),
                    "linux,uefi-mmap-desc-size": cells(48),
                    "linux,uefi-mmap-desc-ver": cells(1),
                    "kaslr-seed": wide(0),
                },
            ),
        ),
    )
    blob = build_blob(tree, [(0x88300000, 0x100000)])
    return build_board(
        path, iomem=iomem, tree=blob, page_size=page_size, crash=True, image=0xD54E0000, cpus=3
    )


def _capture(path: Path) -> Path:
    """A machine that runs a capture kernel: /chosen has what that one was told.

    Its initrd was retained.
    """
    told: dict[str, bytes | str] = {
        "bootargs": "irqpoll nr_cpus=1",
        "linux,initrd-start": wide(0x48000000),
        "linux,initrd-end": wide(0x48100080),
        "linux,elfcorehdr": wide(0x5FFF0000, 0x400),
        "linux,usable-memory-range": wide(0x48000000, 0x18000000),
        "kaslr-seed": wide(0),
        "rng-seed": bytes(32),
        "stdout-path": "/pl011@9000000",
    }
    reserved = [(0x48000000, 0x101000), (0x5FFF0000, 0x400), (0x80000000, 0x10000)]
    ram = (Range(0x48000000, 0x60000000),)
    children = (
        IomemEntry(Range(0x48000000, 0x48101000), "reserved"),
        IomemEntry(Range(0x49000000, 0x4A600000), "Kernel code"),
        IomemEntry(Range(0x4A600000, 0x4A700000), "Kernel data"),
        IomemEntry(Range(0x5FFF0000, 0x60000000), "reserved"),
    )
    return build_board(
        path,
        iomem=iomem_of(ram, children),
        tree=build_blob(_plain(told), reserved, boot_cpuid=3),
        image=0x48FF0000,
    )


def _buffers(path: Path) -> Path:
    """A machine that was booted by kexec_file_load, with buffers of three kinds.

    Firmware keeps some memory to itself.
    """
    told = {
        "linux,ima-kexec-buffer": wide(0xF0000000, 0x2000),
        "linux,tpm-kexec-buffer": wide(0xF0010000, 0x10000),
        "linux,kho-fdt": wide(0xF0100000, 0x1000),
        "linux,kho-scratch": wide(0xF0200000, 0x1000),
        "linux,booted-from-kexec": b"",
        "linux,pci-probe-only": cells(1),
    }
    reserved = [(0xF0000000, 0x2000), (0xF0010000, 0x10000), (0xFFFF0000, 0x1000)]
    firmware = Spec("firmware@f8000000", {"reg": wide(0xF8000000, MIB), "no-map": b""})
    node = Spec(
        "reserved-memory",
        {"#address-cells": cells(2), "#size-cells": cells(2), "ranges": b""},
        (firmware,),
    )
    tree = build_blob(_plain(told, node), [*reserved, reserved[-1]])
    shown = IomemEntry(Range.sized(0xFFFF0000, 0x1000), "reserved")
    return build_board(path, iomem=iomem_of(_RAM, (*_KERNEL, shown)), tree=tree)


def _without_chosen(path: Path) -> Path:
    """A machine whose tree has no /chosen, with one reservation."""
    region = IomemEntry(Range(0xC0000000, 0xD0000000), "Crash kernel")
    iomem = iomem_of(_RAM, (*_KERNEL, region))
    return build_board(path, iomem=iomem, tree=build_blob(_plain(None)), crash=True)


def _unwiped(path: Path) -> Path:
    """A machine whose kernel has left its seed in the tree."""
    tree = build_blob(_plain({"kaslr-seed": wide(0x0123456789ABCDEF)}))
    return build_board(path, iomem=iomem_of(_RAM, _KERNEL), tree=tree)


def _narrow(path: Path) -> Path:
    """A machine with 32-bit addresses, whose RAM goes on under another name and behind a hole."""
    node = Spec(
        "",
        {"#address-cells": cells(1), "#size-cells": cells(1), "model": "narrow"},
        (
            Spec("memory@40000000", {"device_type": "memory", "reg": cells(GIB, GIB)}),
            Spec("chosen", {"bootargs": "", "kaslr-seed": cells(0, 0), "rng-seed": b"r" * 32}),
        ),
    )
    pieces = [Range(0x40000000, 0x60000000), Range(0x60000000, 0x70000000)]
    crash = IomemEntry(Range(0x50000000, 0x58000000), "Crash kernel")
    more = [
        IomemEntry(Range(0x70000000, 0x78000000), "System RAM (kmem)"),
        IomemEntry(Range(0x7C000000, 0x80000000), "System RAM (virtio_mem)"),
    ]
    iomem = iomem_of(pieces, (*_KERNEL, crash), more)
    return build_board(path, iomem=iomem, tree=build_blob(node), crash=True)


def _directories(path: Path) -> Path:
    """A machine without a blob, so that the tree has to be flattened from its directories."""
    told = {"bootargs": "root=/dev/vda1 quiet", "stdout-path": "/pl011@9000000"}
    return build_board(path, iomem=iomem_of(_RAM, _KERNEL), tree=_plain(told))


def _measured(path: Path) -> Path:
    """A machine whose kernel shows a list of measurements: two entries, as ima-ng makes them."""
    build_board(path, iomem=iomem_of(_RAM, _KERNEL), tree=build_blob(_plain({})))
    data = b"sha256:\0" + bytes(32)
    entry = struct.pack("<I20sI6sI", 10, bytes(20), 6, b"ima-ng", len(data)) + data
    MachineDirectory(path).write("sys/kernel/security/ima/binary_runtime_measurements", 2 * entry)
    return path


BUILT: Mapping[str, Callable[[Path], Path]] = {
    "server": partial(_server, page_size=4096),
    "server-64k": partial(_server, page_size=65536),
    "capture": _capture,
    "buffers": _buffers,
    "without-chosen": _without_chosen,
    "narrow": _narrow,
    "directories": _directories,
    "measured": _measured,
    "unwiped": _unwiped,
}
FOR_CRASHES = ("server", "server-64k", "without-chosen", "narrow")
