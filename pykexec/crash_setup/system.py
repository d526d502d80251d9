"""What is known of the system that is to save its dumps. Values only."""

from __future__ import annotations

from enum import Enum

from pykexec.values.data_classes import dataclass


class Generator(Enum):
    """What builds an initramfs here."""

    INITRAMFS_TOOLS = "initramfs-tools"
    DRACUT = "dracut"


class Loader(Enum):
    """Whose configuration has the running kernel's command line."""

    GRUB = "GRUB"
    SYSTEMD_BOOT = "systemd-boot"
    EXTLINUX = "u-boot-menu"
    GRUBBY = "grubby"
    RASPBERRY_PI = "Raspberry Pi firmware"
    ZIPL = "zipl"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Reserving:
    """A ``crashkernel=`` in a boot loader's configuration."""

    file: str
    word: str


@dataclass(frozen=True, slots=True)
class System:
    """What the planner looks at."""

    arch: str
    release: str
    """Of the running kernel."""
    ram: int
    """Bytes, as the kernel has it."""
    cmdline: bytes
    family: str
    """``debian``, ``fedora``, ``arch``, or what os-release says."""
    root: bool
    """The caller is root."""
    confined: str
    """What this is in place of a machine: a container, a chroot; "" for a machine."""
    generator: Generator | None
    loader: Loader
    others: tuple[str, ...]
    """Units that are enabled here and load crash kernels too."""
    reserving: tuple[Reserving, ...]
    """Of others than pykexec."""
    own_word: str
    """The ``crashkernel=`` that pykexec has written before, "" for none."""
    reserved: int | None
    """Bytes that are reserved now; None: the kernel does not say."""
    gates: tuple[str, ...]
    """Why a crash kernel could not be loaded."""
    by_firmware: str
    """That firmware takes the dump here (fadump), in words; "" where it does not."""
    has_units: bool
    """pykexec-kdump.service is installed."""
    enabled: bool
    kernel: str
    """The running kernel's image, "" where it is not found."""
    kernel_cmdline: bytes | None = None
    """/etc/kernel/cmdline."""
