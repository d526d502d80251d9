"""What a load is: the request, and the plan as a pure value.

A :class:`SegmentPlan` says everything that kexec_load(2) will be told, a
:class:`FileLoadPlan` what kexec_file_load(2) will be. Nothing here looks at the machine;
:mod:`pykexec.planning.planner` makes plans, :mod:`pykexec.planning.invariants` judges them,
:mod:`pykexec.calls.syscalls` carries them out.
"""

from __future__ import annotations

from enum import StrEnum

from pykexec.values.buffers import Buffer
from pykexec.values.calls import KexecFileFlags, Target
from pykexec.values.command_line import encode_cmdline
from pykexec.values.data_classes import dataclass, field, replace
from pykexec.values.large_values import reduce_to_copies, short_repr
from pykexec.values.memory import MemoryMap
from pykexec.values.ranges import Range, RangeSet
from pykexec.values.roles import Role
from pykexec.values.units import ADDRESS_MAX, align_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from pykexec.formats.layers import Brought
    from pykexec.values.consoles import Console
    from pykexec.values.errors import PykexecError
    from pykexec.values.wishes import GivenUp, Placement


KEXEC_SEGMENT_MAX = 16
"""Linux include/uapi/linux/kexec.h."""


class ElfArgs(StrEnum):
    """What an ELF program for x86 is handed when it is entered."""

    LINUX = "linux"
    """``struct boot_params``, as Linux takes it."""
    ELF = "elf"
    """Boot notes with the command line."""
    NONE = "none"


class BootProtocol(StrEnum):
    """By which rules a kernel is started."""

    LINUX = "linux"
    """That of Linux on the architecture."""
    REAL_MODE = "linux-real-mode"
    """x86: that of Linux from its real-mode code on."""
    ELF = "elf"
    """x86: any program, with what :class:`ElfArgs` says."""
    MULTIBOOT = "multiboot"
    MULTIBOOT2 = "multiboot2"
    RETURN = "return"
    """x86: none is started, but one that waits is returned to."""


@dataclass(frozen=True, slots=True)
class PurgatoryOptions:
    """What the user wants of the purgatory."""

    skip_checks: bool = False
    console: Console | None = None
    """Where it writes its messages, of the machine's kind; None: nowhere."""


@dataclass(frozen=True, slots=True)
class Module:
    """A file for a multiboot kernel."""

    data: Buffer
    cmdline: bytes
    """Without its NUL; by custom it begins with the file's name."""

    __repr__ = short_repr
    __reduce__ = reduce_to_copies


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """What the user asked for, opened and decoded."""

    kernel: Buffer
    initrd: Buffer | None = None
    cmdline: bytes = b""
    """Without a terminating NUL."""
    target: Target = Target.NORMAL
    mem_min: int = 0
    mem_max: int = ADDRESS_MAX
    """Inclusive."""
    purgatory: PurgatoryOptions = field(default_factory=PurgatoryOptions)
    rng_seed: bytes | None = field(default=None, repr=False)
    """Fresh entropy for the next kernel; None hands over none."""
    kaslr_seed: bytes | None = field(default=None, repr=False)
    """Device trees: eight fresh bytes by which the next kernel chooses where it runs."""
    entry_bits: int | None = None
    """kexec_load, x86: 32 or 16 (real mode) to enter the new kernel there; None: in 64 bits if it
    can be."""
    elf_args: ElfArgs | None = None
    """x86, ELF: what the program is handed; None: LINUX for a Linux kernel, else ELF."""
    entry: int | None = None
    """kexec_load: physical address to leave for, instead of the purgatory's."""
    reuse_initrd: bool = False
    """Device trees: let the next kernel have the initrd that the first one still holds."""
    dtb: Buffer | None = None
    """The device tree to hand over instead of the running kernel's."""
    pass_memmap_cmdline: bool = False
    """kexec_load, crash: tell the memory map by ``memmap=`` words instead of the E820 map."""
    no_efi: bool = False
    """kexec_load: do not hand EFI over."""
    ima: bool | None = None
    """kexec_load: carry IMA's measurement list over; None: unless the new kernel, as far as it
    tells, would not take it. kexec_file_load does so without being asked."""
    hotplug: bool = False
    """kexec_load, crash: let the kernel rewrite the ELF core header when CPUs or memory come
    or go. kexec_file_load does so without being asked."""
    preserve_context: bool = False
    """kexec_load, x86: let the running kernel wait until the next one returns to it."""
    lose_preserved: bool = False
    """kexec_load: although kexec handover is on, and what is preserved is lost."""
    no_cma: bool = False
    """kexec_file_load: keep the image out of CMA areas. kexec_load never uses any."""
    force_dtb: bool = False
    """x86: hand the running kernel's device tree over, if it has one and ``dtb`` is none."""
    core_bits: int | None = None
    """kexec_load, crash, on a kernel of 32 bits: 32 or 64 for the class of the core header; None:
    32 if that can name all memory."""
    backup: bool | None = None
    """kexec_load, crash: copy low memory away before the capture kernel starts; None: if
    needed."""
    kernel_name: bytes = b"kernel"
    """Multiboot: what the command line begins with; by custom the path of the kernel file."""
    modules: tuple[Module, ...] = ()
    """Multiboot: the modules, in order."""
    image_format: str | None = None
    """The format to take the kernel for where it could be of several, such as ``multiboot``; the
    beginning of its name."""
    configuration: str | None = None
    """The configuration of a FIT image, or the profile of a UKI, to start; None: its default."""
    brought: Brought | None = None
    """What the UKI or FIT image brought that the kernel came in; its initrd and its command line
    are in the fields above, if they are used."""
    notes: tuple[str, ...] = ()
    """What was done to the request, to be shown with the plan."""

    __repr__ = short_repr
    __reduce__ = reduce_to_copies

    def __post_init__(self) -> None:
        """Take what Python programs may give, or refuse it with TypeError.

        A str for the command line is encoded; contents may be in any buffer. A path is refused:
        no file is opened here.
        """
        for name in ("kernel", "initrd", "dtb"):
            given = getattr(self, name)
            if given is not None or name == "kernel":
                object.__setattr__(self, name, _contents(given, name))
        if isinstance(self.cmdline, str):
            object.__setattr__(self, "cmdline", encode_cmdline(self.cmdline))
        elif not isinstance(self.cmdline, bytes):
            kind = type(self.cmdline).__name__
            raise TypeError(f"LoadRequest: cmdline is bytes or a str, and not {kind}")


