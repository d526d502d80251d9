"""What segments hold. Pure."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a segment holds."""

    PURGATORY = "purgatory"
    PARAMETERS = "boot_params"
    """x86: ``struct boot_params`` and, a page further, the command line."""
    SETUP = "setup"
    """x86, real mode: the kernel's real-mode code, its heap and the command line."""
    BOOT_NOTES = "boot_notes"
    """x86, ELF: the boot notes and a stack."""
    MULTIBOOT_INFO = "multiboot_info"
    """x86, multiboot: what the kernel is told."""
    MODULES = "modules"
    """x86, multiboot: all modules, each from a page of its own on."""
    COMMAND_LINE = "command_line"
    """loongarch64: a segment of its own."""
    BOOTINFO = "bootinfo"
    """m68k: what the kernel is told, right behind it."""
    KERNEL = "kernel"
    INITRD = "initrd"
    SETUP_DATA = "setup_data"
    DTB = "dtb"
    """The flattened device tree."""
    ELFCOREHDR = "elfcorehdr"
    """Crash loads: describes the crashed kernel's memory."""
    BACKUP = "backup"
    """Crash loads: room for the low memory that the capture kernel overwrites."""
    IMA_BUFFER = "ima_buffer"
    """IMA's measurement list, with its header."""
    EXCHANGED = "exchanged"
    """Loads that keep the running kernel: more memory of the next one's."""
    WAY_BACK = "way_back"
    """A return to a kernel that waits: page tables that reach both kernels' memory, and a stack."""
