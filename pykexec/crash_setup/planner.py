"""From what is known of a system to what is to be done. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pykexec.architectures import architecture_of
from pykexec.crash_setup.loaders import loader_steps
from pykexec.crash_setup.steps import Run, SetupPlan, WriteFile
from pykexec.crash_setup.system import Loader
from pykexec.values.command_line import key_of, split_words
from pykexec.values.units import GIB, MIB, align_up, format_size

if TYPE_CHECKING:
    from pykexec.crash_setup.steps import Step
    from pykexec.crash_setup.system import System

UNIT = "pykexec-kdump.service"
NOT_ROOT = "only root can set a machine up"
STEP = 32 * MIB
"""Bytes that a reservation is rounded up to."""
_FEDORA = (
    "kdumpctl reset-crashkernel --kernel=ALL",
    "systemctl enable --now kdump.service",
    "reboot, then: kdumpctl status",
)
KERNEL_HOOK = "/etc/kernel/postinst.d/zz-pykexec-capture"
KERNEL_HOOK_GONE = "/etc/kernel/postrm.d/zz-pykexec-capture"
_HOOK = b"""#!/bin/sh
# Written by pykexec crash setup: builds the capture initramfs of a new kernel, and of no other.
# A failure must not fail the kernel's installation.
[ -n "${1:-}" ] && command -v pykexec >/dev/null || exit 0
pykexec crash setup --build "$1" || echo "pykexec: no capture initramfs for $1" >&2
exit 0
"""
_HOOK_GONE = b"""#!/bin/sh
# Written by pykexec crash setup: takes the capture initramfs of a removed kernel away.
[ -n "${1:-}" ] || exit 0
rm -f "/var/lib/pykexec/capture-$1.img"
"""


def refusals(system: System) -> tuple[tuple[str, str], ...]:
    """Return why nothing may be done here, each with what to do about it."""
    found = []
    if system.confined:
        found.append(
            (
                f"this is {system.confined}: a crash kernel is the business of the machine itself",
                "run it there",
            )
        )
    if not system.root:
        found.append((NOT_ROOT, "run as root"))
    for unit in system.others:
        found.append(
            (
                f"{unit} is enabled here, and loads a crash kernel, too",
                f"one of both: systemctl disable --now {unit}",
            )
        )
    if not system.by_firmware:
        found += [(gate, "see 'pykexec doctor --crash'") for gate in system.gates]
    if system.generator is None:
        found.append(
            (
                "there is neither mkinitramfs nor dracut to build a capture initramfs",
                "install initramfs-tools or dracut",
            )
        )
    if not system.kernel:
        found.append(
            (
                f"no kernel in /boot or /lib/modules for {system.release}",
                "install the package of the running kernel",
            )
        )
    if not system.has_units:
        found.append(
            (
                f"{UNIT} is not installed: a package of pykexec has it, or 'make install'",
                "install pykexec by one of these; a wheel has no units",
            )
        )
    return tuple(found) if system.by_firmware else (*found, *_other_words(system))


def _other_words(system: System) -> list[tuple[str, str]]:
    """Refuse another's ``crashkernel=`` unless the kernel has reserved memory by it."""
    if not system.reserving or system.reserved:
        return []
    first = system.reserving[0]
    left = " (of kdump-tools; 'apt purge kdump-tools' takes it away)"
    return [
        (
            f"{first.file} has {first.word!r} already, which reserves nothing now",
            "reboot, if it is new; or take it away, and call this again"
            + (left if "kdump-tools" in first.file else ""),
        )
    ]


def reservation(arch: str, ram: int, needed: int) -> str:
    """Return ``crashkernel=`` by ranges of memory, for a capture kernel that needs so many bytes.

    0 where that is not known: then a machine with little memory has what one with 2 GiB has.

    ``crashkernel=RANGE:SIZE,…`` of Linux Documentation/admin-guide/kdump/kdump.rst.
    """
    floors = architecture_of(arch).crash_floors
    own = align_up(needed, STEP) or floors[0]
    middle, large = (max(own, floor) for floor in floors)
    # This machine must be in a range, however little it has.
    start = "512M" if ram >= GIB else "256M"
    ranges = ((f"{start}-2G", own), ("2G-64G", middle), ("64G-", large))
    return "crashkernel=" + ",".join(f"{name}:{size // MIB}M" for name, size in ranges)


def boot_plan(system: System, needed: int, image: str) -> SetupPlan:
    """Plan all that follows the image: the reservation and the units.

    ``needed`` is what the estimate says, in bytes; 0 where it could not be made.
    """
    notes: list[str] = []
    steps: list[Step] = [
        WriteFile(KERNEL_HOOK, _HOOK, "a capture initramfs for each new kernel", 0o755),
        WriteFile(KERNEL_HOOK_GONE, _HOOK_GONE, "and away with that of a removed one", 0o755),
    ]
    by_hand: tuple[str, ...] = ()
    word, needs_reboot = "", False
    if system.reserved and not system.own_word:
        notes.append(f"{format_size(system.reserved)} are reserved by another's crashkernel=: kept")
        if needed > system.reserved:
            notes.append(
                f"it is less than the {format_size(needed)} that the estimate asks for: give more "
                "where it was written"
            )
    else:
        word = reservation(system.arch, system.ram, needed)
        if system.own_word and (system.reserved or 0) >= max(needed, 1):
            # What was enough is not made less: each change wants a reboot.
            word = system.own_word
        found, by_hand = loader_steps(system, word)
        steps += found
        needs_reboot = not system.reserved or not _is_active(system, word)
    steps += unit_steps(system, f"load it now, with {image}" if system.reserved else "")
    if system.family == "fedora":
        by_hand = (*by_hand, *_FEDORA)
    return SetupPlan(tuple(steps), (), tuple(notes), by_hand, word, needs_reboot)


def _is_active(system: System, word: str) -> bool:
    words = [w for w in split_words(system.cmdline) if key_of(w) == "crashkernel"]
    return bool(words) and words[-1] == word.encode()


def unit_steps(system: System, now: str) -> list[Step]:
    """Return what has the service run at each boot, and ``now``, which says what for."""
    steps: list[Step] = []
    if not system.enabled:
        why = "register the dump" if system.by_firmware else "load the crash kernel"
        steps.append(Run(("systemctl", "enable", UNIT), f"{why} at each boot"))
    if now:
        steps.append(Run(("systemctl", "restart", UNIT), now))
    return steps


def too_small(system: System, needed: int) -> str:
    """Say why the machine has too little memory for a crash kernel; "" where it may have enough."""
    if needed * 2 > system.ram:
        return (
            f"a capture kernel needs {format_size(needed)}, more than half of the "
            f"{format_size(system.ram)} of this machine"
        )
    return ""


def loader_command(loader: Loader, release: str, kernel: str) -> tuple[str, ...]:
    """Return what makes the boot loader see a changed command line, () for none."""
    return {
        Loader.GRUB: ("update-grub",),
        Loader.EXTLINUX: ("u-boot-update",),
        Loader.SYSTEMD_BOOT: ("kernel-install", "add", release, kernel),
    }.get(loader, ())
