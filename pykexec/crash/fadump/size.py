"""How much memory a firmware-assisted dump needs: its boot memory. Pure.

Firmware copies that much away, and the kernel that comes up has no more until the dump is
released. arch/powerpc/kernel/fadump.c, "fadump_calculate_reserve_size".
"""

from __future__ import annotations

from enum import StrEnum

from pykexec.values.data_classes import dataclass
from pykexec.values.units import GIB, MIB, TIB, align_down, align_up, format_size


class Platform(StrEnum):
    """Whose firmware saves the dump."""

    PSERIES = "pseries"
    """A guest of a hypervisor, with RTAS."""
    POWERNV = "powernv"
    """Bare metal, with OPAL."""


CAP_SHARE = 4
"""At most this part of RAM: MAX_BOOT_MEM_RATIO."""
LEAST_SHARE = 20
_DEFAULT_GRAIN = 256 * MIB
_MINIMUM = {Platform.PSERIES: 320 * MIB, Platform.POWERNV: 768 * MIB}

_TABLE = (
    (4 * GIB, 768 * MIB),
    (16 * GIB, GIB),
    (64 * GIB, 2 * GIB),
    (128 * GIB, 4 * GIB),
    (TIB, 6 * GIB),
    (2 * TIB, 12 * GIB),
    (4 * TIB, 20 * GIB),
    (8 * TIB, 36 * GIB),
    (16 * TIB, 64 * GIB),
    (32 * TIB, 128 * GIB),
    (64 * TIB, 180 * GIB),
)
"""From so much RAM on, so much: what Fedora and RHEL reserve by default for this purpose."""
_PER_CPU = MIB
_RTAS_END = 768 * MIB
"""Right below it a kernel has RTAS put, or at the end of the first block of memory: Linux
arch/powerpc/kernel/prom_init.c, "prom_instantiate_rtas"."""


def minimum_of(platform: Platform) -> int:
    """Return the least boot memory that the kernel takes, in bytes."""
    return _MINIMUM[platform]


def default_size(ram: int, platform: Platform) -> int:
    """Return what the kernel takes without crashkernel=, in bytes."""
    return max(align_down(ram // LEAST_SHARE, _DEFAULT_GRAIN), minimum_of(platform))


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A size, and how it came about. Bytes."""

    size: int | None
    """None: this machine has too little RAM for any."""
    minimum: int
    cap: int
    """A quarter of RAM, to which crashkernel= is cut."""
    reason: str
    over_rtas: bool = False
    """The area that the dump is copied to has RTAS in it."""

    @property
    def words(self) -> str:
        """What to put on the kernel's command line; "" for none."""
        if self.size is None:
            return ""
        # What is asked for is cut to the cap, and the kernel's own choice is not.
        asked = f" crashkernel={self.size // MIB}M" if self.size <= self.cap else ""
        return f"fadump={'nocma' if self.over_rtas else 'on'}{asked}"


def recommend(
    ram: int, platform: Platform, *, cpus: int = 0, needed: int | None = None
) -> Recommendation:
    """Recommend boot memory for ``ram`` bytes of RAM.

    ``needed`` is what the capture kernel with its initrd is known to need, instead of the table;
    ``cpus`` are those that it is to bring up.
    """
    least, cap = minimum_of(platform), align_down(ram // CAP_SHARE, MIB)
    if cap < least:
        return _by_default(ram, least, cap)
    if needed is not None:
        size, reason = align_up(needed, MIB), "what was asked for"
    else:
        size = next((size for above, size in reversed(_TABLE) if ram >= above), least)
        size, reason = size + cpus * _PER_CPU, "by the table for this much RAM"
        if cpus:
            reason += f", with {format_size(_PER_CPU)} for each of {cpus} processors"
    if size < least:
        size, reason = least, f"the least on {platform}"
    if size > cap:
        reason = f"a quarter of RAM, which is the most; {format_size(size)} would be better"
        size = cap
    over_rtas = platform is Platform.PSERIES and size < _RTAS_END <= 2 * size
    if over_rtas:
        reason += "; nocma, since else the kernel lends RTAS's memory to programs"
    return Recommendation(size, least, cap, reason, over_rtas)


def _by_default(ram: int, least: int, cap: int) -> Recommendation:
    """Recommend for a machine of which a quarter is less than the least: no crashkernel= at all."""
    if ram <= 2 * least:
        return Recommendation(
            None, least, cap, f"{format_size(least)} is the least, and its copy needs as much again"
        )
    return Recommendation(
        least,
        least,
        cap,
        "the least, which the kernel takes by itself; crashkernel= would be cut to too little",
    )
