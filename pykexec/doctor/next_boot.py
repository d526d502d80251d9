"""What firmware boots when it has taken a dump: the boot loader's default entry. Pure.

Not the kernel that crashed, where the two differ: a kernel that was jumped into has no entry. The
one that comes up has to be of the same build, or at least with as many processors
(arch/powerpc/kernel/fadump.c, "is_fadump_header_compatible"), and its initrd has to save the dump.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pykexec.doctor import Finding, Level
from pykexec.values.data_classes import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_SAVERS = re.compile(
    # ours; Fedora's and RHEL's, which is nested; SUSE's and others
    r"usr/lib/pykexec/capture/save|fadumproot/.*|(?:.*/)?kdump(?:[-/._].*)?"
)


@dataclass(frozen=True, slots=True)
class NextBoot:
    """What is known of it before it happens."""

    release: str
    """Of the running kernel."""
    entry: str = ""
    """The default entry; "" where nobody knows which that is."""
    where: str = ""
    why_none: str = ""
    version: str = ""
    """Of the kernel that the entry starts; "" where that is not known."""
    initrds: tuple[str, ...] = ()
    names: frozenset[str] | None = None
    """All files in them; None where they cannot be read."""
    problem: str = ""
    """Why they cannot."""
    processors: Mapping[str, int] = field(default_factory=dict)
    """How many each installed kernel knows at most (CONFIG_NR_CPUS), by release."""


def check_next_boot(found: NextBoot) -> Iterator[Finding]:
    """Find out whether a dump that firmware takes would be saved."""
    if not found.entry:
        text = f"nobody knows what firmware boots after a crash: {found.why_none}"
        advice = "it has to be this kernel, with an initrd that saves /proc/vmcore"
        yield Finding("fadump_entry", Level.NOTE, text, "", advice)
        return
    yield _entry(found)
    yield _processors(found)
    yield _initrd(found)


def _entry(found: NextBoot) -> Finding:
    what = f"after a crash firmware boots the default entry, {found.entry!r}"
    if not found.version:
        text = f"{what}; of which kernel that is, is not known"
        return Finding("fadump_entry", Level.NOTE, text, found.where)
    if found.version == found.release:
        return Finding("fadump_entry", Level.FINE, f"{what}: the running kernel", found.where)
    return Finding(
        "fadump_entry",
        Level.RISK,
        f"{what}, with {found.version}: the running kernel is {found.release}, and a kernel of "
        "another build may refuse its dump",
        found.where,
        "make the running kernel the default entry, or reboot into the default one",
    )


def _processors(found: NextBoot) -> Finding:
    own, other = (found.processors.get(name) for name in (found.release, found.version))
    if own is None or other is None:
        return Finding(
            "fadump_nr_cpus",
            Level.NOTE,
            "with how many processors the two kernels are built is not known: a dump is lost where "
            "CONFIG_NR_CPUS differs",
            "/boot/config-*",
        )
    if own == other:
        text = f"both kernels are built for {own} processors"
        return Finding("fadump_nr_cpus", Level.FINE, text, "/boot/config-*")
    return Finding(
        "fadump_nr_cpus",
        Level.RISK,
        f"the running kernel is built for {own} processors (CONFIG_NR_CPUS), the default entry's "
        f"for {other}: that one throws the dump away ('Fadump header size mismatch')",
        "/boot/config-*",
        "make the running kernel the default entry",
    )


def _initrd(found: NextBoot) -> Finding:
    names = ", ".join(found.initrds)
    if found.names is None:
        text = f"whether {names or 'the default entry'} saves a dump is not known: {found.problem}"
        return Finding("fadump_initrd", Level.NOTE, text, names)
    saver = min(filter(_SAVERS.fullmatch, found.names), default=None)
    if saver is not None:
        text = f"the default entry's initrd has what saves a dump: {saver}"
        return Finding("fadump_initrd", Level.FINE, text, names)
    return Finding(
        "fadump_initrd",
        Level.RISK,
        "the default entry's initrd has nothing that is known to save a dump: firmware takes it, "
        "the kernel comes up, and nobody saves it",
        names,
        "build it with what saves /proc/vmcore: pykexec's module, kdump-utils' or SUSE's kdump",
    )


def processors_of(lines: Iterable[str]) -> int | None:
    """Return CONFIG_NR_CPUS of a kernel's configuration."""
    found = (re.fullmatch(r"CONFIG_NR_CPUS=(\d{1,6})", line.strip()) for line in lines)
    return next((int(match[1]) for match in found if match), None)
