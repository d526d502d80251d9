"""What an architecture is to pykexec, as a value. Pure."""

from __future__ import annotations

from pykexec.values.data_classes import dataclass, field
from pykexec.values.units import MIB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import MappingProxyType
    from typing import TypeAlias
else:
    MappingProxyType = type(object.__dict__)  # without types: this is in each start

NO_CALL = -1
"""The number of a system call that there is not: the kernel answers ENOSYS."""

Sizes: TypeAlias = "Mapping[int, tuple[int, ...]]"
"""By the size of a page in bytes: sizes in bytes."""


def _nothing() -> Mapping[int, int]:
    return MappingProxyType({})


def _no_speeds() -> Mapping[str, int]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Identity:
    """How other people's files name it; None where they do not."""

    elf: int | None = None
    """``e_machine``."""
    pe: int | None = None
    """``Machine`` of a COFF header."""
    u_boot: int | None = None
    """``ih_arch`` (U-Boot include/image.h, "IH_ARCH")."""
    efi: str | None = None
    """In names of files on an ESP: UEFI 2.10, section 3.5.1.1, in lower case."""


@dataclass(frozen=True, slots=True)
class SystemCalls:
    """Numbers, for programs of this architecture."""

    kexec_load: int
    kexec_file_load: int
    """Or NO_CALL."""
    reboot: int


@dataclass(frozen=True, slots=True)
class HugePages:
    """What a kernel has of pages larger than those that it maps memory by, in bytes."""

    sizes: Sizes = field(default_factory=lambda: MappingProxyType({}))
    """The default size first. Empty: any power of two."""
    gigantic: Mapping[int, int] = field(default_factory=_nothing)
    """What ``hugetlb_cma=`` reserves in multiples of (arch/*/mm, "arch_hugetlb_cma_order")."""
    max_order: Mapping[int, int] = field(default_factory=_nothing)
    """``MAX_PAGE_ORDER`` where it is not 10 (arch/*/Kconfig, "ARCH_FORCE_MAX_ORDER")."""


@dataclass(frozen=True, slots=True)
class Options:
    """What programs take on this architecture and not on every other. Names without ``--``."""

    own: frozenset[str] = frozenset()
    """Those that have an effect here, and none where they are not in this set."""
    ignored: tuple[tuple[str, str], ...] = ()
    """(name, metavar) of kexec(8)'s that have none."""
    lacking: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Those of kexec(8)'s without which the next kernel would be told something else, and why they
    cannot be had. They are refused."""
    no_old_root: str = ""
    """That of ``ignored`` without which kexec(8) adds the running kernel's root= to a command line
    that has none."""
    silent: frozenset[str] = frozenset()
    """Of those: what is done anyway, and so not told of."""
    need_kernel: frozenset[str] = frozenset()
    """What kexec(8) does not take without a kernel to load."""
    image_types: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """kexec's names for ``-t``, and how the name of the format begins here."""
    serial: str = "the name of a tty"
    """What ``--serial`` is given."""


