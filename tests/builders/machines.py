"""Builds machine directories: the files of /proc and /sys that pykexec.machine reads.

``build_machine`` makes a whole one from values; :class:`MachineDirectory` writes one part
at a time, for tests that want a part malformed, missing or under its old name.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pykexec.values.facts import CrashFacts, EddDevice, EfiFacts, EfiMemoryDescriptor
from pykexec.values.kernel_state import KernelState
from pykexec.values.memory import IomemEntry, MemoryKind, MemoryRegion
from pykexec.values.ranges import Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pykexec.machine.description import KcoreLoad

BOOT_PARAMS_SIZE = 4096
RAM = (Range(0x1000, 0x9FC00), Range(0x100000, 0xC0000000), Range(0x100000000, 0x200000000))
"""An ordinary PC's: 7 GiB with a hole below 4 GiB."""
KERNEL_CODE = Range(0x1000000, 0x2000000)

EFI = EfiFacts(
    fw_vendor=0x7FEEA018,
    runtime=0xFFFFFFFEFFEC2018,
    config_table=0xFFFFFFFEFFEC1018,
    smbios=0x7FB9E000,
    acpi_rsdp=0x7FB7E014,
    platform_bits=64,
    runtime_map=(
        EfiMemoryDescriptor(5, 0x7F8EE000, 0xFFFFFFFEFFDEE000, 0x100, 0x800000000000000F),
        EfiMemoryDescriptor(6, 0x7F9EE000, 0xFFFFFFFEFFEEE000, 0x100, 0x800000000000000F),
    ),
)
"""An ordinary EFI machine's."""

_EXTENSION_LINES = (
    "Fixed disk access",
    "Device locking and ejecting",
    "Enhanced Disk Drive support",
    "64-bit extensions",
)


def format_iomem(entries: Iterable[IomemEntry], indent: int = 2) -> str:
    """Write entries as /proc/iomem shows them, children indented by ``indent`` blanks."""
    lines: list[str] = []

    def write(entry: IomemEntry, depth: int) -> None:
        blanks = " " * (indent * depth)
        lines.append(f"{blanks}{entry.range.start:08x}-{entry.range.last:08x} : {entry.name}\n")
        for child in entry.children:
            write(child, depth + 1)

    for entry in entries:
        write(entry, 0)
    return "".join(lines)


def iomem_of(
    ram: Iterable[Range], children: Iterable[IomemEntry] = (), others: Iterable[IomemEntry] = ()
) -> tuple[IomemEntry, ...]:
    """Make /proc/iomem of ``ram``, with each child below the RAM that it lies in."""
    below = sorted(children, key=lambda item: item.range)
    entries = [
        IomemEntry(item, "System RAM", tuple(c for c in below if item.contains(c.range)))
        for item in ram
    ]
    placed = sum(len(entry.children) for entry in entries)
    if placed != len(below):
        raise ValueError("a child lies outside of all RAM")
    return tuple(sorted((*entries, *others), key=lambda item: item.range))


