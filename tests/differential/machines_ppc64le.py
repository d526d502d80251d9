"""ppc64le machines to compare on, built by hand beside those recorded from guests.

Each stands for one way in which firmware, or the kernel that runs, describes memory: a bare machine
with OPAL, guests whose memory is in blocks, in either form of the property, a capture kernel's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry
from pykexec.values.ranges import Range
from tests.builders.device_trees import Spec, build_blob, cells, value_of, wide
from tests.builders.machines import MachineDirectory
from tests.builders.ppc64le import lmb_list, lmb_sets

Properties = dict[str, bytes | str | Sequence[int]]

MIB, GIB = 1 << 20, 1 << 30
KERNEL_END = 0x2B30000
CMDLINE = "BOOT_IMAGE=/vmlinux root=/dev/vda2 ro  quiet crashkernel=256M"
RELEASE = "6.12.107-powerpc64le"
LIVE_TREE = "sys/firmware/devicetree/base"
POWER8, POWER9 = 0x4D0200, 0x4E1202
"""Processor versions."""
ASSIGNED, BOOT, FREE = 0x8, 0xA0, 0
"""Flags of memory blocks: used by this machine, in memory@0 already, not there."""
LMBS = "ibm,dynamic-reconfiguration-memory"


def _memory(*ranges: Range) -> list[Spec]:
    """Make the nodes of memory, one for each range."""
    return [
        Spec(
            f"memory@{item.start:x}",
            {"device_type": "memory", "reg": wide(item.start, item.size)},
        )
        for item in ranges
    ]


def _cpus(count: int, version: int) -> Spec:
    nodes = (
        Spec(
            f"PowerPC,POWER@{8 * number:x}",
            {
                "device_type": "cpu",
                "reg": [8 * number],
                "cpu-version": [version],
                "ibm,ppc-interrupt-server#s": [8 * number + thread for thread in range(8)],
            },
        )
        for number in range(count)
    )
    return Spec("cpus", {"#address-cells": [1], "#size-cells": [0]}, tuple(nodes))


def _region(where: Range) -> Properties:
    return {
        "linux,crashkernel-base": wide(where.start),
        "linux,crashkernel-size": wide(where.size),
    }


def build_power(
    path: Path,
    nodes: Sequence[Spec],
    ram: Sequence[Range],
    *,
    chosen: Properties,
    root: Properties | None = None,
    hashed: bool,
    page_size: int = 65536,
    cpus: int = 2,
    version: int = POWER9,
    crash_size: int = 0,
    reservations: Sequence[tuple[int, int]] = (),
) -> Path:
    """Build the directory of a machine with ``ram``, whose live tree has ``nodes`` too."""
    told: Properties = {
        "bootargs": CMDLINE,
        "linux,kernel-end": wide(KERNEL_END),
        "ibm,architecture-vec-5": b"\x19\0\1",
        **chosen,
    }
    own: Properties = {"#address-cells": [2], "#size-cells": [2], **(root or {})}
    tree = Spec("", own, (Spec("chosen", told), _cpus(cpus, version), *nodes))
    machine = MachineDirectory(path)
    state = KernelState(release=RELEASE, crash_size=crash_size, crash_loaded=False)
    machine.write_kernel_state(state)
    machine.write_description("ppc64le", page_size=page_size, cpus=cpus)
    machine.write("proc/cmdline", f"{CMDLINE}\n")
    machine.write("proc/cpuinfo", f"MMU\t\t: {'Hash' if hashed else 'Radix'}\n")
    machine.write_iomem([IomemEntry(item, "System RAM") for item in ram])
    for cpu in range(cpus):
        directory = f"sys/devices/system/cpu/cpu{cpu}"
        machine.write(f"{directory}/crash_notes", f"{0x8000000 + cpu * 0x1000:x}\n")
        machine.write(f"{directory}/crash_notes_size", "536\n")
    machine.write("sys/kernel/vmcoreinfo", "0x0000000009010000 1024\n")
    machine.write("sys/firmware/fdt", build_blob(tree, reservations))
    _write_node(path / LIVE_TREE, tree)
    return path


def _write_node(directory: Path, node: Spec) -> None:
    """Write a node as Linux shows it, with the ``name`` that it makes up."""
    directory.mkdir(parents=True)
    (directory / "name").write_bytes(node.name.partition("@")[0].encode() + b"\0")
    for name, value in node.properties.items():
        (directory / name).write_bytes(value_of(value))
    for child in node.children:
        _write_node(directory / child.name, child)


def _rtas(start: int, size: int, **more: bytes) -> Spec:
    told: Properties = {"linux,rtas-base": [start], "rtas-size": [size], **more}
    return Spec("rtas", told)


_TERMINAL = Spec(
    "vdevice", {}, (Spec("vty@71000000", {"compatible": "hvterm1", "reg": [0x71000000]}),)
)
_STDOUT: Properties = {"linux,stdout-path": "/vdevice/vty@71000000"}


def _powernv(path: Path) -> Path:
    """A bare machine: OPAL inside of the region for a crash kernel, two chips, radix trees."""
    ram = (Range(0, 8 * GIB), Range.sized(1 << 45, 8 * GIB))
    region = Range.sized(128 * MIB, 1 * GIB)
    opal = Spec(
        "ibm,opal",
        {
            "opal-base-address": wide(0x30000000),
            "opal-entry-address": wide(0x300050F0),
            "opal-runtime-size": wide(0x2E10000),
        },
        (Spec("consoles", {}, (Spec("serial@0", {"compatible": "ibm,opal-console-raw"}),)),),
    )
    reserved = Spec(
        "reserved-memory",
        {"#address-cells": [2], "#size-cells": [2], "ranges": b""},
        (
            Spec("ibm,firmware-code@30000000", {"reg": wide(0x30000000, 0x300000)}),
            Spec("ibm,HCODE@1ffd40000", {"reg": wide(0x1FFD40000, 0x140000), "no-map": b""}),
        ),
    )
    root: Properties = {
        "compatible": "ibm,powernv",
        "reserved-ranges": wide(0x30000000, 0x2E10000, 0x1FFD40000, 0x140000),
    }
    chosen: Properties = {**_region(region), "linux,stdout-path": "/ibm,opal/consoles/serial@0"}
    return build_power(
        path,
        [*_memory(*ram), opal, reserved],
        ram,
        chosen=chosen,
        root=root,
        hashed=False,
        crash_size=region.size,
        reservations=[(0x30000000, 0x2E10000)],
    )


def _blocks(path: Path) -> Path:
    """A guest on POWER8: hashed page tables, a first block of 256 MiB, the others in a list."""
    size = 256 * MIB
    flags = [BOOT, *[ASSIGNED] * 7, FREE, FREE]
    lmbs = Spec(
        LMBS,
        {
            "ibm,lmb-size": wide(size),
            "ibm,dynamic-memory": lmb_list(*((at * size, bits) for at, bits in enumerate(flags))),
            "ibm,memory-flags-mask": [0xFF],
        },
    )
    ram = (Range(0, 8 * size),)
    return build_power(
        path,
        [*_memory(Range(0, size)), lmbs, _rtas(0xEC30000, 0x1E0000), _TERMINAL],
        ram,
        chosen={**_STDOUT},
        hashed=True,
        version=POWER8,
    )


def _plugged(path: Path) -> Path:
    """A guest with blocks in sets, two of them plugged since, and memory for a crash kernel.

    A dump by firmware was here, and is gone; the initrd of the boot is still told of.
    """
    size = 256 * MIB
    region = Range.sized(512 * MIB, 256 * MIB)
    lmbs = Spec(
        LMBS,
        {
            "ibm,lmb-size": wide(size),
            "ibm,dynamic-memory-v2": lmb_sets(
                (4, 0, BOOT), (2, 4 * size, ASSIGNED), (10, 6 * size, FREE)
            ),
        },
    )
    chosen: Properties = {
        **_STDOUT,
        **_region(region),
        "linux,initrd-start": cells(0x4000000),
        "linux,initrd-end": cells(0x4812345),
        "linux,memory-limit": wide(4 * size),
    }
    rtas = _rtas(0x2FFF0000, 0x10000, **{"ibm,kernel-dump": bytes(200)})
    return build_power(
        path,
        [*_memory(Range(0, 4 * size)), lmbs, rtas, _TERMINAL],
        (Range(0, 6 * size),),
        chosen=chosen,
        hashed=False,
        page_size=4096,
        crash_size=region.size,
        reservations=[(0x4000000, 0x812345), (0x2FFF0000, 0x10000)],
    )


def _tables(path: Path) -> Path:
    """An older bare machine: a hashed page table and TCE tables in memory that they keep."""
    ram = (Range(0, 4 * GIB),)
    bridge = Spec(
        "pciex@3fffe40000000",
        {
            "device_type": "pciex",
            "linux,tce-base": wide(0xF000000),
            "linux,tce-size": cells(0x800000),
        },
    )
    opal = Spec(
        "ibm,opal",
        {
            "opal-base-address": wide(0x30000000),
            "opal-entry-address": wide(0x30002000),
            "opal-runtime-size": wide(0x1000000),
        },
    )
    chosen: Properties = {"linux,htab-base": wide(0xFC000000), "linux,htab-size": wide(64 * MIB)}
    return build_power(
        path,
        [*_memory(*ram), opal, bridge],
        ram,
        chosen=chosen,
        root={"compatible": "ibm,powernv"},
        hashed=True,
        version=POWER8,
    )


def _capture(path: Path) -> Path:
    """A guest that runs a capture kernel: the tree has what that one was told."""
    region = Range.sized(512 * MIB, 256 * MIB)
    node = Spec(
        "memory@0",
        {
            "device_type": "memory",
            "reg": wide(0, 2 * GIB),
            "linux,usable-memory": wide(0, region.end),
        },
    )
    chosen: Properties = {
        **_STDOUT,
        "linux,kernel-end": wide(region.start + KERNEL_END),
        "linux,initrd-start": wide(0x2C000000),
        "linux,initrd-end": wide(0x2C100080),
        "linux,elfcorehdr": wide(0x2E010000, 0x400),
        "linux,booted-from-kexec": b"",
        "kaslr-seed": wide(0x123456789ABCDEF0),
    }
    return build_power(
        path,
        [node, _rtas(0x2FFF0000, 0x10000), _TERMINAL],
        (Range(0, region.end),),
        chosen=chosen,
        hashed=True,
        cpus=1,
        reservations=[(0x10000, region.start - 0x10000), (0x2C000000, 0x100080)],
    )


BUILT: Mapping[str, Callable[[Path], Path]] = {
    "powernv": _powernv,
    "blocks": _blocks,
    "plugged": _plugged,
    "tables": _tables,
    "capture": _capture,
}
FOR_CRASHES = ("powernv", "plugged")