@dataclass(frozen=True, slots=True)
class FlatImage:
    """What the fields of an ``Image`` mean: see :mod:`pykexec.formats.linux_image`."""

    magic: bytes
    """At offset 0x38."""
    old_magic: bytes | None = None
    """At offset 0x30, of headers before there was the other one."""
    offset_from_base: bool = False
    """The kernel lies ``text_offset`` behind a multiple of 2 MiB; else at one, and ``text_offset``
    is only a wish how far from the start of RAM."""
    refused_offsets: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    """Values of ``text_offset`` by which a kernel is one that cannot be started, and why."""
    size_allowance: int | None = None
    """Bytes that a kernel whose ``image_size`` is 0 is granted behind itself; None: it is refused.
    Its need is "effectively unbound", and kexec_file_load(2) takes no such kernel."""
    offset_without_size: int = 0
    """What ``text_offset`` is then, whatever the header has."""
    big_endian: bool = False
    """There are such kernels, by bit 0 of ``flags``."""
    tells_page_size: bool = False
    """By bits 1 and 2 of ``flags``."""
    versioned: bool = False
    """There is a version at offset 0x20, whose major part is 0."""
    anywhere_flag: int = 0
    """Of ``flags``: the kernel uses the memory below itself."""
    anywhere_since: tuple[int, int] | None = None
    """The first release that does; None where the flag says it."""
    by_file_since: tuple[int, int] | None = None
    """The first release that takes one by kexec_file_load(2), and before it ELF files alone; None:
    all that have the call."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """One architecture; the defaults are those of one of which nothing is known."""

    name: str
    """As :attr:`pykexec.values.facts.MachineFacts.arch` has it."""
    machines: tuple[str, ...] = ()
    """Those of ``uname -m`` that stand for it."""
    room: str = ""
    """The name of its modules: ``boot/ROOM``, ``machine/ROOM`` and so on; empty: none, it cannot be
    planned for."""
    family: str = ""
    """What its images are for, and what its options are told by."""
    image_arch: str = ""
    """What images for it say that they are for: those of a family may be for several widths."""
    word_bits: int = 64
    big_endian: bool = False
    """Its kernels are. False also where that is not known."""
    identity: Identity = Identity()
    calls: SystemCalls | None = None
    """None: plans for it are for recorded machines, and none is carried out."""
    flat_image: FlatImage | None = None
    """None where kernels are none."""
    elf_programs: bool = False
    """ELF files for it are started as they are: see :mod:`pykexec.formats.elf_program`."""
    either_byte_order: bool = False
    """Those may also be of the other byte order: its kernels switch to their own."""
    image_in_elf: bool = False
    """Its ELF files have in memory, from the first byte on, the image that is started: with its own
    header, and not from the entry point on."""
    command_line_size: int = 2048
    """Bytes with the NUL that kernels take of what a device tree has: ``COMMAND_LINE_SIZE``
    (arch/*/include/uapi/asm/setup.h)."""
    has_tree: bool = True
    """Linux finds its devices by a device tree there, or by one that leads to ACPI."""
    live_tree: bool = False
    """It adds to the tree, and takes away, what comes and goes; the blob is that of its boot."""
    kernel_in_linear_map: bool = False
    """The kernel's image has no mapping beside that of all memory."""
    serial_in_memory: bool = True
    """A UART has its registers in memory, and not at I/O ports."""
    firmware_console: bool = False
    """Its consoles are ttys that firmware or a hypervisor drives."""
    silent_purgatory: bool = False
    """Its purgatory has no console."""
    has_crash_kernels: bool = True
    """A kernel that crashes can start another one (``ARCH_SUPPORTS_CRASH_DUMP``)."""
    own_core_header: bool = False
    """A capture kernel finds out by itself what memory it is to dump, and is given no header."""
    purgatories: tuple[str, ...] = ()
    """Names of the objects that plans for it may have."""
    grub_cpu: str = ""
    """GRUB's variable of that name, with EFI."""
    grub_bios_cpu: str = ""
    """With a BIOS; empty where there is none."""
    options: Options = Options()
    huge_pages: HugePages = HugePages()
    section_bits: int = 27
    """``SECTION_SIZE_BITS`` (arch/*/include/asm/sparsemem.h)."""
    section_bits_of_page: Mapping[int, int] = field(default_factory=_nothing)
    """Where it is another one, by the size of a page in bytes."""
    can_be_returned_to: bool = False
    """Kernels may be built so that the one they jump into can jump back
    (``ARCH_SUPPORTS_KEXEC_JUMP``)."""
    has_coherent_pool: bool = False
    """``coherent_pool=`` takes memory away at the start (CONFIG_DMA_DIRECT_REMAP)."""
    always_bounces: bool = False
    """Its kernels make bounce buffers (swiotlb) at each start, wherever memory is."""
    simulated_tty: bytes = b""
    """The console of the emulated machine; empty: none is emulated."""
    check_speeds: Mapping[str, int] = field(default_factory=_no_speeds)
    """Bytes a second that its purgatory hashes, about, by :attr:`MachineFacts.hashing`."""
    crash_floors: tuple[int, int] = (256 * MIB, 512 * MIB)
    """Bytes that distributions reserve for a crash kernel from 2 GiB and from 64 GiB on."""
    missing: str = ""
    """Why there are no plans for it, as the end of a sentence; empty where there are."""

    @property
    def elf_machine(self) -> int:
        """``e_machine`` of its kernels and cores; 0 (EM_NONE) where that is not known."""
        return self.identity.elf or 0

    @property
    def kexec_flag(self) -> int:
        """``KEXEC_ARCH_…``, the ELF machine shifted (Linux include/uapi/linux/kexec.h)."""
        return self.elf_machine << 16