@dataclass(frozen=True, slots=True)
class MachineDirectory:
    """A machine directory at ``path`` under construction."""

    path: Path

    def write(self, name: str, content: str | bytes) -> Path:
        """Write one file, such as ``proc/cmdline``, and the directories above it."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def write_description(self, arch: str = "x86_64", **more: Any) -> None:
        """Write machine.json; ``more`` are its other keys."""
        value = {"schema": "pykexec.machine/1", "arch": arch, **more}
        self.write("machine.json", json.dumps(value))

    def write_iomem(self, entries: Iterable[IomemEntry] | str) -> None:
        """Write /proc/iomem from entries, or from its text."""
        text = entries if isinstance(entries, str) else format_iomem(entries)
        self.write("proc/iomem", text)

    def write_firmware_map(self, regions: Iterable[MemoryRegion]) -> None:
        """Write /sys/firmware/memmap, numbered in the order given."""
        for number, region in enumerate(regions):
            directory = f"sys/firmware/memmap/{number}"
            self.write(f"{directory}/start", f"{region.range.start:#x}\n")
            self.write(f"{directory}/end", f"{region.range.last:#x}\n")
            self.write(f"{directory}/type", f"{region.name}\n")

    def write_efi(self, efi: EfiFacts) -> None:
        """Write /sys/firmware/efi; a field that is None gets no file."""
        directory = "sys/firmware/efi"
        (self.path / directory).mkdir(parents=True, exist_ok=True)
        addresses = {
            "fw_vendor": efi.fw_vendor,
            "runtime": efi.runtime,
            "config_table": efi.config_table,
        }
        for name, address in addresses.items():
            if address is not None:
                self.write(f"{directory}/{name}", f"{address:#x}\n")
        tables = {"ACPI20": efi.acpi_rsdp, "SMBIOS": efi.smbios}
        lines = [f"{name}={at:#x}\n" for name, at in tables.items() if at is not None]
        if lines:
            self.write(f"{directory}/systab", "".join(lines))
        if efi.platform_bits is not None:
            self.write(f"{directory}/fw_platform_size", f"{efi.platform_bits}\n")
        for number, item in enumerate(efi.runtime_map):
            for name in ("type", "phys_addr", "virt_addr", "num_pages", "attribute"):
                file = f"{directory}/runtime-map/{number}/{name}"
                self.write(file, f"{getattr(item, name):#x}\n")

    def write_edd(self, devices: Iterable[EddDevice]) -> None:
        """Write /sys/firmware/edd; a zero of the legacy geometry gets no file."""
        for device in devices:
            directory = f"sys/firmware/edd/int13_dev{device.device:02x}"
            lines = [
                f"{line}\n"
                for bit, line in enumerate(_EXTENSION_LINES)
                if device.interface_support & (1 << bit)
            ]
            self.write(f"{directory}/version", f"0x{device.version:02x}\n")
            self.write(f"{directory}/extensions", "".join(lines))
            self.write(f"{directory}/raw_data", device.params)
            for name in ("legacy_max_cylinder", "legacy_max_head", "legacy_sectors_per_track"):
                number = getattr(device, name)
                if number:
                    self.write(f"{directory}/{name}", f"{number}\n")
            if device.mbr_signature is not None:
                self.write(f"{directory}/mbr_signature", f"0x{device.mbr_signature:08x}\n")

    def write_kernel_state(self, state: KernelState, *, old_names: bool = False) -> None:
        """Write the files behind a :class:`KernelState`; a None gets no file.

        The release belongs to machine.json. ``old_names`` takes the names of kernels
        without /sys/kernel/kexec/.
        """
        new = {
            "loaded": state.loaded,
            "crash_loaded": state.crash_loaded,
            "crash_size": state.crash_size,
            "crash_elfcorehdr_size": state.crash_elfcorehdr_size,
        }
        old = {
            "loaded": "kexec_loaded",
            "crash_loaded": "kexec_crash_loaded",
            "crash_size": "kexec_crash_size",
            "crash_elfcorehdr_size": "crash_elfcorehdr_size",
        }
        numbers = {
            f"sys/kernel/{old[name]}" if old_names else f"sys/kernel/kexec/{name}": value
            for name, value in new.items()
        }
        numbers["proc/sys/kernel/kexec_load_disabled"] = state.kexec_load_disabled
        numbers["proc/sys/kernel/kexec_load_limit_reboot"] = state.load_limit_reboot
        numbers["proc/sys/kernel/kexec_load_limit_panic"] = state.load_limit_panic
        numbers["proc/sys/kernel/loadpin/enforce"] = state.loadpin_enforced
        for name, number in numbers.items():
            if number is not None:
                self.write(name, f"{int(number)}\n")
        self._write_gates(state)

    def _write_gates(self, state: KernelState) -> None:
        if state.lockdown is not None:
            words = ("none", "integrity", "confidentiality")
            shown = (f"[{word}]" if word == state.lockdown else word for word in words)
            self.write("sys/kernel/security/lockdown", " ".join(shown) + "\n")
        if state.secure_boot is not None:
            name = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
            data = struct.pack("<IB", 6, state.secure_boot)
            self.write(f"sys/firmware/efi/efivars/{name}", data)
        if state.effective_capabilities is not None:
            text = f"Name:\tkexec\nCapEff:\t{state.effective_capabilities:016x}\nCapBnd:\t0\n"
            self.write("proc/self/status", text)
        if state.xen:
            self.write("sys/hypervisor/type", "xen\n")
        memory = {
            "MemTotal": state.memory_total,
            "MemAvailable": state.memory_available,
            "CmaTotal": state.memory_cma,
        }
        lines = [f"{k}:{v // 1024:>12} kB\n" for k, v in memory.items() if v is not None]
        if lines:
            self.write("proc/meminfo", "".join(lines))

    def write_crash_files(self, crash: CrashFacts) -> None:
        """Write crash_notes of each CPU and vmcoreinfo; the rest stands in kcore."""
        for cpu, notes in crash.crash_notes:
            directory = f"sys/devices/system/cpu/cpu{cpu}"
            self.write(f"{directory}/crash_notes", f"{notes.start:x}\n")
            self.write(f"{directory}/crash_notes_size", f"{notes.size}\n")
        if crash.vmcoreinfo is not None:
            info = crash.vmcoreinfo
            self.write("sys/kernel/vmcoreinfo", f"0x{info.start:016x} {info.size:x}\n")

    def write_kcore(
        self, loads: Sequence[KcoreLoad], *, stext: int | None = None, bits: int = 64
    ) -> None:
        """Write an ELF file with these PT_LOADs as /proc/kcore, and /proc/kallsyms."""
        self.write("proc/kcore", build_kcore(loads, bits=bits))
        if stext is not None:
            lines = (f"{stext:016x} T _stext", f"{stext + 16:016x} t _stext_not", "0 d x\t[mod]")
            self.write("proc/kallsyms", "\n".join(lines) + "\n")


def build_kcore(
    loads: Sequence[KcoreLoad],
    starts: Sequence[int] = (),
    vmcoreinfo: str = "",
    *,
    bits: int = 64,
) -> bytes:
    """Build the headers of /proc/kcore: a PT_NOTE, then ``loads`` with physical ``starts``.

    The note is the kernel's VMCOREINFO, unless there is no text for it.
    """
    if bits == 32:
        return _build_kcore_32(loads)
    count = 1 + len(loads)
    text = vmcoreinfo.encode()
    padded = text + bytes(-len(text) % 4)
    note = struct.pack("<III12s", 11, len(text), 0, b"VMCOREINFO") + padded if text else b""
    ehdr = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\2\1\1",
        *(4, 62, 1, 0, 64, 0, 0, 64, 56, count, 0, 0, 0),
    )
    note_offset = 64 + 56 * count if note else 0x1000
    phdrs = [struct.pack("<IIQQQQQQ", 4, 0, note_offset, 0, 0, len(note), len(note), 0x1000)]
    phdrs += [
        struct.pack("<IIQQQQQQ", 1, 7, 0x1000, load.vaddr, start, load.memsz, load.memsz, 0x1000)
        for load, start in zip(loads, starts or [0] * len(loads), strict=True)
    ]
    return ehdr + b"".join(phdrs) + note


def _build_kcore_32(loads: Sequence[KcoreLoad]) -> bytes:
    """Build the headers of an i386 kernel's /proc/kcore, with an empty PT_NOTE."""
    count = 1 + len(loads)
    ehdr = struct.pack(
        "<16sHHIIIIIHHHHHH",
        b"\x7fELF\1\1\1",
        *(4, 3, 1, 0, 52, 0, 0, 52, 32, count, 0, 0, 0),
    )
    phdrs = [struct.pack("<8I", 4, 0x1000, 0, 0, 0, 0, 0, 0)]
    phdrs += [
        struct.pack("<8I", 1, 0x1000, load.vaddr, 0, load.memsz, load.memsz, 7, 0x1000)
        for load in loads
    ]
    return ehdr + b"".join(phdrs)


