"""Whether a vmlinux is the one that a crashed kernel was booted from. Pure.

A core says which build it is of in VMCOREINFO (Linux Documentation/admin-guide/kdump/
vmcoreinfo.rst): OSRELEASE, and since Linux 5.9 BUILD-ID, the linker's note. Older ones are told
apart by ``linux_banner``, which begins their log and names compiler, number and time of the build.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from pykexec.crash.core_reading import VmcoreError
from pykexec.formats.elf_details import find_banner
from pykexec.values.data_classes import dataclass

if TYPE_CHECKING:
    from pykexec.crash.vmcore import KernelMemory
    from pykexec.formats.elf_details import ElfDetails

_LOG_SEARCHED = 256 << 10
"""Bytes of the log's beginning in which the banner is looked for."""
_BUILD_ID_DIGITS = 40
"""The kernel writes 20 bytes, whatever the linker's note has: include/linux/buildid.h."""


class Belongs(Enum):
    """The verdict."""

    YES = "match"
    NO = "mismatch"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True)
class Build:
    """What names the build of a kernel; "" for what is not known."""

    build_id: str
    banner: str
    release: str


@dataclass(frozen=True, slots=True)
class Compared:
    """One thing that both may say."""

    what: str
    core: str
    vmlinux: str

    @property
    def same(self) -> bool | None:
        """Whether both say the same; None where one says nothing."""
        return self.core == self.vmlinux if self.core and self.vmlinux else None


@dataclass(frozen=True, slots=True)
class Match:
    """The verdict, and what it rests on."""

    verdict: Belongs
    reason: str
    compared: tuple[Compared, ...]
    """The strongest first."""


def build_of_core(memory: KernelMemory) -> Build:
    """Read what a core says of its kernel; a log that cannot be read has no banner."""
    from pykexec.crash.vmcore_dmesg import LineFormat, dmesg

    log = bytearray()
    try:
        for piece in dmesg(memory, LineFormat(utf8=True)):
            log += piece
            if len(log) > _LOG_SEARCHED:
                break
    except VmcoreError:
        pass  # what there is before the damage may have it
    return Build(
        memory.info.text("BUILD-ID").strip().lower(),
        find_banner(bytes(log)),
        memory.info.text("OSRELEASE").strip(),
    )


def build_of_vmlinux(details: ElfDetails) -> Build:
    """Return what names the build of an ELF kernel, as a core would say it."""
    build_id = details.build_id
    if build_id:
        build_id = build_id[:_BUILD_ID_DIGITS].ljust(_BUILD_ID_DIGITS, "0")
    return Build(build_id, details.banner, details.release)


def compare(core: Build, vmlinux: Build) -> Match:
    """Judge by the strongest that both have: build ID, banner; a release alone only excludes."""
    compared = (
        Compared("build ID", core.build_id, vmlinux.build_id),
        Compared("banner", core.banner, vmlinux.banner),
        Compared("release", core.release, vmlinux.release),
    )
    for item in compared:
        if item.same is False:
            reason = f"the {item.what} of the core is another than that of the vmlinux"
            return Match(Belongs.NO, reason, compared)
        if item.same and item.what != "release":
            return Match(Belongs.YES, f"both have the same {item.what}", compared)
    if compared[-1].same:
        reason = "the release is the same, which it is of several builds, and nothing else is known"
    else:
        reason = "there is nothing that both say"
    return Match(Belongs.UNKNOWN, reason, compared)
