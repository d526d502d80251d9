"""Machines to compare on, built by hand beside those recorded from guests.

Each stands for one way in which firmware describes itself; the numbers are of the kind that
QEMU's and real firmware give.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from pykexec.machine.description import KcoreLoad
from pykexec.values.facts import CrashFacts, EddDevice, EfiFacts, EfiMemoryDescriptor
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry, MemoryKind, MemoryRegion
from pykexec.values.ranges import Range
from tests.builders.machines import MachineDirectory, build_machine

RECORDED = Path(__file__).resolve().parents[1] / "data/machines"
GIB = 1 << 30

_NAMES = {
    "ram": MemoryKind.RAM,
    "reserved": MemoryKind.RESERVED,
    "acpi": MemoryKind.ACPI_TABLES,
    "nvs": MemoryKind.ACPI_NVS,
    "pmem": MemoryKind.PMEM,
    "pram": MemoryKind.PRAM,
    "unusable": MemoryKind.UNUSABLE,
}


def _regions(*items: tuple[int, int, str]) -> list[MemoryRegion]:
    """Make regions from (first byte, last byte, name)."""
    return [
        MemoryRegion(Range.inclusive(first, last), _NAMES[name], _NAMES[name].value)
        for first, last, name in items
    ]


def _iomem(
    regions: Sequence[MemoryRegion], children: Sequence[tuple[int, int, str]] = ()
) -> list[IomemEntry]:
    """Make /proc/iomem of a firmware map; the kernel reserves the first page for itself."""
    below = [IomemEntry(Range.inclusive(first, last), name) for first, last, name in children]
    entries = []
    for region in regions:
        where, name = region.range, region.name
        if where.start == 0 and region.kind is MemoryKind.RAM:
            entries.append(IomemEntry(Range(0, 0x1000), "Reserved"))
            where = Range(0x1000, where.end)
        inside = tuple(child for child in below if where.contains(child.range))
        entries.append(IomemEntry(where, name, inside))
    return sorted(entries, key=lambda entry: entry.range)


def build_boot_params(
    *, rsdp: int = 0xF52A0, efi: bytes = bytes(32), secure_boot: int = 0, efi_screen: bool = False
) -> bytes:
    """Build the running kernel's zero page: VGA text, or a framebuffer of EFI's."""
    page = bytearray(4096)
    if efi_screen:
        struct.pack_into("<B", page, 0x0F, 0x70)
        struct.pack_into("<HHHII", page, 0x12, 1280, 800, 32, 0x80000000, 1280 * 800 * 4)
        struct.pack_into("<H8B", page, 0x24, 1280 * 4, 8, 16, 8, 8, 8, 0, 8, 24)
    else:
        struct.pack_into("<BBHHBB", page, 0, 0, 25, 0, 0, 3, 80)
        struct.pack_into("<BBH", page, 0x0E, 25, 1, 16)
    struct.pack_into("<Q", page, 0x70, rsdp)
    page[0x1C0:0x1E0] = efi
    page[0x1EC] = secure_boot
    return bytes(page)


_MEMORY_512M = _regions(
    (0, 0x9FBFF, "ram"),
    (0x9FC00, 0x9FFFF, "reserved"),
    (0xF0000, 0xFFFFF, "reserved"),
    (0x100000, 0x1FFDFFFF, "ram"),
    (0x1FFE0000, 0x1FFFFFFF, "reserved"),
    (0xFFFC0000, 0xFFFFFFFF, "reserved"),
)
_MEMORY_8G = _regions(
    (0, 0x9FBFF, "ram"),
    (0x9FC00, 0x9FFFF, "reserved"),
    (0xF0000, 0xFFFFF, "reserved"),
    (0x100000, 0xBFFDFFFF, "ram"),
    (0xBFFE0000, 0xBFFFFFFF, "reserved"),
    (0xFEFFC000, 0xFEFFFFFF, "reserved"),
    (0x100000000, 0x23FFFFFFF, "ram"),
)


def bios_512m(path: Path) -> Path:
    """A small virtual machine started by a BIOS."""
    return build_machine(
        path,
        iomem=_iomem(_MEMORY_512M, [(0x1000000, 0x2A00FFF, "Kernel code")]),
        firmware_map=_MEMORY_512M,
        boot_params=build_boot_params(),
        kernel=KernelState(memory_total=496 << 20),
        cmdline=b"BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 ro initrd=/boot/initrd.img  quiet",
    )


def bios_8g_crashkernel(path: Path) -> Path:
    """RAM above 4 GiB, a crash kernel below and one at the very top."""
    children = [
        (0x1000000, 0x2A00FFF, "Kernel code"),
        (0xA7000000, 0xB6FFFFFF, "Crash kernel"),
        (0x22F000000, 0x23EFFFFFF, "Crash kernel"),
        (0x23F000000, 0x23FFFFFFF, "Reserved"),
    ]
    return build_machine(
        path,
        iomem=_iomem(_MEMORY_8G, children),
        firmware_map=_MEMORY_8G,
        boot_params=build_boot_params(),
        kernel=KernelState(memory_total=7900 << 20),
        cmdline=b"root=/dev/vda1 ro crashkernel=256M",
    )


_MEMORY_OVMF = _regions(
    (0, 0x9FFFF, "ram"),
    (0x100000, 0x7FFFFF, "ram"),
    (0x800000, 0x807FFF, "nvs"),
    (0x808000, 0x80AFFF, "ram"),
    (0x80B000, 0x80BFFF, "nvs"),
    (0x80C000, 0x80FFFF, "ram"),
    (0x810000, 0x8FFFFF, "nvs"),
    (0x900000, 0x3E8EDFFF, "ram"),
    (0x3E8EE000, 0x3EB6DFFF, "reserved"),
    (0x3EB6E000, 0x3EB7DFFF, "acpi"),
    (0x3EB7E000, 0x3EBFDFFF, "nvs"),
    (0x3EBFE000, 0x3EEDFFFF, "ram"),
    (0x3EEE0000, 0x3FFFFFFF, "reserved"),
    (0xFFC00000, 0xFFFFFFFF, "reserved"),
)
_RUNTIME_MAP = (
    EfiMemoryDescriptor(5, 0x3E8EE000, 0xFFFFFFFEFFDEE000, 0x100, 0x800000000000000F),
    EfiMemoryDescriptor(6, 0x3E9EE000, 0xFFFFFFFEFFCEE000, 0x100, 0x800000000000000F),
    EfiMemoryDescriptor(0, 0x3EAEE000, 0xFFFFFFFEFFC6E000, 0x80, 0xF),
    EfiMemoryDescriptor(9, 0x3EB6E000, 0xFFFFFFFEFFC5E000, 0x10, 0xF),
    EfiMemoryDescriptor(6, 0x3FEF4000, 0xFFFFFFFEFFBD2000, 0x8C, 0x800000000000000F),
    EfiMemoryDescriptor(11, 0xFFC00000, 0xFFFFFFFEFF7D2000, 0x400, 0x8000000000000001),
)


def ovmf_1g(path: Path) -> Path:
    """EFI with everything that a hand-over needs, and a framebuffer."""
    info = b"EL64" + struct.pack("<7I", 0x3F9EE018, 48, 1, 0x3D5B9018, 48 * 60, 0, 0)
    return build_machine(
        path,
        iomem=_iomem(_MEMORY_OVMF, [(0x1000000, 0x2A00FFF, "Kernel code")]),
        firmware_map=_MEMORY_OVMF,
        boot_params=build_boot_params(rsdp=0x3EB7D014, efi=info, secure_boot=2, efi_screen=True),
        efi=EfiFacts(
            fw_vendor=0x3EEDA018,
            config_table=0x3F9ED018,
            smbios=0x3E9A5000,
            acpi_rsdp=0x3EB7D014,
            platform_bits=64,
            runtime=0xFFFFFFFEFFCEEB58,
            runtime_map=_RUNTIME_MAP,
        ),
        kernel=KernelState(memory_total=980 << 20),
    )


def ovmf_without_runtime(path: Path) -> Path:
    """EFI as kernels show it that have no ``runtime`` in sysfs any more."""
    ovmf_1g(path)
    (path / "sys/firmware/efi/runtime").unlink()
    return path


def ovmf_smbios3(path: Path) -> Path:
    """EFI whose firmware has the SMBIOS table of version 3 only."""
    ovmf_1g(path)
    (path / "sys/firmware/efi/systab").write_text("ACPI20=0x3eb7d014\nSMBIOS3=0x3e9a3000\n")
    return path


def ovmf_half(path: Path) -> Path:
    """EFI whose running kernel does not say enough: nothing of it may be handed over."""
    ovmf_1g(path)
    (path / "sys/firmware/efi/fw_vendor").unlink()
    return path


def edd(path: Path) -> Path:
    """A BIOS machine with eight disks, of which ``struct boot_params`` has room for six."""
    bios_512m(path)
    devices = [
        EddDevice(0x80 + n, 0x30, 1 + n % 4, 1023, 254, 63, _edd_params(n), 0xDEAD0000 + n)
        for n in range(6)
    ]
    devices += [EddDevice(0x86 + n, 0, 0, 0, 0, 0, b"", 0xBEEF0000 + n) for n in range(2)]
    build_machine(
        path,
        iomem=_iomem(_MEMORY_512M),
        firmware_map=_MEMORY_512M,
        boot_params=build_boot_params(),
        edd=devices,
    )
    return path


def _edd_params(number: int) -> bytes:
    """Build ``struct edd_device_params`` of 30 bytes in a buffer of 74."""
    data = struct.pack("<HHIIIQHI", 30, 2, 16383, 16, 63, (number + 1) << 21, 512, 0xFFFFFFFF)
    return data.ljust(74, b"\0")


def many_ranges(path: Path) -> Path:
    """More ranges than the zero page has room for: the rest goes through setup_data."""
    items = [(0, 0x9FBFF, "ram"), (0x9FC00, 0xFFFFF, "reserved"), (0x100000, 0x3FFFFFFF, "ram")]
    for number in range(150):
        base = GIB + number * 0x1000000
        items += [(base, base + 0xEFFFFF, "ram"), (base + 0xF00000, base + 0xFFFFFF, "reserved")]
    regions = _regions(*items)
    return build_machine(
        path, iomem=_iomem(regions), firmware_map=regions, boot_params=build_boot_params()
    )


def every_kind(path: Path) -> Path:
    """Each kind of memory that has an E820 type of its own."""
    regions = _regions(
        (0, 0x9FBFF, "ram"),
        (0x9FC00, 0xFFFFF, "reserved"),
        (0x100000, 0x7FFDFFFF, "ram"),
        (0x7FFE0000, 0x7FFEFFFF, "acpi"),
        (0x7FFF0000, 0x7FFFFFFF, "nvs"),
        (0x80000000, 0x8000FFFF, "unusable"),
        (0x100000000, 0x17FFFFFFF, "ram"),
        (0x180000000, 0x1BFFFFFFF, "pmem"),
        (0x1C0000000, 0x1CFFFFFFF, "pram"),
    )
    return build_machine(
        path, iomem=_iomem(regions), firmware_map=regions, boot_params=build_boot_params()
    )


def iomem_only(path: Path) -> Path:
    """A kernel without /sys/firmware/memmap and without boot_params in sysfs."""
    return build_machine(path, iomem=_iomem(_MEMORY_8G, [(0x1000000, 0x2A00FFF, "Kernel code")]))


def golden_a(path: Path) -> Path:
    """A machine with 24 GiB, whose placements with the C tool are known by heart."""
    regions = _regions(
        (0x1000, 0x9FBFF, "ram"),
        (0x9FC00, 0xFFFFF, "reserved"),
        (0x100000, 0xBFFFFFFF, "ram"),
        (0xEEC00000, 0xFEBFFFFF, "reserved"),
        (0x100000000, 0x63FFFFFFF, "ram"),
    )
    return build_machine(path, iomem=_iomem(regions), firmware_map=regions)


BUILT: dict[str, Callable[[Path], Path]] = {
    function.__name__: function
    for function in (
        bios_512m,
        bios_8g_crashkernel,
        ovmf_1g,
        ovmf_without_runtime,
        ovmf_smbios3,
        ovmf_half,
        edd,
        many_ranges,
        every_kind,
        iomem_only,
        golden_a,
    )
}


_CRASH_NOTES = CrashFacts(
    crash_notes=((0, Range.sized(0x2FC00000, 368)), (1, Range.sized(0x2FD00000, 368))),
    vmcoreinfo=Range.sized(0x2FE00000, 0x1024),
)
_DIRECT_MAP = 0xFFFF888000000000
_TEXT = 0xFFFFFFFF81000000
_KCORE = (
    KcoreLoad(_TEXT, 0x2000000),
    KcoreLoad(0xFFFFC90000000000, 0x1FFFFFFFFFFF),
    KcoreLoad(_DIRECT_MAP + 0x1000, 0x9E000),
    KcoreLoad(_DIRECT_MAP + 0x100000, 0x7FEE0000),
)
_RUNNING = (
    b"BOOT_IMAGE=/boot/vmlinuz root=/dev/vda1 ro crashkernel=256M quiet crashkernel=64M,low "
    b"hugepagesz=2M hugepages=512 slub_debug"
)


def _crash_machine(
    path: Path,
    iomem: Sequence[IomemEntry],
    *,
    regions: Sequence[MemoryRegion] = (),
    rsdp: int | None = None,
) -> Path:
    """Build a machine that says all that a core header is made from."""
    build_machine(
        path,
        iomem=iomem,
        firmware_map=regions,
        boot_params=None if rsdp is None else build_boot_params(rsdp=rsdp),
        crash=_CRASH_NOTES,
        kcore=_KCORE,
        cmdline=_RUNNING,
    )
    MachineDirectory(path).write("proc/kallsyms", f"{_TEXT:016x} T _stext\n")
    return path


_MEMORY_B = _regions(
    (0, 0x9FBFF, "ram"),
    (0x100000, 0x7FFDFFFF, "ram"),
    (0x7FFE0000, 0x7FFF3FFF, "acpi"),
    (0x7FFF4000, 0x7FFFFFFF, "nvs"),
    (0xFFFC0000, 0xFFFFFFFF, "reserved"),
    (0x100000000, 0x17FFFFFFF, "ram"),
    (0x180000000, 0x1BFFFFFFF, "pmem"),
)
_CHILDREN_B = (
    (0x1000000, 0x2FFFFFF, "Kernel code"),
    (0x2B000000, 0x3AFFFFFF, "Crash kernel"),
    (0x180000000, 0x1BFFFFFFF, "System RAM (kmem)"),
)


def golden_b(path: Path) -> Path:
    """Persistent memory used as RAM, ACPI tables, and no map of the firmware's."""
    return _crash_machine(path, _iomem(_MEMORY_B, _CHILDREN_B))


