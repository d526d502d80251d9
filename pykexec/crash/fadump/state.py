"""What a machine says of firmware-assisted dump, and what that means. Pure.

Linux Documentation/arch/powerpc/firmware-assisted-dump.rst and
Documentation/ABI/testing/sysfs-kernel-fadump. With it enabled there is no region for a crash
kernel: the two exclude each other.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from pykexec.crash.crashkernel import Dialect, Wanted, wanted
from pykexec.crash.fadump.size import CAP_SHARE, LEAST_SHARE, default_size, minimum_of
from pykexec.values.command_line import split_words
from pykexec.values.data_classes import dataclass
from pykexec.values.ranges import Range
from pykexec.values.units import MIB, align_down, format_size

if TYPE_CHECKING:
    from pykexec.crash.fadump.size import Platform

DIRECTORY = "/sys/kernel/fadump"


class Wish(StrEnum):
    """What the running kernel's command line asks for."""

    ON = "on"
    OFF = "off"
    NOCMA = "nocma"
    """On, without lending the reserved memory to user space."""


@dataclass(frozen=True, slots=True)
class FadumpState:
    """Firmware-assisted dump on a machine. None: the machine does not say."""

    platform: Platform | None
    """Whose firmware can do it; None for none."""
    kernel: bool
    """The running kernel has files for it, which it has only where firmware can do it."""
    enabled: bool | None = None
    """Memory is reserved for it."""
    registered: bool | None = None
    """Firmware saves a dump when this kernel crashes. The kernel registers by itself at boot."""
    mem_reserved: int | None = None
    """Bytes; None before Linux 5.6."""
    hotplug_ready: bool = False
    """Memory that comes later is in the dump without another registration."""
    bootargs_append: str | None = None
    """What is added to the capture kernel's command line; None: the kernel has no such file, or
    :attr:`words_are_lost`."""
    words_are_lost: bool = False
    """What bootargs_append shows, and would write, is anybody's memory: in a capture boot it is
    where the crashed kernel had its words, and that is released with the dump, unless it lies in
    boot memory (arch/powerpc/kernel/fadump.c of Linux 6.12, "fadump_release_memory" and
    "bootargs_append_store")."""
    rtas: Range | None = None
    """Where RTAS lies, firmware that the kernel calls; physical."""
    rtas_released: Range | None = None
    """A release would give the memory away that RTAS lies in, and the kernel goes on calling it
    (arch/powerpc/kernel/fadump.c of Linux 6.12, "fadump_release_memory")."""
    told_of_dump: bool = False
    """Firmware's device tree tells of a dump. On pseries it still does after the release."""
    vmcore: bool = False
    """There is a /proc/vmcore."""
    vmcore_size: int | None = None
    """Bytes."""
    cmdline: bytes = b""
    ram: int | None = None
    """Bytes; without what the kernel keeps for itself where nothing better is known."""
    kernel_dump: bytes | None = None
    """``ibm,kernel-dump`` as it is, on pseries in a capture boot and after it."""
    os_term: bool | None = None
    """pseries: firmware has ``ibm,extended-os-term``, by which a panic calls it."""

    @property
    def rtas_is_lent(self) -> bool:
        """RTAS lies in the area for the dump, about, and the kernel lends that to programs.

        It does so by CMA, and looks at nobody else's reservations (arch/powerpc/kernel/fadump.c of
        Linux 6.12, "fadump_locate_reserve_mem" and "fadump_cma_init"). The area begins where the
        boot memory ends, and is a little longer than that.
        """
        if self.rtas is None or not self.enabled or not self.mem_reserved or self.told_of_dump:
            return False
        start = align_down(self.mem_reserved, MIB)
        area = Range(start, start + self.mem_reserved)
        return wish_of(self.cmdline) is Wish.ON and area.overlaps(self.rtas)

    @property
    def dump_active(self) -> bool:
        """A dump is waiting to be saved: told of by firmware and taken by the kernel."""
        return self.told_of_dump and self.vmcore

    @property
    def dump_is_stale(self) -> bool:
        """Firmware tells of a dump that is released, or that the kernel has refused."""
        return self.told_of_dump and not self.vmcore