def build_machine(
    path: Path,
    *,
    arch: str = "x86_64",
    page_size: int = 4096,
    ram: Sequence[Range] = RAM,
    children: Sequence[IomemEntry] = (),
    iomem: Sequence[IomemEntry] | str | None = None,
    firmware_map: Sequence[MemoryRegion] | bool = False,
    cmdline: bytes = b"root=/dev/vda1 ro",
    boot_params: bytes | None = None,
    efi: EfiFacts | bool = False,
    edd: Sequence[EddDevice] = (),
    kernel: KernelState | None = None,
    crash: CrashFacts | None = None,
    kcore: Sequence[KcoreLoad] | None = None,
    cpus: int = 2,
    framebuffer_driver: str | None = None,
    la57: bool | None = None,
) -> Path:
    """Build a machine directory at ``path`` and return it.

    ``ram`` with ``children`` (such as ``Crash kernel``) makes /proc/iomem, unless ``iomem``
    is given; ``Kernel code`` is added where there is RAM for it. ``firmware_map=True``
    describes ``ram``; ``efi=True`` is :data:`EFI`. What is not given gets no file.
    """
    machine = MachineDirectory(path)
    path.mkdir(parents=True, exist_ok=True)
    more: dict[str, Any] = {"page_size": page_size, "cpus": cpus}
    if kernel is not None:
        more["kernel_release"] = kernel.release
        machine.write_kernel_state(kernel)
    if kcore is not None:
        loads = [{"vaddr": hex(load.vaddr), "memsz": load.memsz} for load in kcore]
        more["kcore"] = {"loads": loads}
    machine.write_description(arch, **more)
    if iomem is None:
        code = [IomemEntry(KERNEL_CODE, "Kernel code")]
        fits = any(item.contains(KERNEL_CODE) for item in ram)
        iomem = iomem_of(ram, (*children, *(code if fits else ())))
    machine.write_iomem(iomem)
    if firmware_map is True:
        firmware_map = [MemoryRegion(item, MemoryKind.RAM, "System RAM") for item in ram]
    if firmware_map:
        machine.write_firmware_map(firmware_map)
    machine.write("proc/cmdline", cmdline + b"\n")
    if framebuffer_driver is not None:
        machine.write("proc/fb", f"0 {framebuffer_driver}\n")
    if boot_params is not None:
        machine.write("sys/kernel/boot_params/data", boot_params)
    if efi:
        machine.write_efi(EFI if efi is True else efi)
    machine.write_edd(edd)
    if crash is not None:
        machine.write_crash_files(crash)
    if la57 is not None:
        flags = "fpu la57 lm" if la57 else "fpu lm"
        machine.write("proc/cpuinfo", f"processor\t: 0\nflags\t\t: {flags}\n" * cpus)
    return path