def half_kmem(path: Path) -> Path:
    """RAM in the middle of persistent memory, some of which is of the older kind."""
    regions = [*_MEMORY_B, *_regions((0x1C0000000, 0x1CFFFFFFF, "pram"))]
    children = [*_CHILDREN_B[:2], (0x190000000, 0x19FFFFFFF, "System RAM (kmem)")]
    return _crash_machine(path, _iomem(regions, children), regions=regions, rsdp=0xF59D0)


def gart(path: Path) -> Path:
    """A GART aperture, as kernels before v5.2 show it, inside RAM."""
    children = [*_CHILDREN_B, (0x70000000, 0x73FFFFFF, "GART")]
    return _crash_machine(path, _iomem(_MEMORY_B, children), regions=_MEMORY_B, rsdp=0xF59D0)


def virtio_mem(path: Path) -> Path:
    """Memory that was plugged into a running virtual machine, in two neighbouring blocks."""
    device = Range(0x240000000, 0x280000000)
    blocks = (Range(0x240000000, 0x248000000), Range(0x248000000, 0x250000000))
    plugged = tuple(IomemEntry(block, "System RAM (virtio_mem)") for block in blocks)
    children = [(0x1000000, 0x2FFFFFF, "Kernel code"), (0xA0000000, 0xAFFFFFFF, "Crash kernel")]
    iomem = [*_iomem(_MEMORY_8G, children), IomemEntry(device, "virtio1", plugged)]
    return _crash_machine(path, iomem, regions=_MEMORY_8G, rsdp=0xF52A0)