STRAY_WORDS = (
    "until the next boot or kexec the capture kernel may find stray words on its command line: "
    "where the kernel looks for them is memory that was released with the dump"
)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is as it is, and what to do about it."""

    text: str
    advice: str


def wish_of(cmdline: bytes) -> Wish | None:
    """Return what ``fadump=`` says, of which the last one counts; None without one.

    The kernel compares by the beginning: ``fadump=one`` is on (arch/powerpc/kernel/fadump.c,
    "early_fadump_param").
    """
    found: Wish | None = None
    for word in split_words(cmdline):
        if not word.startswith(b"fadump="):
            continue
        value = word.removeprefix(b"fadump=")
        known = (wish for wish in Wish if value.startswith(wish.encode()))
        found = next(known, Wish.OFF if found is None else found)
    return found


def boot_memory_of(state: FadumpState) -> tuple[int, str] | None:
    """Return what the kernel keeps as boot memory, in bytes, and by which rule; None: unknown.

    arch/powerpc/kernel/fadump.c, "fadump_calculate_reserve_size".
    """
    if state.ram is None or state.platform is None:
        return None
    asked = wanted(state.cmdline, state.ram, Dialect())
    cap = state.ram // CAP_SHARE
    if isinstance(asked, Wanted):
        if asked.size > cap:
            return cap, f"{asked.word}, cut to a quarter of RAM"
        return asked.size, asked.word
    return default_size(state.ram, state.platform), f"a {LEAST_SHARE}th of RAM"


def why_not_enabled(state: FadumpState) -> Reason:
    """Say why nothing is reserved where ``enabled`` is not 1."""
    if state.platform is None:
        return Reason(
            "this machine's firmware has no firmware-assisted dump",
            "use a crash kernel: pykexec crash setup",
        )
    if not state.kernel:
        return Reason(
            f"firmware has it, but there is no {DIRECTORY}: the running kernel is built without "
            "CONFIG_FA_DUMP, or /sys is not mounted",
            "boot a kernel with CONFIG_FA_DUMP=y, which Debian's have not; or use a crash kernel",
        )
    wish = wish_of(state.cmdline)
    if wish is None or wish is Wish.OFF:
        said = "no fadump=on" if wish is None else "fadump=off"
        return Reason(
            f"the running kernel's command line has {said}",
            "boot with fadump=on, and the crashkernel= that 'pykexec fadump size' names",
        )
    return _too_small(state)


def _too_small(state: FadumpState) -> Reason:
    found = boot_memory_of(state)
    least = 0 if state.platform is None else minimum_of(state.platform)
    if found is not None and found[0] < least and state.ram is not None:
        size, rule = found
        if state.ram < least * CAP_SHARE:
            return Reason(
                f"boot memory of {format_size(size)} ({rule}) is less than the "
                f"{format_size(least)} that it needs, and this machine has too little RAM for more",
                "leave crashkernel= off, and the kernel takes the least; or give the machine "
                f"{least * CAP_SHARE // MIB} MiB",
            )
        return Reason(
            f"boot memory of {format_size(size)} ({rule}) is less than the {format_size(least)} "
            "that it needs; the kernel has made a region for a crash kernel of it",
            "boot with the crashkernel= that 'pykexec fadump size' names",
        )
    return Reason(
        "the command line asks for it, and the kernel has reserved nothing",
        "see the kernel log: dmesg | grep -i fadump; there may be no free piece of memory that is "
        "long enough, or too many holes in the boot memory",
    )


def how_it_stands(state: FadumpState) -> Reason:
    """Return one sentence on the state as a whole, and what to do."""
    if state.dump_active:
        return Reason(
            "a dump of the crashed kernel is in /proc/vmcore, and nearly all memory is reserved "
            "for it",
            "save it before anything else: a reboot or a kexec destroys it; then 'pykexec fadump "
            "release', or reboot",
        )
    if not state.enabled:
        return why_not_enabled(state)
    if not state.registered:
        again = " since the dump was released" if state.dump_is_stale else ""
        return Reason(
            f"memory is reserved, but nothing is registered{again}: a crash leaves no dump",
            "pykexec fadump register",
        )
    if state.rtas_is_lent:
        return Reason(
            f"registered, but RTAS lies at {state.rtas}, in memory that is kept for the dump and "
            "lent to programs until then: one that gets it breaks what the kernel calls, at a "
            "panic too",
            "boot with fadump=nocma, or with a crashkernel= of 768M or more",
        )
    advice = STRAY_WORDS if state.words_are_lost else ""
    return Reason("registered: firmware saves a dump when this kernel crashes", advice)


def why_no_crash_kernel(state: FadumpState) -> Reason | None:
    """Say why no crash kernel can be loaded; None: fadump is not in its way."""
    if not state.enabled:
        return None
    now = "and it is registered" if state.registered else "but it is not registered"
    return Reason(
        "firmware takes the dump on this machine (fadump is enabled, "
        f"{now}), and no memory is reserved for a crash kernel beside it",
        "'pykexec fadump status' says whether a crash leaves a dump; for a crash kernel instead, "
        "boot with fadump=off",
    )


def why_no_load(state: FadumpState) -> Reason | None:
    """Say why a kernel must not be loaded for a jump; None: fadump is not in its way.

    What is left of a dump after its release is in the way of kexec_file_load alone, and so the
    business of the choice between the calls.
    """
    if not state.dump_active:
        return None
    return Reason(
        "a dump is active: a jump destroys what is in /proc/vmcore",
        "save it, then 'pykexec fadump release'",
    )


def left_of_a_dump(state: FadumpState) -> str:
    """Say what is left of a dump on pseries, and means for a jump; "" for nothing."""
    if not state.dump_is_stale or state.kernel_dump is None:
        return ""
    return (
        "the device tree still has the ibm,kernel-dump of a dump that was released or refused: "
        "kexec_load leaves it out, kexec_file_load cannot and is not used"
    )


def loss_by_a_jump(state: FadumpState) -> str:
    """Say what a jump does to the registration; "" for nothing."""
    if not (state.enabled and state.registered):
        return ""
    return (
        "fadump is registered, and a jump ends that: the next kernel registers only with fadump=on "
        "on its own command line, and what a crash of it then boots is the boot loader's default "
        "entry"
    )
