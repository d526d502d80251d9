"""Will a load and a jump work here, and if not, which gate is shut? Pure.

Each check looks at what was read and says what it found, where that stood, and what to do. What
other modules decide (the gates, the call, the plan, the estimate) is asked of them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from pykexec.values.data_classes import dataclass, field

if TYPE_CHECKING:
    from pykexec.formats.ikconfig import KernelConfig
    from pykexec.values.calls import Call, Target


class Level(StrEnum):
    """What a finding means for the load that was asked about."""

    BLOCKS = "blocks"
    """It will be refused, or end badly for certain."""
    RISK = "risk"
    """It may, and nobody can tell from here."""
    NOTE = "note"
    """Worth knowing."""
    FINE = "fine"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    """Which check: a word that stays the same."""
    level: Level
    text: str
    source: str = ""
    """The file of the machine that it was read from."""
    advice: str = ""
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system that is mounted read-write, and is on a disk."""

    point: str
    kind: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What matters to a jump and not to a plan. A field is None where the machine does not say."""

    shows_kernel: bool = True
    """There is a /sys/kernel: a record may be no more than a memory map."""
    config: KernelConfig | None = None
    """The running kernel's, as far as it is about kexec."""
    config_source: str = ""
    ima_rules: tuple[str, ...] | None = None
    """The rules of IMA's policy about kexec."""
    kho: bool | None = None
    """Kexec handover is on."""
    mounts: tuple[Mount, ...] = ()
    dmi: dict[str, str] = field(default_factory=dict)
    """``sys_vendor``, ``product_name`` and ``board_name``."""
    modules: frozenset[str] = frozenset()
    """Those asked for that are loaded, or built in with parameters."""
    buses: frozenset[str] = frozenset()
    """Those asked for that have devices."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The load that is asked about."""

    target: Target
    call: Call | None = None
    """The call that would be made; None without a kernel, or where none was chosen."""
    signed: bool | None = None
    """The kernel file has a signature; None without a kernel."""
    fallback: bool = False
    """kexec_load would follow where kexec_file_load is not there."""
