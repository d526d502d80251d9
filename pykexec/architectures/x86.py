"""The two architectures of x86. Pure."""

from __future__ import annotations

from types import MappingProxyType

from pykexec.architectures.architecture import (
    NO_CALL,
    Architecture,
    HugePages,
    Identity,
    Options,
    SystemCalls,
)
from pykexec.values.data_classes import replace
from pykexec.values.units import GIB, MIB

_OPTIONS = Options(
    own=frozenset(
        {
            *("console-serial", "console-vga", "serial-baud", "pass-memmap-cmdline", "noefi"),
            *("force-dtb", "backup", "entry-32bit", "real-mode", "module"),
            *("elf32-core-headers", "elf64-core-headers", "args-linux", "args-elf", "args-none"),
        }
    ),
    ignored=(("reset-vga", ""), ("reuse-video-type", "")),
    silent=frozenset({"reuse-video-type"}),
    need_kernel=frozenset(
        {
            *("append", "initrd", "reuse-cmdline", "dtb", "noefi", "pass-memmap-cmdline"),
            *("reuse-video-type", "entry-32bit", "args-elf", "args-linux", "args-none", "module"),
            "real-mode",
        }
    ),
    image_types=MappingProxyType(
        {
            "bzImage": "bzImage",
            "bzImage64": "bzImage",
            "uki": "UKI",
            "elf-x86_64": "ELF64",
            "elf-x86": "ELF32",
            "multiboot-x86": "multiboot",
            "multiboot2-x86": "multiboot2",
            "beoboot-x86": "beoboot",
            "nbi-x86": "NBI",
        }
    ),
    serial="ttyS0, ttyS1 or an I/O port 0x…",
)

X86_64 = Architecture(
    name="x86_64",
    machines=("x86_64",),
    room="x86",
    family="x86",
    image_arch="x86",
    identity=Identity(elf=62, pe=0x8664, u_boot=24, efi="x64"),
    # Linux arch/x86/entry/syscalls/syscall_64.tbl
    calls=SystemCalls(kexec_load=246, kexec_file_load=320, reboot=169),
    elf_programs=True,
    has_tree=False,
    serial_in_memory=False,
    purgatories=("x86_64", "i386"),
    grub_cpu="x86_64",
    grub_bios_cpu="i386",
    options=_OPTIONS,
    can_be_returned_to=True,
    simulated_tty=b"ttyS0",
    huge_pages=HugePages(
        sizes=MappingProxyType({4096: (2 * MIB, GIB)}), gigantic=MappingProxyType({4096: GIB})
    ),
    # Measured on an AMD EPYC, by tests/purgatory/native_hashing.py; i386's code is as fast.
    check_speeds=MappingProxyType({"instructions": 1_450_000_000, "portable": 280_000_000}),
)

I386 = replace(
    X86_64,
    name="i386",
    machines=("i386", "i486", "i586", "i686"),
    word_bits=32,
    identity=Identity(elf=3, pe=0x014C, u_boot=3, efi="ia32"),
    # syscall_32.tbl; a kernel has no kexec_file_load for programs of 32 bits.
    calls=SystemCalls(kexec_load=283, kexec_file_load=NO_CALL, reboot=88),
    purgatories=("i386",),
    grub_cpu="i386",
    simulated_tty=b"",
    # With PAE pages of 2 MiB; the larger ones are the safe side.
    huge_pages=HugePages(sizes=MappingProxyType({4096: (4 * MIB, 2 * MIB)})),
)