def _contents(given: object, name: str) -> Buffer:
    """Return a file's contents, which ``given`` is; raises TypeError for a path or a file."""
    if isinstance(given, bytes | memoryview) and memoryview(given).format == "B":
        return given  # the very object: whoever opened the file knows its descriptor by it
    try:
        view = memoryview(given)  # type: ignore[arg-type]  # that is what is tried
    except TypeError:
        raise TypeError(
            f"LoadRequest: {name} is the contents of a file, as bytes or a memoryview, and not "
            f"{type(given).__name__}; pykexec.load_kernel and pykexec.plan_kernel take paths"
        ) from None
    return view if view.readonly else bytes(view)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of kexec_load(2): ``data``, zero-filled by the kernel up to ``dest.size``."""

    role: Role
    dest: Range
    data: Buffer
    checked: bool
    """The purgatory's digest covers it."""
    wish: Placement
    """What was asked of its place, for explanations."""
    free: RangeSet
    """What was free when its place was chosen, for explanations."""
    given_up: GivenUp | None = None
    """The place that it would have had by its wish alone, for explanations."""

    __repr__ = short_repr
    __reduce__ = reduce_to_copies

    def digest_range(self, page_size: int) -> Range:
        """Return the part of ``dest`` that the digest covers, empty when unchecked.

        The data and the zeros up to the end of its last page. A kernel's run-time memory
        behind that page is left out: the kernel clears what it uses of it itself, and
        hashing some 40 MiB of zeros twice helps nobody.
        """
        if not self.checked:
            return Range(self.dest.start, self.dest.start)
        covered = min(align_up(len(self.data), page_size), self.dest.size)
        return Range.sized(self.dest.start, covered)


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """Everything that kexec_load(2) will be told, and what the next kernel will be told."""

    arch: str
    page_size: int
    target: Target
    entry: int
    """Physical address at which the running kernel leaves for the plan: the purgatory."""
    kernel_entry: int
    """Physical address at which the purgatory enters the new kernel."""
    flags: int
    segments: tuple[Segment, ...]
    """In ascending order of address."""
    cmdline: bytes
    memory_map: MemoryMap
    """What the next kernel is told about memory."""
    notes: tuple[str, ...] = ()
    protocol: BootProtocol = BootProtocol.LINUX
    kernel_start: int | None = None
    """x86: physical address of the kernel's first byte, which its header's sizes count from."""
    check_seconds: float | None = None
    """How long the purgatory's check will take, about; None where that is not known, or where there
    is none."""

    __repr__ = short_repr

    def segment(self, role: Role) -> Segment | None:
        """Return the segment with that role."""
        return next((item for item in self.segments if item.role is role), None)

    def segment_at(self, address: int) -> Segment | None:
        """Return the segment whose memory holds ``address``."""
        wanted = Range.sized(address, 1)
        return next((item for item in self.segments if item.dest.contains(wanted)), None)

    def bytes_at(self, where: Range) -> bytes | None:
        """Return what physical memory will hold at ``where`` when the new kernel starts.

        None unless one segment covers all of it.
        """
        segment = self.segment_at(where.start)
        if segment is None or not segment.dest.contains(where):
            return None
        offset = where.start - segment.dest.start
        data = bytes(segment.data[offset : offset + where.size])
        return data + bytes(where.size - len(data))

    def with_data(self, role: Role, data: Buffer) -> SegmentPlan:
        """Return a copy in which one segment holds other data."""
        changed = (replace(s, data=data) if s.role is role else s for s in self.segments)
        return replace(self, segments=tuple(changed))


@dataclass(frozen=True, slots=True)
class PlacementRule:
    """How the kernel looks for the place of one segment."""

    role: Role | None
    """None: a rule for all of them."""
    text: str


@dataclass(frozen=True, slots=True)
class FileLoadPlan:
    """Everything that kexec_file_load(2) will be told.

    The running kernel reads the files, makes the segments and chooses their addresses at the
    load, so there are none here.
    """

    arch: str
    target: Target
    kernel: Buffer
    """The kernel file's contents, in a format that the running kernel takes."""
    initrd: Buffer | None
    cmdline: bytes
    """Without its NUL, which the call adds and counts."""
    flags: KexecFileFlags
    notes: tuple[str, ...] = ()
    image: str = ""
    """What the kernel is, for people: its format and release."""
    placement: tuple[PlacementRule, ...] = ()
    """How the running kernel will look for places, as far as that can be told."""
    layout: SegmentPlan | None = None
    """What kexec_load(2) would do with the same, to be looked at and never loaded; None: not
    asked for, or there is none."""
    no_layout: PykexecError | None = field(default=None, compare=False)
    """Why there is none."""

    __repr__ = short_repr
    __reduce__ = reduce_to_copies


Plan: TypeAlias = SegmentPlan | FileLoadPlan
"""Either kind of plan; ``isinstance`` tells which."""