def low_memory_in_use(path: Path) -> Path:
    """A kernel that says that it keeps something in the first 640 KiB, and two crash regions."""
    children = [
        (0x1000000, 0x2FFFFFF, "Kernel code"),
        (0xA7000000, 0xB6FFFFFF, "Crash kernel"),
        (0x22F000000, 0x23EFFFFFF, "Crash kernel"),
    ]
    _crash_machine(path, _iomem(_MEMORY_8G, children), regions=_MEMORY_8G, rsdp=0xF52A0)
    reserved = 1 << 32
    flags = [0 if page == 0x50 else reserved for page in range(160)]
    MachineDirectory(path).write("proc/kpageflags", struct.pack("<160Q", *flags))
    return path


BUILT_FOR_CRASHES: dict[str, Callable[[Path], Path]] = {
    function.__name__: function
    for function in (golden_b, half_kmem, gart, virtio_mem, low_memory_in_use)
}


def recorded(arch: str = "x86_64") -> dict[str, Path]:
    """Return the machine directories recorded from guests of an architecture, by name.

    But for those of Xen: its hypervisor, which the C tool asks, is in no file.
    """
    found = sorted(RECORDED.glob(f"{arch}-*/machine.json"))
    return {
        path.parent.name: path.parent for path in found if not path.with_name("xen.json").exists()
    }
