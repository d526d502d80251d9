"""What the machine is, as values: everything that a plan is made from.

:mod:`pykexec.machine` reads these below a root directory; nothing here touches a file.
A field is None, or empty, where the machine does not say.
"""

from __future__ import annotations

from pykexec.values.data_classes import dataclass, field
from pykexec.values.kernel_state import KernelState
from pykexec.values.large_values import short_repr
from pykexec.values.memory import IomemEntry, MemoryMap, memory_map_from_iomem
from pykexec.values.ranges import Range
from pykexec.values.units import MIB

CAP_SYS_BOOT = 22
"""Linux include/uapi/linux/capability.h."""
IMA_LIST_MAX = 64 * MIB
"""Bytes of a measurement list that is carried over."""


@dataclass(frozen=True, slots=True)
class EfiMemoryDescriptor:
    """One entry of /sys/firmware/efi/runtime-map: UEFI 2.10, section 7.2.3."""

    type: int
    phys_addr: int
    virt_addr: int
    num_pages: int
    """In EFI pages of 4096 bytes, whatever the kernel's page size is."""
    attribute: int


@dataclass(frozen=True, slots=True)
class EfiFacts:
    """What /sys/firmware/efi says. Addresses are physical unless the name says otherwise."""

    fw_vendor: int | None = None
    runtime: int | None = None
    config_table: int | None = None
    smbios: int | None = None
    acpi_rsdp: int | None = None
    """ACPI 2.0 RSDP, else the 1.0 one, from the systab file."""
    platform_bits: int | None = None
    """32 or 64 (fw_platform_size)."""
    runtime_map: tuple[EfiMemoryDescriptor, ...] = ()
    """In the order of the kernel's own numbering."""


@dataclass(frozen=True, slots=True)
class EddDevice:
    """One BIOS disk of /sys/firmware/edd (Linux include/uapi/linux/edd.h, "struct edd_info")."""

    device: int
    """BIOS number, 0x80 is the first disk."""
    version: int
    interface_support: int
    legacy_max_cylinder: int
    legacy_max_head: int
    legacy_sectors_per_track: int
    params: bytes
    """The raw ``struct edd_device_params``, at most 74 bytes."""
    mbr_signature: int | None


@dataclass(frozen=True, slots=True)
class CrashFacts:
    """What an ELF core header is made from. Addresses are physical unless named ``_vaddr``."""

    crash_notes: tuple[tuple[int, Range], ...] = ()
    """(cpu, note buffer) of every possible CPU that has one."""
    vmcoreinfo: Range | None = None
    xen_vmcoreinfo: Range | None = None
    """The note of a hypervisor that this kernel is dom0 of."""
    in_machine_addresses: bool = False
    """Xen's dom0: the notes and the memory lie at machine addresses, and none of it at a virtual
    address of the kernel's that follows from that."""
    kernel_text: Range | None = None
    kernel_text_vaddr: int | None = None
    page_offset_vaddr: int | None = None
    direct_map_end: int | None = None
    """A kernel of 32 bits: memory from here on (highmem) has no virtual address of its own. None:
    all memory has one."""
    low_memory_reserved: bool | None = None
    """x86: the running kernel keeps nothing in the first 640 KiB; None when it does not say."""
    unreadable: tuple[Range, ...] = ()
    """What /proc/iomem calls RAM and must not be read: apertures of AMD northbridges (GART), memory
    that firmware keeps for itself."""
    memory_encryption: bool = False
    """x86: SME is active; what the purgatory writes the kernel would read as noise."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """A machine: enough to plan a load for it anywhere, without privileges."""

    arch: str
    """What :mod:`pykexec.architectures` makes of the kernel's ``uname -m``."""
    page_size: int
    iomem: tuple[IomemEntry, ...]
    firmware_map: MemoryMap = field(default_factory=MemoryMap)
    """/sys/firmware/memmap; empty when the kernel has none."""
    cmdline: bytes = b""
    """/proc/cmdline without its line end."""
    ipl_parameters: bytes = b""
    """s390x: what every kernel appends to its command line by itself, or with a ``=`` in front
    puts in its place."""
    boot_params: bytes | None = None
    """x86: the running kernel's ``struct boot_params``, 4096 bytes."""
    device_tree: bytes | None = None
    """The running kernel's flattened tree, which few x86 machines have; see
    :mod:`pykexec.formats.device_tree`."""
    device_tree_source: str = ""
    """Where ``device_tree`` was found, for messages: a path, and whether it was flattened here."""
    boot_tree: bytes | None = None
    """ppc64le: the flattened tree that the running kernel was booted with."""
    bootinfo: bytes | None = None
    """m68k: the records that the running kernel was booted with."""
    ima_measurements: bytes | None = None
    """IMA's binary measurement list; None where the kernel shows none, or was not asked. Of a
    list longer than ``IMA_LIST_MAX`` one byte more than that."""
    efi: EfiFacts | None = None
    edd: tuple[EddDevice, ...] = ()
    framebuffer_driver: str | None = None
    """Who drives the first framebuffer, by the name in /proc/fb."""
    la57: bool | None = None
    """x86: the running kernel uses five-level page tables."""
    hashed_page_tables: bool | None = None
    """ppc64le: the running kernel uses these, and no radix trees."""
    hash_table_order: int | None = None
    """ppc64le: how large that table is, as a power of two in bytes; None where nobody tells."""
    cpus: int | None = None
    caller_bits: int = 64
    """Of the program that makes the system call: a 32-bit one names no address above 4 GiB."""
    encrypted_guest: bool = False
    """x86: a guest under SEV or TDX, whose devices reach no memory but swiotlb's."""
    hashing: str = ""
    """How its slowest processor hashes in the purgatory, by a name in
    :attr:`~pykexec.architectures.Architecture.check_speeds`; empty: not known."""
    memory_devices: bool = False
    """ACPI has memory devices: memory can be plugged in while the machine runs."""
    crash: CrashFacts = field(default_factory=CrashFacts)
    kernel: KernelState = field(default_factory=KernelState)

    __repr__ = short_repr

    @property
    def memory_map(self) -> MemoryMap:
        """The map that the next kernel is told: the firmware's, else what /proc/iomem shows."""
        return self.firmware_map if len(self.firmware_map) else memory_map_from_iomem(self.iomem)
